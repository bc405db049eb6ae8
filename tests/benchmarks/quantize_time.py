"""Time of quantizing here against llama.cpp's bare call: `python -m tests.benchmarks.quantize_time`.

Both sides run in one run, in turns, with the same threads and the same file; the ratio counts, not the seconds.
Two ratios are printed: of the call inside the child (what progress and types cost), and of whole processes, each
starting Python, loading the library and ending (what the child's own ways cost).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from slmdesk.core.cores import worker_threads
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import QuantizeSpec
from slmdesk.quantize.targets import find_target
from tests.benchmarks.models import Shape, random_llama_gguf

_BARE = """
import ctypes, json, os, sys, time
from slmdesk.llama.binding import bind
api = bind()
quiet = api.llama_log_callback(lambda *_: None)
api.llama_log_set(quiet, ctypes.c_void_p(0))
api.llama_backend_init()
parameters = api.llama_model_quantize_default_params()
parameters.ftype, parameters.nthread = int(sys.argv[3]), int(sys.argv[4])
started = time.perf_counter()
failed = api.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(parameters))
print(json.dumps([failed, time.perf_counter() - started]), flush=True)
os._exit(0)
"""


def bare(source: Path, target: Path, ftype: int, threads: int) -> tuple[float, float]:
    """Seconds in the call, and of the whole process."""
    started = time.perf_counter()
    argv = [sys.executable, "-c", _BARE, str(source), str(target), str(ftype), str(threads)]
    failed, seconds = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert not failed
    return seconds, time.perf_counter() - started


async def ours(source: Path, folder: Path, quant: str) -> tuple[float, float]:
    """The same of the quantizer's child process."""
    started = time.perf_counter()
    found = await run_child(QuantizeSpec(str(source), str(folder), "ours.gguf", quant))
    return found["seconds"], time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quant", default="Q4_K_M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path)
    args = parser.parse_args()
    shape = Shape(layers=12, hidden=768, feed_forward=2048, heads=12, kv_heads=4, vocabulary=32000)
    ftype, threads = find_target(args.quant).ftype, worker_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.source or random_llama_gguf(folder / "source.gguf", shape, quant="F16")
        rows: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for _ in range(args.rounds):
            theirs = bare(source, folder / "bare.gguf", ftype, threads)
            rows.append((theirs, asyncio.run(ours(source, folder, args.quant))))
        same = (folder / "bare.gguf").read_bytes() == (folder / "ours.gguf").read_bytes()
        result: dict[str, Any] = {
            "quant": args.quant,
            "source_bytes": source.stat().st_size,
            "threads": threads,
            "same_bytes": same,
        }
    for index, what in enumerate(("call", "process")):
        # The quickest of each: whatever else runs on the machine only adds.
        a, b = (min(row[side][index] for row in rows) for side in (0, 1))
        result[what] = {"bare_s": round(a, 3), "ours_s": round(b, 3), "ratio": round(b / a, 3)}
        result[what]["median_ratio"] = round(
            statistics.median(row[1][index] / row[0][index] for row in rows), 3
        )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
