"""Vectors and scores as llama-cpp-python computes them: a child process reads a job as JSON, and prints the rows.

The job: `path`, `context`, and `texts`, in the order of the rows. Each is a text, or a list of tokens and of texts that
nothing is put around; control tokens count in those of one part. Scores have the model's first number alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def rows_of(path: Path, texts: list[Any], *, context: int, pooling: int = -1) -> list[list[float]]:
    """One row a text, of length 1; of ranking models one number. `pooling`: llama.cpp's, -1 for the file's."""
    job = {"path": str(path), "texts": texts, "context": context, "pooling": pooling}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    import llama_cpp

    job = json.loads(sys.stdin.read())
    size = job["context"]
    llama = llama_cpp.Llama(
        job["path"],
        embedding=True,
        n_ctx=size,
        n_batch=size,
        n_ubatch=size,
        n_threads=2,
        pooling_type=job["pooling"],
        verbose=False,
    )
    ranks = llama.pooling_type() == llama_cpp.LLAMA_POOLING_TYPE_RANK
    tokenize = llama.tokenize
    rows = []
    for text in job["texts"]:
        tokens = []
        parts = text if isinstance(text, list) else []
        for part in parts:
            if isinstance(part, int):
                tokens.append(part)
            else:
                tokens += tokenize(part.encode(), add_bos=False, special=len(parts) == 1)
        tokens = tokens or tokenize(text.encode())
        llama.tokenize = lambda *_, given=tokens: given
        row = llama.embed("", normalize=not ranks)
        rows.append(row[:1] if ranks else row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
