"""A real model as the source: one that is quantized already, and the figures that are known of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slmdesk.core.paths import resources_folder
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import (
    CheckSpec,
    ForecastSpec,
    MatrixSpec,
    MatrixUse,
    Options,
    QualitySpec,
    QuantizeSpec,
)

pytestmark = pytest.mark.timeout(1800)
TEXTS = resources_folder() / "quantize"


async def test_a_quantized_source_is_made_smaller_again(smollm2: Path, tmp_path: Path) -> None:
    """Its rows of 576 weights are no multiple of 256: most tensors must take another type, and the forecast says so."""
    found = await run_child(ForecastSpec(str(smollm2), ["Q2_K", "Q8_0"]))
    small, large = found["quants"]
    assert smollm2.stat().st_size < large["bytes"]
    assert ["blk.0.attn_q.weight", "Q2_K", "Q4_0"] in small["fallbacks"]
    await run_child(QuantizeSpec(str(smollm2), str(tmp_path), "small.gguf", "Q2_K"))
    header = read_header(tmp_path / "small.gguf")
    types = {tensor.name: tensor.type.name.upper() for tensor in header.tensors}
    assert (header.file_bytes, types, header.quant) == (small["bytes"], small["types"], "Q2_K")
    checked = await run_child(CheckSpec([str(tmp_path / "small.gguf")], small["types"]))
    assert len(checked["tokens"]) == 8


async def test_embeddings_get_a_type_that_their_rows_can_have(smollm2: Path) -> None:
    """576 weights a row: llama.cpp takes the type of the embeddings as it is told, and ends the process over it."""
    for asked, given in (("Q4_K", "Q5_0"), ("IQ2_XXS", "Q4_0"), ("Q8_0", "Q8_0")):
        found = (await run_child(ForecastSpec(str(smollm2), ["Q8_0"], Options(embedding_type=asked))))[
            "quants"
        ][0]
        assert found["types"]["token_embd.weight"] == given
        assert (["token_embd.weight", asked] in [fallen[:2] for fallen in found["fallbacks"]]) == (
            asked != given
        )


@pytest.mark.slow
async def test_the_figures_are_those_of_llama_perplexity(smollm2: Path, tmp_path: Path) -> None:
    """Found with llama-perplexity of the same llama.cpp over the same text, with the dequantized file as the original.

    The last digits are the processor's own; an error in scoring moves them by far more.
    """
    source = tmp_path / "f16.gguf"
    await run_child(QuantizeSpec(str(smollm2), str(tmp_path), source.name, "F16"))
    matrix = MatrixUse(str(tmp_path / "matrix.gguf"), "matrix.gguf", "calibration.txt")
    await run_child(MatrixSpec(str(source), str(TEXTS / "calibration.txt"), matrix.path, matrix.dataset))
    await run_child(QuantizeSpec(str(source), str(tmp_path), "plain.gguf", "Q2_K"))
    await run_child(QuantizeSpec(str(source), str(tmp_path), "weighed.gguf", "Q2_K", matrix=matrix))
    quants = {name: str(tmp_path / f"{name}.gguf") for name in ("plain", "weighed")}
    found = await run_child(
        QualitySpec(str(source), quants, str(TEXTS / "measure.txt"), str(tmp_path / "state"))
    )
    plain, weighed = found["quants"]["plain"], found["quants"]["weighed"]
    assert found["source"]["perplexity"] == pytest.approx(35.5940, rel=2e-3)
    assert weighed["perplexity"] == pytest.approx(43.37357, rel=4e-3)
    assert weighed["kld_mean"] == pytest.approx(0.348692, rel=2e-2)
    assert plain["kld_mean"] == pytest.approx(0.485, rel=2e-2)
    assert found["chunks"] == 13
