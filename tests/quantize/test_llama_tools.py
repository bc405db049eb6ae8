"""Importance matrices and quants against those of llama.cpp's own tools.

With the folder of `llama-imatrix` and `llama-quantize` (built from the vendored llama.cpp, and linked with the
installed library) in SLMDESK_LLAMA_TOOLS they are run and compared.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from slmdesk.core.paths import resources_folder
from slmdesk.quantize.host import run_child
from slmdesk.quantize.matrix_file import read_matrix
from slmdesk.quantize.protocol import MatrixSpec, MatrixUse, QuantizeSpec
from tests.benchmarks.models import Shape, random_llama_gguf

pytestmark = pytest.mark.timeout(600)
TOOLS = os.environ.get("SLMDESK_LLAMA_TOOLS", "")
SHAPE = Shape(layers=2, hidden=256, feed_forward=512, heads=4, kv_heads=2, vocabulary=1024, context=1024)
CHUNK = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama_gguf(tmp_path_factory.mktemp("model") / "random.gguf", SHAPE, quant="F16")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    chooser = random.Random(3)
    letters = "etaoinshrdlu"
    words = ["".join(chooser.choices(letters, k=chooser.randint(1, 4))) for _ in range(1200)]
    path.write_text(" ".join(words), "utf-8")
    return path


def tool(folder: Path, name: str, *arguments: str | Path) -> str:
    """Run a tool of llama.cpp in `folder`; what it printed."""
    argv = [str(Path(TOOLS) / name), *map(str, arguments)]
    found = subprocess.run(argv, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout + found.stderr


@pytest.mark.slow
@pytest.mark.skipif(not TOOLS, reason="needs llama.cpp's tools")
@pytest.mark.parametrize("which", ["random", "guide"])
async def test_matrix_and_quants_of_the_tools(
    tmp_path: Path, model: Path, text: Path, desk_guide: Path, which: str
) -> None:
    if which == "guide":
        model, text = desk_guide, resources_folder() / "quantize" / "guide-calibration.txt"
    (tmp_path / text.name).write_bytes(text.read_bytes())
    output = ("-o", "theirs.gguf", "-c", str(CHUNK), "-b", str(CHUNK), "-t", "2")
    tool(tmp_path, "llama-imatrix", "-m", model, "-f", text.name, *output)
    await run_child(
        MatrixSpec(str(model), str(text), str(tmp_path / "ours.gguf"), text.name, chunk=CHUNK, threads=2)
    )
    ours, theirs = read_matrix(tmp_path / "ours.gguf"), read_matrix(tmp_path / "theirs.gguf")
    assert ours.entries.keys() == theirs.entries.keys()
    assert (ours.chunks, ours.chunk_size) == (theirs.chunks, theirs.chunk_size)
    print({name: float(entry.sums.sum()) for name, entry in theirs.entries.items()})
    for name, entry in theirs.entries.items():
        np.testing.assert_array_equal(ours.entries[name].counts, entry.counts)
        np.testing.assert_allclose(ours.entries[name].sums, entry.sums, rtol=1e-4, atol=1e-6)
    # The file made here, given to both quantizers; and theirs.
    for matrix in ("ours.gguf", "theirs.gguf"):
        use = MatrixUse(str(tmp_path / matrix), matrix, text.name)
        for quant in ("Q2_K", "IQ2_XS", "Q4_K_M"):
            tool(tmp_path, "llama-quantize", "--imatrix", matrix, model, "tool.gguf", quant, "2")
            name = f"{matrix}-{quant}.gguf"
            await run_child(QuantizeSpec(str(model), str(tmp_path), name, quant, matrix=use))
            assert (tmp_path / name).read_bytes() == (tmp_path / "tool.gguf").read_bytes(), name
    for quant in ("Q8_0", "Q5_1", "TQ2_0"):
        tool(tmp_path, "llama-quantize", model, "tool.gguf", quant, "2")
        await run_child(QuantizeSpec(str(model), str(tmp_path), f"{quant}.gguf", quant))
        assert (tmp_path / f"{quant}.gguf").read_bytes() == (tmp_path / "tool.gguf").read_bytes(), quant
