"""How quickly quality is measured, against the engine's own prompt speed: `python -m tests.benchmarks.measure_speed`.

Both in one run on the same model and with the same threads: tokens/s of `quality` over all its models, and tokens/s
of a prompt of 512 tokens. Measuring also compares every row of logits, so its ratio is below one. The memory of a
vocabulary of 150 000 tokens is printed as well: what the child had at most, without the weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import psutil

from slmdesk.core.paths import Paths
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import QualitySpec, QuantizeSpec, SpeedSpec
from tests.benchmarks.models import Shape, random_llama_gguf


async def measured(source: Path, folder: Path, text: Path, chunks: int) -> dict[str, Any]:
    """Tokens/s of both ways, and the child's highest memory beyond the files it maps."""
    small = folder / f"{source.stem}-q8.gguf"
    await run_child(QuantizeSpec(str(source), str(folder), small.name, "Q8_0"))
    peak = 0

    def look(_event: dict[str, Any]) -> None:
        nonlocal peak
        for child in psutil.Process().children():
            memory = child.memory_info()
            peak = max(peak, memory.rss - getattr(memory, "shared", 0))

    spec = QualitySpec(
        str(source), {"Q8_0": str(small)}, str(text), str(folder / f"{source.stem}.npz"), most_chunks=chunks
    )
    quality = await run_child(spec, on_progress=look)
    speeds = [
        (await run_child(SpeedSpec(str(path), str(text))))["prompt_tokens_s"] for path in (source, small)
    ]
    ours = quality["evaluated_tokens"] / quality["seconds"]
    # Half of the tokens go through each model.
    prompt = 2 / sum(1 / speed for speed in speeds)
    return {
        "measuring_tokens_s": round(ours, 1),
        "prompt_tokens_s": round(prompt, 1),
        "ratio": round(ours / prompt, 3),
        "private_memory_mb": round(peak / 1e6),
    }


async def run(chunks: int) -> dict[str, Any]:
    text = Paths.resolve({}).resources / "quantize" / "measure.txt"
    ordinary = Shape(layers=12, hidden=768, feed_forward=2048, heads=12, kv_heads=4, vocabulary=32000)
    wide = Shape(layers=2, hidden=256, feed_forward=512, heads=4, kv_heads=2, vocabulary=150_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {}
        for title, shape in (("110M, 32 000 tokens", ordinary), ("150 000 tokens", wide)):
            source = random_llama_gguf(folder / f"{shape.vocabulary}.gguf", shape, quant="F16")
            result[title] = await measured(source, folder, text, chunks)
        return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=4)
    print(json.dumps(asyncio.run(run(parser.parse_args().chunks)), indent=1))


if __name__ == "__main__":
    main()
