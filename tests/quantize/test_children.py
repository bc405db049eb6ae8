"""The child process on the real model: sizes, types, the check, the importance matrix, the figures, and faults."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.host import run_child
from slmdesk.quantize.matrix_file import read_matrix
from slmdesk.quantize.protocol import (
    CheckSpec,
    ForecastSpec,
    MatrixSpec,
    MatrixUse,
    Options,
    QualitySpec,
    QuantizeSpec,
    SpeedSpec,
)
from slmdesk.quantize.source import open_source
from tests.faulty import faulty_environment

pytestmark = pytest.mark.timeout(600)  # some processes each; a busy machine takes its time


async def _made(folder: Path, source: Path, target: str, **more: Any) -> Path:
    name = f"{target}{len(list(folder.iterdir()))}.gguf"
    await run_child(QuantizeSpec(str(source), str(folder), name, target, **more))
    return folder / name


async def test_sizes_and_types_are_forecast_exactly(tmp_path: Path, desk_guide: Path) -> None:
    names = ["BF16", "Q8_0", "Q4_K_M", "TQ2_0", "MXFP4"]
    options = Options(output_type="Q5_K", overrides=((r"blk\.0\.attn_v", "Q8_0"),))
    found = await run_child(ForecastSpec(str(desk_guide), names, options))
    for entry in found["quants"]:
        heard: list[dict[str, Any]] = []
        folder = tmp_path / entry["quant"]
        folder.mkdir()
        spec = QuantizeSpec(str(desk_guide), str(folder), "x.gguf", entry["quant"], options)
        result = await run_child(spec, on_progress=heard.append)
        header = read_header(folder / "x.gguf")
        assert header.file_bytes == entry["bytes"], entry["quant"]
        assert {t.name: t.type.name.upper() for t in header.tensors} == entry["types"] == result["types"]
        assert result["files"] == ["x.gguf"]
        # Each tensor is told as it begins (as far as there is time between two lines), and the end.
        assert heard[-1]["done"] == heard[-1]["total"]
    assert entry["types"]["blk.0.attn_v.weight"] == "Q8_0"
    assert read_header(tmp_path / "Q4_K_M" / "x.gguf").quant == "Q4_K_M"


async def test_tensors_whose_shape_does_not_fit(tmp_path: Path) -> None:
    from tests.benchmarks.models import Shape, random_llama_gguf

    shape = Shape(layers=1, hidden=192, feed_forward=256, heads=3, kv_heads=1, vocabulary=512, context=512)
    source = random_llama_gguf(tmp_path / "odd.gguf", shape, quant="F16")
    found = await run_child(ForecastSpec(str(source), ["Q4_K_M"]))
    entry = found["quants"][0]
    names = {name for name, _, _ in entry["fallbacks"]}
    assert "blk.0.attn_q.weight" in names
    assert "blk.0.ffn_down.weight" not in names  # its rows have 256 weights
    assert ["blk.0.attn_q.weight", "Q4_K", "Q5_0"] in entry["fallbacks"]
    assert (await _made(tmp_path, source, "Q4_K_M")).stat().st_size == entry["bytes"]


async def test_the_check_passes_what_is_right_and_nothing_else(tmp_path: Path, desk_guide: Path) -> None:
    made = await _made(tmp_path, desk_guide, "Q8_0")
    types = {t.name: t.type.name for t in read_header(made).tensors}
    found = await run_child(CheckSpec([str(made)], types))
    assert len(found["tokens"]) == 8
    import hashlib

    assert found["sha256"][made.name] == hashlib.sha256(made.read_bytes()).hexdigest()

    async def fails(path: Path, types: dict[str, str]) -> str:
        with pytest.raises(SlmDeskError) as caught:
            await run_child(CheckSpec([str(path)], types))
        assert caught.value.code == "check_failed"
        return caught.value.message

    assert "in place of Q4_K" in await fails(made, {**types, "blk.0.attn_q.weight": "Q4_K"})
    whole = bytearray(made.read_bytes())
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:-5000])
    assert "cut off" in await fails(cut, types)
    header = read_header(made)
    tensor = next(t for t in header.tensors if t.name == "blk.2.ffn_up.weight")
    at = header.data_offset + tensor.offset
    whole[at : at + 2] = struct.pack("<H", 0x7E00)  # the scale of a block: not a number
    spoilt = tmp_path / "spoilt.gguf"
    spoilt.write_bytes(whole)
    assert "blk.2.ffn_up.weight" in await fails(spoilt, types)


async def test_weights_that_are_not_numbers_are_named(tmp_path: Path, desk_guide: Path) -> None:
    header = read_header(desk_guide)
    tensor = next(t for t in header.tensors if t.name == "blk.1.ffn_gate.weight")
    data = bytearray(desk_guide.read_bytes())
    at = header.data_offset + tensor.offset
    data[at : at + 2] = struct.pack("<H", 0x7C00)  # infinite
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(SlmDeskError) as caught:
        await _made(tmp_path, tmp_path / "bad.gguf", "Q4_0")
    assert caught.value.code == "weights_invalid"
    assert "blk.1.ffn_gate.weight" in caught.value.message


async def test_matrix_is_what_the_quantizer_takes(tmp_path: Path, desk_guide: Path, short_text: Path) -> None:
    out = tmp_path / "m.gguf"
    spec = MatrixSpec(str(desk_guide), str(short_text), str(out), "short", chunk=256, special=True)
    found = await run_child(spec)
    matrix = read_matrix(out)
    layers = read_header(desk_guide).number("block_count")
    assert len(matrix.entries) == 7 * layers == found["entries"]
    query, key = (matrix.entries[f"blk.0.attn_{x}.weight"] for x in "qk")
    np.testing.assert_array_equal(query.sums, key.sums)  # both read the same inputs
    assert query.counts[0] == found["tokens"] == found["chunks"] * 256
    assert all((entry.sums >= 0).all() and entry.sums.any() for entry in matrix.entries.values())

    use = MatrixUse(str(out), "m.gguf", "short")
    ours = await _made(tmp_path, desk_guide, "IQ2_XXS", matrix=use)
    header = read_header(ours)
    assert header.metadata["quantize.imatrix.file"] == "m.gguf"
    assert header.metadata["quantize.imatrix.entries_count"] == 7 * layers
    assert header.metadata["quantize.imatrix.chunks_count"] == found["chunks"]
    forecast = await run_child(ForecastSpec(str(desk_guide), ["IQ2_XXS"], matrix=use))
    assert forecast["quants"][0]["bytes"] == ours.stat().st_size
    with pytest.raises(SlmDeskError) as caught:
        await _made(tmp_path, desk_guide, "IQ2_XXS")
    assert caught.value.code == "imatrix_needed"


async def test_first_inputs_of_the_matrix_are_the_norm_of_the_embeddings(
    tmp_path: Path, desk_guide: Path, short_text: Path
) -> None:
    """What the first layer's queries read can be computed by hand: the normalized embeddings of the tokens."""
    out = tmp_path / "m.gguf"
    spec = MatrixSpec(
        str(desk_guide), str(short_text), str(out), "short", chunk=64, most_chunks=2, special=True
    )
    await run_child(spec)
    import gguf
    from llama_cpp import llama_cpp as api

    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(desk_guide).tensors}
    quiet = api.llama_log_callback(lambda *_: None)
    api.llama_log_set(quiet, ctypes.c_void_p(0))
    parameters = api.llama_model_default_params()
    parameters.vocab_only = True
    model = api.llama_model_load_from_file(os.fsencode(desk_guide), parameters)
    vocabulary = api.llama_model_get_vocab(model)
    data = short_text.read_bytes()
    tokens = (ctypes.c_int32 * len(data))()
    count = api.llama_tokenize(vocabulary, data, len(data), tokens, len(data), True, True)
    ids = np.array(tokens[:count], np.int32)[:128]
    if api.llama_vocab_get_add_bos(vocabulary):
        ids[[0, 64]] = api.llama_vocab_bos(vocabulary)
    api.llama_model_free(model)
    rows = tensors["token_embd.weight"][ids].astype(np.float32)
    epsilon = read_header(desk_guide).metadata["llama.attention.layer_norm_rms_epsilon"]
    normed = (
        rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + epsilon) * tensors["blk.0.attn_norm.weight"]
    )
    sums = read_matrix(out).entries["blk.0.attn_q.weight"].sums[0]
    np.testing.assert_allclose(sums, (normed**2).sum(axis=0), rtol=2e-3)


async def test_quality_goes_on_where_it_was_left(tmp_path: Path, desk_guide: Path, short_text: Path) -> None:
    small = await _made(tmp_path, desk_guide, "Q2_K")
    state = tmp_path / "state.npz"

    def spec(**more: Any) -> QualitySpec:
        quants = {"same": str(desk_guide), "Q2_K": str(small)}
        return QualitySpec(str(desk_guide), quants, str(short_text), chunk=256, special=True, **more)

    whole = await run_child(spec(state=str(state)))
    same, lossy = whole["quants"]["same"], whole["quants"]["Q2_K"]
    assert same["kld_mean"] == pytest.approx(0, abs=1e-6)
    assert same["top_1"] == 1
    assert same["perplexity"] == pytest.approx(whole["source"]["perplexity"])
    assert lossy["kld_mean"] > 0.001
    assert lossy["kld_999"] >= lossy["kld_95"] >= lossy["kld_median"] > 0
    assert 0 < lossy["top_1"] < 1
    # The second half of each chunk but for its last token is scored.
    assert whole["source"]["tokens_scored"] == whole["chunks"] * 127
    again = await run_child(spec(state=str(state)))
    assert again["evaluated_tokens"] == 0
    assert again["quants"] == whole["quants"]
    state.write_bytes(state.read_bytes()[:300])  # cut off: measured anew
    anew = await run_child(spec(state=str(state)))
    assert anew["evaluated_tokens"] > 0
    assert anew["quants"]["Q2_K"]["kld_mean"] == pytest.approx(lossy["kld_mean"], rel=1e-4)
    with pytest.raises(SlmDeskError) as caught:
        await run_child(QualitySpec(str(desk_guide), {}, str(short_text), str(state), chunk=2000))
    assert caught.value.code == "text_too_short"


async def test_speed(desk_guide: Path, short_text: Path) -> None:
    found = await run_child(SpeedSpec(str(desk_guide), str(short_text)))
    assert found["prompt_tokens_s"] > 0
    assert found["generation_tokens_s"] > 0
    assert 0 < found["first_token_seconds"] < 60
    assert found["peak_memory_bytes"] > desk_guide.stat().st_size


async def test_a_child_that_is_killed_is_explained(
    tmp_path: Path, desk_guide: Path, short_text: Path
) -> None:
    import psutil

    def kill(_event: dict[str, Any]) -> None:
        for child in psutil.Process().children():
            if "quantizer" in child.cmdline():
                child.kill()

    spec = MatrixSpec(
        str(desk_guide), str(short_text), str(tmp_path / "m.gguf"), "short", chunk=64, special=True
    )
    with pytest.raises(SlmDeskError) as caught:
        await run_child(spec, on_progress=kill)
    assert caught.value.code == "quantizer_killed"
    assert not (tmp_path / "m.gguf").exists()


async def test_faults_are_decoded(tmp_path: Path, desk_guide: Path) -> None:
    no_model = tmp_path / "no.gguf"
    no_model.write_bytes(b"GGUF" + bytes(200))
    with pytest.raises(SlmDeskError) as caught:
        await run_child(SpeedSpec(str(no_model), str(desk_guide)))
    assert caught.value.code == "model_damaged"
    with pytest.raises(SlmDeskError) as caught:
        await _made(tmp_path, desk_guide, "Q8_0", options=Options(overrides=(("(", "Q4_0"),)))
    assert caught.value.code == "pattern_invalid"
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe" * 4000)
    with pytest.raises(SlmDeskError) as caught:
        await run_child(MatrixSpec(str(desk_guide), str(binary), str(tmp_path / "m.gguf"), "x"))
    assert caught.value.code == "text_unreadable"


async def test_experts_are_counted_each(tmp_path: Path, short_text: Path) -> None:
    from tests.quantize.experts import EXPERTS, HIDDEN, LAYERS, USED, experts_gguf

    model, out = experts_gguf(tmp_path / "experts.gguf"), tmp_path / "m.gguf"
    found = await run_child(
        MatrixSpec(str(model), str(short_text), str(out), "short", chunk=64, most_chunks=4)
    )
    matrix = read_matrix(out)
    for layer in range(LAYERS):
        gate, up, down = (
            matrix.entries[f"blk.{layer}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down")
        )
        assert gate.sums.shape == (EXPERTS, HIDDEN)
        np.testing.assert_array_equal(gate.counts, up.counts)
        np.testing.assert_allclose(gate.sums, up.sums, rtol=1e-5)
        # Each token goes to two experts.
        assert gate.counts.sum() == down.counts.sum() == USED * found["tokens"]
        # What all experts read, weighted by how many of them read it, is the router's input, twice.
        router = matrix.entries[f"blk.{layer}.ffn_gate_inp.weight"]
        np.testing.assert_allclose(gate.sums.sum(axis=0), USED * router.sums[0], rtol=1e-4)
    use = MatrixUse(str(out), "m.gguf", "short")
    made = await _made(tmp_path, model, "MXFP4", matrix=use)
    types = {tensor.name: tensor.type.name for tensor in read_header(made).tensors}
    assert types["blk.0.ffn_up_exps.weight"] == "MXFP4"
    assert types["blk.0.attn_q.weight"] == "Q8_0"


@pytest.mark.parametrize("metadata_first", [False, True])
async def test_a_split_source_stays_split_or_becomes_one(
    tmp_path: Path, desk_guide: Path, metadata_first: bool
) -> None:
    from tests.quantize.split import split_gguf

    parts = split_gguf(desk_guide, tmp_path / "parted", 3, metadata_first=metadata_first)
    assert len(parts) == 3 + metadata_first
    assert bool(read_header(parts[0]).tensors) is not metadata_first
    source = open_source(parts[0])
    assert (source.quant, source.parameters) == ("F16", read_header(desk_guide).parameters)
    whole = await _made(tmp_path, desk_guide, "Q4_K_M")
    tensors = {t.name: (t.type.name, t.shape) for t in read_header(whole).tensors}
    for keep in (False, True):
        folder = tmp_path / f"keep-{keep}"
        folder.mkdir()
        options = Options(keep_split=keep)
        forecast = (await run_child(ForecastSpec(str(parts[0]), ["Q4_K_M"], options)))["quants"][0]
        name = "x" if keep else "x.gguf"
        made = await run_child(QuantizeSpec(str(parts[0]), str(folder), name, "Q4_K_M", options))
        files = [folder / file for file in made["files"]]
        assert len(files) == (len(parts) if keep else 1)
        found = {t.name: (t.type.name, t.shape) for file in files for t in read_header(file).tensors}
        assert found == tensors
        size = sum(file.stat().st_size for file in files)
        assert size == pytest.approx(forecast["bytes"], rel=0.0 if not keep else 0.005)
        await run_child(CheckSpec([str(file) for file in files], forecast["types"]))


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD")
async def test_native_code_that_fails_is_stepped_around(
    tmp_path: Path,
    desk_guide: Path,
    short_text: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Timing a quant whose weights lie in the processor's extra buffers, on a processor that fails with those."""
    await run_child(QuantizeSpec(str(desk_guide), str(tmp_path), "small.gguf", "Q4_0"))
    for name, value in faulty_environment("repack").items():
        monkeypatch.setenv(name, value)
    found = await run_child(SpeedSpec(str(tmp_path / "small.gguf"), str(short_text)))
    assert found["prompt_tokens_s"] > 0
    assert caplog.text.count("it begins again") == 1
    assert "extra buffers" in caplog.text
    monkeypatch.setenv("FAULT", "always")
    with pytest.raises(SlmDeskError) as caught:
        await run_child(SpeedSpec(str(tmp_path / "small.gguf"), str(short_text)))
    assert caught.value.code == "quantizer_crashed"


@contextmanager
def every_core_taken(times: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(times * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of a thread is too coarse")
async def test_the_time_trial_is_not_misled_by_other_work(desk_guide: Path) -> None:
    """With every core taken several times over the forecast stays what it is on a machine at rest."""
    spec = ForecastSpec(str(desk_guide), ["IQ2_XXS", "Q4_K_M"], matrix=MatrixUse())

    async def seconds() -> list[float]:
        return [entry["seconds"] + entry["starts"] for entry in (await run_child(spec))["quants"]]

    at_rest = await seconds()
    with every_core_taken(4):
        under_load = await seconds()
    for rest, load in zip(at_rest, under_load, strict=True):
        assert load == pytest.approx(rest, rel=0.8)
