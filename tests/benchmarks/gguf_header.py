"""Reading a GGUF header with a vocabulary of 150 000 tokens: ours against gguf-py's reader, one after the other.

Prints one JSON line: seconds of both (processor time, as other programs would distort the clock; the fastest of several
runs each) and how many times faster ours is.

    python -m tests.benchmarks.gguf_header
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf

from slmdesk.formats.gguf import read_header
from tests.benchmarks.architectures import Sizes, write_model

TOKENS = 150_000
_OURS, _THEIRS = 7, 3  # runs


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        sizes = Sizes(
            "qwen2",
            quant="Q8_0",
            layers=2,
            hidden=64,
            feed_forward=128,
            heads=2,
            kv_heads=1,
            vocabulary=TOKENS,
            tokenizer="gpt2",
        )
        path = write_model(Path(folder) / "vocabulary.gguf", sizes)
        header = read_header(path)
        theirs_read = gguf.GGUFReader(path)
        same = header.vocabulary == len(theirs_read.fields["tokenizer.ggml.tokens"].data)
        del theirs_read
        ours = _fastest(lambda: read_header(path), _OURS)
        theirs = _fastest(lambda: gguf.GGUFReader(path), _THEIRS)
    result = {
        "benchmark": "gguf_header",
        "tokens": header.vocabulary,
        "ours_s": round(ours, 5),
        "gguf_py_s": round(theirs, 4),
        "ratio": round(theirs / ours, 1),
        "bar": 50.0,
        "same_vocabulary": same,
    }
    print(json.dumps(result))
    return 0 if same and theirs / ours >= 50 else 1


def _fastest(read: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        started = time.process_time()
        read()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
