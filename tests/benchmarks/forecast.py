"""The memory forecast against the engine's measured peak: two real models, and made-up ones of many architectures.

Each model is loaded in a real engine with the context given and asked with a prompt that fills it. The peak is the most
that the engine's process held from the load to the end of that answer (VmHWM on Linux: its own memory, its libraries
and the mapped weights that it reads). The forecast is made from the header alone, before the load, uncalibrated.

Prints one JSON line: the worst and the median error, and a row for each model. The real models' longest contexts take
minutes to fill; they are left out unless a name asks for them.

    python -m tests.benchmarks.forecast [--folder DIR] [NAME…]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from slmdesk.core.held_memory import held_bytes
from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.engines.host import start_engine
from slmdesk.engines.protocol import EngineSpec
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import Ask, Sampling
from slmdesk.inference.loading import Loading
from slmdesk.memory.forecast import Forecast, forecast
from slmdesk.memory.weights import weights_bytes
from tests import real_models
from tests.benchmarks.architectures import Sizes, write_model

BAR = 0.05
CacheType = Literal["f16", "q8_0", "q4_0"]
REAL = {"SmolLM2": real_models.smollm2, "Gemma": real_models.gemma}
LONG = 8192  # tokens; filling a longer context takes minutes


@dataclass(frozen=True, slots=True)
class Case:
    """A model and how it is loaded: a made-up one of these sizes, or a real one of that name."""

    name: str
    sizes: Sizes | str
    context: int
    cache_type: CacheType = "f16"
    parallel: int = 1
    flash_attention: bool = True

    def path(self, folder: Path) -> Path:
        """Its file; a made-up one is written below `folder`."""
        if isinstance(self.sizes, str):
            return REAL[self.sizes]()
        return write_model(folder / (self.name.replace(" ", "-").replace(",", "") + ".gguf"), self.sizes)


def real_case(model: str, context: int, cache_type: CacheType) -> Case:
    """A real model with that context, as the window would load it."""
    return Case(f"{model} {context} {cache_type}", model, context, cache_type, parallel=4)


# Both real models with short and long contexts; small models, of which the process is the larger part; then shapes
# after real families, cut down where the prompt would take long.
CASES = (
    *(
        real_case(model, context, cache_type)
        for context in (2048, 8192, 32768)
        for model in REAL
        for cache_type in ("f16", "q8_0")
    ),
    Case(
        "small of 8 layers Q4_K",
        Sizes("llama", layers=8, hidden=256, feed_forward=768, heads=4, vocabulary=8192),
        2048,
        parallel=4,
    ),
    Case(
        "small of 16 layers Q4_0",
        Sizes("llama", quant="Q4_0", layers=16, hidden=512, feed_forward=1536, heads=8, vocabulary=32000),
        2048,
        parallel=4,
    ),
    Case(
        "small of 24 layers F16",
        Sizes(
            "llama",
            quant="F16",
            layers=24,
            hidden=320,
            feed_forward=960,
            heads=5,
            kv_heads=5,
            vocabulary=4096,
        ),
        2048,
        parallel=4,
    ),
    Case(
        "small of 30 layers Q8_0",
        Sizes(
            "llama",
            quant="Q8_0",
            layers=30,
            hidden=384,
            feed_forward=1024,
            heads=6,
            vocabulary=49152,
            tokenizer="gpt2",
        ),
        2048,
        cache_type="q8_0",
        parallel=4,
    ),
    Case(
        "llama 20M Q8_0",
        Sizes("llama", quant="Q8_0", layers=6, hidden=384, feed_forward=1024, heads=6, vocabulary=16000),
        4096,
    ),
    Case(
        "llama 135M Q4_K",
        Sizes(
            "llama",
            layers=30,
            hidden=576,
            feed_forward=1536,
            heads=9,
            kv_heads=3,
            vocabulary=49152,
            tokenizer="gpt2",
        ),
        1024,
        parallel=4,
    ),
    Case(
        "llama 1B Q4_K",
        Sizes(
            "llama",
            layers=16,
            hidden=2048,
            feed_forward=8192,
            heads=32,
            kv_heads=8,
            vocabulary=128256,
            tokenizer="gpt2",
        ),
        600,
    ),
    Case(
        "qwen2 0.5B Q8_0",
        Sizes(
            "qwen2",
            quant="Q8_0",
            layers=24,
            hidden=896,
            feed_forward=4864,
            heads=14,
            vocabulary=151936,
            tokenizer="gpt2",
        ),
        600,
    ),
    Case(
        "qwen3 0.6B Q4_K",
        Sizes(
            "qwen3",
            layers=28,
            hidden=1024,
            feed_forward=3072,
            heads=16,
            kv_heads=8,
            head=128,
            vocabulary=151936,
            tokenizer="gpt2",
        ),
        768,
        cache_type="q8_0",
    ),
    Case(
        "gemma3 270M Q8_0",
        Sizes(
            "gemma3",
            quant="Q8_0",
            layers=18,
            hidden=640,
            feed_forward=2048,
            heads=4,
            kv_heads=1,
            head=256,
            vocabulary=262144,
            window=512,
            pattern=6,
        ),
        1024,
    ),
    Case(
        "gemma2 300M Q5_K",
        Sizes(
            "gemma2",
            quant="Q5_K",
            layers=12,
            hidden=1024,
            feed_forward=4096,
            heads=8,
            kv_heads=4,
            head=128,
            vocabulary=128000,
            window=1024,
        ),
        768,
    ),
    Case(
        "phi3 200M Q4_K",
        Sizes(
            "phi3",
            layers=12,
            hidden=1024,
            feed_forward=3072,
            heads=16,
            kv_heads=16,
            vocabulary=32064,
            tied=False,
        ),
        1024,
        cache_type="q4_0",
    ),
    Case(
        "olmo2 300M F16",
        Sizes(
            "olmo2",
            quant="F16",
            layers=12,
            hidden=1024,
            feed_forward=4096,
            heads=16,
            kv_heads=16,
            vocabulary=100352,
            tokenizer="gpt2",
            tied=False,
        ),
        640,
    ),
    Case(
        "granite 150M Q4_0",
        Sizes(
            "granite",
            quant="Q4_0",
            layers=20,
            hidden=768,
            feed_forward=2048,
            heads=12,
            kv_heads=4,
            vocabulary=49152,
            tokenizer="gpt2",
        ),
        2048,
    ),
    Case(
        "falcon3 200M IQ4_NL, no flash attention",
        Sizes(
            "llama",
            quant="IQ4_NL",
            layers=10,
            hidden=1024,
            feed_forward=3072,
            heads=4,
            kv_heads=2,
            head=256,
            vocabulary=131072,
            tokenizer="gpt2",
            tied=False,
        ),
        1024,
        flash_attention=False,
    ),
    Case(
        "mamba 130M F16",
        Sizes("mamba", quant="F16", layers=24, hidden=768, vocabulary=50280, tokenizer="gpt2"),
        768,
    ),
    Case(
        "mamba2 130M Q8_0",
        Sizes("mamba2", quant="Q8_0", layers=24, hidden=768, vocabulary=50288, tokenizer="gpt2", state=128),
        768,
    ),
    Case(
        "lfm2 350M Q4_K",
        Sizes(
            "lfm2",
            layers=16,
            hidden=1024,
            feed_forward=4608,
            heads=16,
            kv_heads=8,
            vocabulary=65536,
            tokenizer="gpt2",
            attention_layers=(2, 5, 8, 10, 12, 14),
        ),
        1024,
        parallel=2,
    ),
    Case(
        "falcon-h1 90M Q4_K",
        Sizes(
            "falcon-h1",
            layers=24,
            hidden=512,
            feed_forward=768,
            heads=8,
            vocabulary=32768,
            tokenizer="gpt2",
            state=64,
        ),
        1024,
    ),
    Case(
        "qwen3moe 400M Q4_K",
        Sizes(
            "qwen3moe",
            layers=12,
            hidden=768,
            feed_forward=512,
            heads=12,
            kv_heads=4,
            head=64,
            vocabulary=65536,
            tokenizer="gpt2",
            experts=24,
            experts_used=4,
        ),
        1024,
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's result. `error`: of the forecast against the peak (0.02: 2 % too much)."""

    name: str
    expected: Forecast
    peak: int
    prompt_tokens: int

    @property
    def error(self) -> float:
        return self.expected.total_bytes / self.peak - 1

    def row(self) -> dict[str, Any]:
        expected = self.expected
        return {
            "model": self.name,
            "error": round(self.error, 4),
            "peak_mb": round(self.peak / 1e6, 1),
            "forecast_mb": round(expected.total_bytes / 1e6, 1),
            "weights_mb": round(expected.weights_bytes / 1e6, 1),
            "kv_mb": round(expected.kv_bytes / 1e6, 1),
            "compute_mb": round(expected.compute_bytes / 1e6, 1),
            "overhead_mb": round(expected.overhead_bytes / 1e6, 1),
            "cells": expected.cells,
            "prompt_tokens": self.prompt_tokens,
        }


async def measure(case: Case, path: Path) -> Measured:
    """Forecast the case from the header of its file at `path`, then load it, fill its context and read the peak."""
    header = read_header(path)
    loading = Loading(
        context_length=case.context,
        parallel=case.parallel,
        cache_type=case.cache_type,
        flash_attention=case.flash_attention,
        threads=2,
    )
    expected = forecast(Architecture.from_gguf(header), weights_bytes(header), loading)
    engine = await start_engine(EngineSpec(str(path), case.name, loading))
    try:
        prompt_tokens = await _fill(engine, case.context - 8)
        peak = held_bytes(engine.pid)
    finally:
        await engine.stop()
    return Measured(case.name, expected, peak, prompt_tokens)


async def _fill(engine: Engine, tokens: int) -> int:
    """Ask with a prompt of nearly `tokens` tokens; how many it had."""
    letters = [chr(97 + number % 26) for number in range(tokens)]
    each = await engine.count(Ask(prompt=" ".join(letters[:200]))) / 200
    prompt = " ".join(letters[: int(tokens / max(each, 1.0))])
    request = Ask(id="fill", prompt=prompt, max_tokens=3, sampling=Sampling(temperature=0.0))
    async with aclosing(engine.ask(request)) as answer:
        async for item in answer:
            if isinstance(item, Stop):
                if item.reason == "error":
                    raise RuntimeError(f"the engine failed: {item.error}")
                return item.usage.prompt_tokens
    raise RuntimeError("the answer had no end")


async def _all(cases: list[Case], folder: Path, *, keep: bool) -> list[Measured]:
    results = []
    for case in cases:
        path = case.path(folder)
        result = await measure(case, path)
        print(json.dumps(result.row()), file=sys.stderr, flush=True)
        results.append(result)
        if not keep and path.parent == folder:
            path.unlink()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="The memory forecast against measured peaks.")
    parser.add_argument("names", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--folder", type=Path, help="keep the made-up models here")
    args = parser.parse_args()
    wanted = [case for case in CASES if any(name in case.name for name in args.names)]
    cases = wanted if args.names else [case for case in CASES if case.context < LONG]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        results = asyncio.run(_all(cases, folder, keep=args.folder is not None))
    errors = [abs(result.error) for result in results]
    summary = {
        "benchmark": "memory_forecast",
        "models": len(results),
        "worst_error": round(max(errors), 4),
        "median_error": round(median(errors), 4),
        "bar": BAR,
        "rows": [result.row() for result in results],
    }
    print(json.dumps(summary))
    return 0 if max(errors) <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
