"""The fair peer of the engine: a bare `llama_decode` loop, all sequences in one batch, nothing around it.

One process, one thread, llama.cpp's own sampler chain for every sequence, no text made, no requests, no queue:
what is left is what the hardware and llama.cpp can do through the low-level API.

    python tests/benchmarks/bare_loop.py MODEL.gguf --streams 4 --tokens 128
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class BareResult:
    """What one run measured; rates count tokens of all sequences together."""

    streams: int
    tokens: int
    tokens_per_s: float
    first_token_s: float


class BareLoop:
    """A model loaded once; `run` may be called often."""

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        cells: int = 8192,
        batch: int = 512,
        sequences: int = 16,
        unified: bool = True,
        flash_attention: bool = True,
    ) -> None:
        import llama_cpp.llama_cpp as llama

        self.llama = llama

        @llama.llama_log_callback  # type: ignore[untyped-decorator]
        def quiet(_level: int, _text: bytes, _data: Any) -> None:
            return

        self._quiet = quiet
        llama.llama_log_set(quiet, ctypes.c_void_p(0))
        llama.llama_backend_init()
        parameters = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(str(model).encode(), parameters)
        if not self.model:
            raise RuntimeError(f"{model} cannot be loaded")
        context = llama.llama_context_default_params()
        context.n_ctx = cells
        context.n_batch = context.n_ubatch = batch
        context.n_seq_max = sequences
        context.n_outputs_max = sequences
        context.n_threads = context.n_threads_batch = threads
        context.kv_unified = unified
        context.flash_attn_type = 1 if flash_attention else 0
        context.no_perf = True
        self.context = llama.llama_init_from_model(self.model, context)
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(batch, 0, 1)

    def _sampler(self, seed: int, *, greedy: bool) -> Any:
        llama = self.llama
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        if greedy:
            llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_greedy())
            return chain
        for sampler in (
            llama.llama_sampler_init_top_k(40),
            llama.llama_sampler_init_top_p(0.95, 1),
            llama.llama_sampler_init_min_p(0.05, 1),
            llama.llama_sampler_init_temp(0.8),
            llama.llama_sampler_init_dist(seed),
        ):
            llama.llama_sampler_chain_add(chain, sampler)
        return chain

    def run(self, streams: int, tokens: int, *, prompt_tokens: int = 16, greedy: bool = False) -> BareResult:
        """Evaluate `streams` prompts together, then generate `tokens` for each."""
        llama, context, batch = self.llama, self.context, self.batch
        llama.llama_memory_clear(self.memory, True)
        samplers = [self._sampler(100 + stream, greedy=greedy) for stream in range(streams)]
        token, pos, count, seq, wanted = batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits
        started = time.perf_counter()
        entry = 0
        outputs = []
        for stream in range(streams):
            for index in range(prompt_tokens):
                token[entry], pos[entry], count[entry] = 300 + (stream * 37 + index * 11) % 200, index, 1
                seq[entry][0] = stream
                wanted[entry] = index == prompt_tokens - 1
                entry += 1
            outputs.append(entry - 1)
        batch.n_tokens = entry
        decode, sample = llama.llama_decode, llama.llama_sampler_sample
        if decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        sampled = [sample(samplers[stream], context, outputs[stream]) for stream in range(streams)]
        first = time.perf_counter() - started
        for stream in range(streams):
            count[stream], wanted[stream] = 1, 1
            seq[stream][0] = stream
        batch.n_tokens = streams
        started = time.perf_counter()
        order = range(streams)
        for step in range(tokens - 1):
            position = prompt_tokens + step
            for stream in order:
                token[stream] = sampled[stream]
                pos[stream] = position
            if decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            for stream in order:
                sampled[stream] = sample(samplers[stream], context, stream)
        seconds = time.perf_counter() - started
        for sampler in samplers:
            llama.llama_sampler_free(sampler)
        return BareResult(streams, tokens, streams * (tokens - 1) / seconds, first)

    def close(self) -> None:
        self.llama.llama_batch_free(self.batch)
        self.llama.llama_free(self.context)
        self.llama.llama_model_free(self.model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", type=int, default=8192)
    parser.add_argument("--split", action="store_true")
    parser.add_argument("--no-flash", action="store_true")
    parser.add_argument("--greedy", action="store_true")
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    loop = BareLoop(
        options.model,
        threads=options.threads,
        cells=options.cells,
        unified=not options.split,
        flash_attention=not options.no_flash,
    )
    for _ in range(options.repeat):
        for streams in options.streams:
            print(json.dumps(asdict(loop.run(streams, options.tokens, greedy=options.greedy))), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
