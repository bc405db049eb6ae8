"""Tokens a second and first token of the engine against the bare loop, both sides measured in turns in one run.

    python tests/benchmarks/engine_speed.py [--model FILE] [--streams 1 4 16] [--tokens 96] [--rounds 3] [--worker]
        [--patience 60]

`--worker` measures the batch loop alone, in a process of its own without HTTP; otherwise the engine is asked through
its host, as the service does. Rates count tokens of all streams together, from the first token on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import psutil
from msgspec.structs import replace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from models import random_llama_gguf  # noqa: E402

from slmdesk.engines.host import LlamaEngine as Engine  # noqa: E402
from slmdesk.engines.host import start_engine  # noqa: E402
from slmdesk.engines.protocol import EngineSpec  # noqa: E402
from slmdesk.inference.answers import Delta, Stop  # noqa: E402
from slmdesk.inference.asks import Ask, Sampling  # noqa: E402
from slmdesk.inference.loading import Loading  # noqa: E402

_QUIET = 0.05  # part of the machine that other programs may take during a slice that counts

SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, seed=7)
PROMPT_TOKENS = 16


async def ask(engine: Engine, number: int, tokens: int) -> tuple[list[float], Stop]:
    """One stream: the time of every text that came, and the end."""
    times: list[float] = []
    done: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

    def sink(piece: Delta | Stop) -> None:
        if isinstance(piece, Stop):
            done.set_result(piece)
        else:
            times.append(time.perf_counter())

    request = Ask(
        id=f"b{number}-{time.monotonic_ns()}",
        prompt=" ".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=PROMPT_TOKENS)),  # a letter, a token
        max_tokens=tokens,
        sampling=replace(SAMPLING, seed=100 + number),
    )
    await engine.submit(request, sink)
    return times, await done


async def engine_rate(engine: Engine, streams: int, tokens: int) -> tuple[float, float]:
    """(tokens a second after the first token of the last stream to begin, seconds to the first token)."""
    started = time.perf_counter()
    answers = await asyncio.gather(*(ask(engine, number, tokens) for number in range(streams)))
    begin = max(times[0] for times, _ in answers)
    end = min(times[-1] for times, _ in answers)
    count = sum(sum(begin < at <= end for at in times) for times, _ in answers)
    return count / (end - begin), min(times[0] for times, _ in answers) - started


class Peer:
    """A child process that runs one measurement for each line it is given."""

    def __init__(self, kind: str, model: Path, threads: int, streams: int) -> None:
        argv = [sys.executable, __file__, "--child", kind, "--model", str(model), "--threads", str(threads)]
        # GOMP_SPINCOUNT in our environment tunes the engine; the bare loop keeps the runtime's own default.
        env = {
            name: value for name, value in os.environ.items() if kind != "bare" or name != "GOMP_SPINCOUNT"
        }
        self._child = subprocess.Popen(
            [*argv, "--streams", str(streams)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def run(self, streams: int, tokens: int) -> tuple[float, float]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps([streams, tokens]) + "\n")
        self._child.stdin.flush()
        rate, first = json.loads(self._child.stdout.readline())
        return rate, first

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(10)


def child(kind: str, model: Path, threads: int, streams: int) -> None:
    """The other end of `Peer`."""
    run = _bare(model, threads, streams) if kind == "bare" else _worker(model, threads, streams)
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)


def _bare(model: Path, threads: int, streams: int) -> Any:
    from bare_loop import BareLoop

    loop = BareLoop(model, threads=threads, sequences=streams)

    def run(count: int, tokens: int, prompt: int = PROMPT_TOKENS) -> tuple[float, float]:
        result = loop.run(count, tokens, prompt_tokens=prompt)
        return result.tokens_per_s, result.first_token_s

    return run


def _worker(model_path: Path, threads: int, streams: int) -> Any:
    import queue

    from slmdesk.engines.llama.answer import Answer
    from slmdesk.engines.llama.loop import Worker
    from slmdesk.engines.llama.sampling import build_sampler
    from slmdesk.engines.llama.text import TextStream
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model
    from slmdesk.llama.native import Native
    from slmdesk.llama.tuning import SWITCH_INTERVAL, tune_native

    tune_native()
    sys.setswitchinterval(SWITCH_INTERVAL)
    model = Model(Native(), str(model_path))
    context = Context(model, cells=8192, batch=512, sequences=streams + 4, threads=threads)
    steps: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def publish(texts: Any, ends: Any) -> None:
        steps.put((time.perf_counter(), len(texts), len(ends)))

    worker = Worker(model, context, parallel=streams, slots=streams + 4, publish=publish)
    worker.start()

    def run(count: int, tokens: int, prompt: int = PROMPT_TOKENS) -> tuple[float, float]:
        answers = []
        for number in range(count):
            tokens_in = random.choices(range(300, 500), k=prompt)
            sampler = build_sampler(model, replace(SAMPLING, seed=100 + number))
            answers.append(Answer(number, tokens_in, prompt + tokens, sampler, TextStream()))
        started = time.perf_counter()
        for answer in answers:
            worker.submit(answer)
        ended, at = 0, []
        while ended < count:
            moment, texts, ends = steps.get()
            at.append((moment, texts))
            ended += ends
        full = [moment for moment, texts in at if texts == count]
        return count * (len(full) - 1) / (full[-1] - full[0]), at[0][0] - started

    return run


class Bystanders:
    """How much of the machine other programs took while a slice was measured (0…1)."""

    def __init__(self, own: list[int]) -> None:
        self._own = [psutil.Process(pid) for pid in (os.getpid(), *own)]
        self._began = self._used()

    def _used(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        ours = sum(sum(process.cpu_times()[:2]) for process in self._own)
        return time.perf_counter(), busy, ours

    def share(self) -> float:
        began, ended = self._began, self._used()
        seconds = (ended[0] - began[0]) * (os.cpu_count() or 1)
        return max((ended[1] - began[1]) - (ended[2] - began[2]), 0.0) / seconds


async def quiet_slice(run: Any, own: list[int], patience: float) -> tuple[float, float]:
    """`run()` while other programs leave the machine alone; after `patience` seconds whatever comes counts."""
    end = time.monotonic() + patience
    while True:
        watch = Bystanders(own)
        await asyncio.sleep(0.2)
        late = time.monotonic() > end
        if watch.share() > _QUIET and not late:
            continue
        watch = Bystanders(own)
        result: tuple[float, float] = await run()
        if watch.share() <= _QUIET or late:
            return result


async def measure(options: argparse.Namespace, model: Path) -> None:
    most = max(options.streams)
    bare = Peer("bare", model, options.threads, most)
    other: Any
    if options.worker:
        other = Peer("worker", model, options.threads, most)
    else:
        loading = Loading(context_length=2048, parallel=most, threads=options.threads, cache_cells=8192)
        other = await start_engine(EngineSpec(str(model), "bench", loading))
    rates: dict[int, list[tuple[float, float, float, float]]] = {streams: [] for streams in options.streams}
    own = [bare.pid, other.pid]
    for round_ in range(options.rounds + 1):  # the first is for warming up
        for streams in options.streams:
            tokens = max(options.tokens // (1 + streams // 4), 8) if options.patience else options.tokens

            async def mine(streams: int = streams, tokens: int = tokens) -> tuple[float, float]:
                if options.worker:
                    return cast("tuple[float, float]", other.run(streams, tokens))
                return await engine_rate(other, streams, tokens)

            async def theirs(streams: int = streams, tokens: int = tokens) -> tuple[float, float]:
                return bare.run(streams, tokens)

            patience = options.patience if round_ else 0.0
            results = [await quiet_slice(run, own, patience) for run in (mine, theirs)]
            rates[streams].append((*results[0], *results[1]))
    bare.close()
    if options.worker:
        other.close()
    else:
        await other.stop()
    for streams, all_rounds in rates.items():
        rounds = all_rounds[1:]
        ratio = statistics.median(mine / theirs for mine, _, theirs, _ in rounds)
        print(
            json.dumps(
                {
                    "streams": streams,
                    "engine": round(statistics.median(r[0] for r in rounds), 1),
                    "bare": round(statistics.median(r[2] for r in rounds), 1),
                    "ratio": round(ratio, 3),
                    "ratios": [round(mine / theirs, 3) for mine, _, theirs, _ in rounds],
                    "first_token_more_ms": round(1000 * statistics.median(r[1] - r[3] for r in rounds), 2),
                }
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--patience", type=float, default=0.0, help="seconds to wait for a quiet machine, each slice"
    )
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--child", choices=["bare", "worker"])
    options = parser.parse_args()
    cache = Path(tempfile.gettempdir()) / "slmdesk-benchmarks" / "135m-Q4_K_M.gguf"
    model = options.model or random_llama_gguf(cache)
    if options.child:
        child(options.child, model, options.threads, options.streams[0])
    else:
        asyncio.run(measure(options, model))


if __name__ == "__main__":
    main()
