"""What an importance matrix made here is worth: the same quant with it and without it, measured.

The model is random, but its channels differ in strength as those of trained models do: half of what enters a matrix
comes through a few of its columns, and a matrix must find them. (The built-in model is no example: its channels are
of one strength, and llama.cpp's way to round with a matrix, which makes errors smaller and weights a little shorter,
takes more from so small a model than it gives.)
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from slmdesk.formats.gguf import read_header
from slmdesk.quantize.host import run_child
from slmdesk.quantize.matrix_file import read_matrix
from slmdesk.quantize.protocol import MatrixSpec, MatrixUse, QualitySpec, QuantizeSpec
from tests.benchmarks.models import Shape, random_llama_gguf

SHAPE = Shape(layers=3, hidden=512, feed_forward=1024, heads=8, kv_heads=4, vocabulary=1024, context=1024)
CHUNK = 256
QUANTS = ("Q2_K", "Q3_K_S")
ERRORS = 5.0
"""A difference counts from so many standard errors on."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = random_llama_gguf(tmp_path_factory.mktemp("model") / "random.gguf", SHAPE, quant="F16")
    header = read_header(path)
    chooser = np.random.default_rng(5)
    with path.open("r+b") as file:
        for tensor in header.tensors:
            if tensor.name.startswith("blk.") and tensor.name.endswith("_norm.weight"):
                strength = chooser.lognormal(0.0, 1.2, SHAPE.hidden)
                strength /= np.sqrt(np.square(strength).mean())
                file.seek(header.data_offset + tensor.offset)
                file.write(strength.astype(np.float32).tobytes())
    return path


def words(path: Path, seed: int, count: int) -> Path:
    chooser = random.Random(seed)
    made = ["".join(chooser.choices("etaoinshrdlu", k=chooser.randint(1, 4))) for _ in range(count)]
    path.write_text(" ".join(made), "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_small_quants_are_nearer_to_the_source_with_the_matrix(model: Path, tmp_path: Path) -> None:
    calibration = words(tmp_path / "calibration.txt", 1, 3000)
    measured = words(tmp_path / "measured.txt", 2, 3000)
    matrix = tmp_path / "made.gguf"
    await run_child(MatrixSpec(str(model), str(calibration), str(matrix), calibration.name, chunk=CHUNK))
    weights = np.asarray(read_matrix(matrix).weights()["blk.0.attn_q.weight"])
    assert weights.max() > 20 * np.median(weights)  # the strong channels were found

    use = MatrixUse(str(matrix), matrix.name, calibration.name)
    quants: dict[str, str] = {}
    for quant in QUANTS:
        for name, given in ((f"{quant} with", use), (f"{quant} without", None)):
            file = f"{name.replace(' ', '-')}.gguf"
            await run_child(QuantizeSpec(str(model), str(tmp_path), file, quant, matrix=given))
            quants[name] = str(tmp_path / file)
    state = str(tmp_path / "state.npz")
    found = await run_child(QualitySpec(str(model), quants, str(measured), state, chunk=CHUNK))
    figures = found["quants"]
    for name, facts in figures.items():
        print(f"{name}: {facts['kld_mean']:.5f} ± {facts['kld_error']:.5f}, same token {facts['top_1']:.3f}")
    for quant in QUANTS:
        better, worse = figures[f"{quant} with"], figures[f"{quant} without"]
        noise = (better["kld_error"] ** 2 + worse["kld_error"] ** 2) ** 0.5
        assert worse["kld_mean"] - better["kld_mean"] > ERRORS * noise, quant
