"""Importance matrices by themselves: made by a job, added up, looked into."""

from __future__ import annotations

import asyncio
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.child.matrix_statistics import statistics
from slmdesk.quantize.file_tools.tool_requests import MatrixRequest, MatrixSumRequest, ToolRequest
from slmdesk.quantize.host import run_child
from slmdesk.quantize.matrix_file import Matrix, MatrixEntry, read_matrix, write_matrix
from slmdesk.quantize.matrix_sum import merged
from slmdesk.quantize.protocol import MatrixUse, QuantizeSpec
from tests.quantize.tool_bench import ToolBench

pytestmark = pytest.mark.timeout(300)
TOOLS = os.environ.get("SLMDESK_LLAMA_TOOLS", "")
GUIDE = "slmdesk/desk-guide"


def entry(sums: list[list[float]], counts: list[float]) -> MatrixEntry:
    return MatrixEntry(np.array(sums, np.float32), np.array(counts, np.float32))


def matrix(**entries: MatrixEntry) -> Matrix:
    return Matrix({name.replace("__", "."): value for name, value in entries.items()}, ("text",), 2, 8)


def write_dat(path: Path, entries: dict[str, tuple[int, list[float]]], calls: int, text: str) -> None:
    """As llama-imatrix wrote them: means times calls."""
    data = struct.pack("<i", len(entries))
    for name, (count, values) in entries.items():
        raw = name.encode()
        data += struct.pack("<i", len(raw)) + raw + struct.pack("<ii", count, len(values))
        data += np.array(values, "<f4").tobytes()
    path.write_bytes(data + struct.pack("<ii", calls, len(text)) + text.encode())


async def refused(tools: ToolBench, request: ToolRequest) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await tools.tools.start(request)
    assert await tools.store.list() == []
    assert caught.value.hint
    return caught.value


async def test_made_by_itself_and_used_for_a_quant(
    tools: ToolBench, desk_guide: Path, short_text: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "guide.gguf"
    request = MatrixRequest(GUIDE, text=str(short_text), chunk=256, output=str(target))
    plan = await tools.tools.plan(request)
    job = await tools.done(request)
    assert job.result is not None
    made = read_matrix(target)
    layers = read_header(desk_guide).number("block_count")
    assert len(made.entries) == job.result["entries"] == 7 * layers
    assert made.chunks == job.result["chunks"] == job.result["tokens"] // 256
    assert made.datasets == (short_text.name,)
    assert plan.bytes == target.stat().st_size
    assert all((e.counts == job.result["tokens"]).all() for e in made.entries.values())
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    # A quantizer takes it: a quant that cannot be made without.
    use = MatrixUse(str(target), target.name, short_text.name)
    found = await run_child(QuantizeSpec(str(desk_guide), str(tmp_path), "q.gguf", "IQ2_XXS", matrix=use))
    assert found["types"]["blk.0.ffn_up.weight"] == "IQ2_XXS"


async def test_in_the_library_it_lies_beside_its_model(tools: ToolBench, short_text: Path) -> None:
    job = await tools.done(MatrixRequest(GUIDE, text=str(short_text), chunk=128, most_chunks=2))
    assert job.result is not None
    assert Path(job.result["path"]) == tools.paths.models / "local" / "desk-guide" / "desk-guide.imatrix.gguf"
    assert job.result["chunks"] == 2
    models = {model.id: model for model in await tools.library.models()}
    listed = models["local/desk-guide"].files
    assert [file.problem.code for file in listed if file.problem] == ["model_not_chat"]
    assert (await refused_later(tools, MatrixRequest(GUIDE, text=str(short_text)))).code == "output_exists"


async def refused_later(tools: ToolBench, request: ToolRequest) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await tools.tools.start(request)
    return caught.value


async def test_what_cannot_be_made_is_said(tools: ToolBench, desk_guide: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Too short.", "utf-8")
    assert (await refused(tools, MatrixRequest(GUIDE, text=str(short)))).code == "text_too_short"
    assert (
        await refused(tools, MatrixRequest(GUIDE, text=str(tmp_path / "no.txt")))
    ).code == "text_unreadable"
    assert (await refused(tools, MatrixRequest(GUIDE, chunk=4))).code == "chunk_invalid"
    assert (await refused(tools, MatrixSumRequest(str(desk_guide)))).code == "imatrix_alone"
    two = MatrixSumRequest(str(desk_guide), (str(desk_guide),))
    assert (await refused(tools, two)).code == "imatrix_unreadable"
    few = tmp_path / "few.txt"  # enough bytes, too few tokens: known when they are counted
    few.write_text("A few words, again and again. " * 60, "utf-8")
    job = await tools.work(
        await tools.tools.start(MatrixRequest(GUIDE, text=str(few), output=str(tmp_path / "o")))
    )
    assert job.error is not None
    assert job.error.code == "text_too_short"
    assert list((tmp_path / "o").iterdir()) == []


async def test_cancelling_leaves_nothing(tools: ToolBench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = await tools.tools.start(MatrixRequest(GUIDE, output=str(out)))

    async def cancel() -> None:
        while "importance matrix" not in (await tools.store.get(job.id)).detail:
            await asyncio.sleep(0.005)
        await tools.store.ask(job.id, "cancel")

    canceller = asyncio.create_task(cancel())
    ended = await tools.work(job)
    await canceller
    assert ended.state == "cancelled"
    assert list(out.iterdir()) == []


async def test_two_halves_are_the_whole(tools: ToolBench, short_text: Path, tmp_path: Path) -> None:
    """The matrix of a text twice is the sum of the matrix of that text with itself."""
    first = str(tmp_path / "a.gguf")
    await tools.done(MatrixRequest(GUIDE, text=str(short_text), chunk=256, output=first))
    request = MatrixSumRequest(first, (first,), output=str(tmp_path / "sum.gguf"))
    plan = await tools.tools.plan(request)
    await tools.done(request)
    one, both = read_matrix(tmp_path / "a.gguf"), read_matrix(tmp_path / "sum.gguf")
    assert plan.bytes == (tmp_path / "sum.gguf").stat().st_size
    assert both.chunks == 2 * one.chunks
    assert both.datasets == one.datasets * 2
    for name, own in one.entries.items():
        np.testing.assert_array_equal(both.entries[name].sums, 2 * own.sums)
        np.testing.assert_array_equal(both.entries[name].counts, 2 * own.counts)
        np.testing.assert_allclose(both.weights()[name], one.weights()[name], rtol=1e-6)


def test_an_older_file_counts_calls_and_holds_means(tmp_path: Path) -> None:
    write_dat(tmp_path / "old.dat", {"blk.0.a.weight": (3, [6.0, 12.0])}, 3, "old text")
    old = read_matrix(tmp_path / "old.dat")
    new = matrix(blk__0__a__weight=entry([[100.0, 10.0]], [16]))
    both = merged([("new", new), ("old", old)], 512)
    # As in the newer file, a call stands for 8 tokens here: 6·8 + 100 over 3·8 + 16.
    own = both.entries["blk.0.a.weight"]
    assert own.sums.tolist() == [[148.0, 106.0]]
    assert own.counts.tolist() == [40]
    assert (both.chunks, both.chunk_size, both.datasets) == (5, 8, ("text", "old text"))
    alone = merged([("old", old), ("old", old)], 512)
    assert alone.entries["blk.0.a.weight"].counts.tolist() == [2 * 3 * 512]
    assert alone.chunk_size == 512


def test_experts_of_an_older_file_share_its_count(tmp_path: Path) -> None:
    write_dat(tmp_path / "old.dat", {"blk.0.e.weight": (2, [1.0, 2.0, 3.0, 4.0])}, 2, "")
    new = matrix(blk__0__e__weight=entry([[1.0, 1.0], [1.0, 1.0]], [4, 0]))
    both = merged([("old", read_matrix(tmp_path / "old.dat")), ("new", new)], 8)
    assert both.entries["blk.0.e.weight"].counts.tolist() == [20, 16]
    assert both.entries["blk.0.e.weight"].sums.tolist() == [[9.0, 17.0], [25.0, 33.0]]


def test_matrices_of_different_models_are_not_added_up() -> None:
    one = matrix(blk__0__a__weight=entry([[1.0, 2.0]], [8]))
    for other in (
        matrix(blk__0__b__weight=entry([[1.0, 2.0]], [8])),
        matrix(blk__0__a__weight=entry([[1.0, 2.0, 3.0]], [8])),
    ):
        with pytest.raises(SlmDeskError) as caught:
            merged([("one", one), ("other", other)], 8)
        assert caught.value.code == "imatrix_mismatch"
        assert "one and other" in caught.value.message


def test_the_figures_of_a_matrix_worked_out_by_hand() -> None:
    values = matrix(
        blk__0__attn_q__weight=entry([[8.0, 0.0, 0.0, 8.0]], [8]),
        blk__1__attn_q__weight=entry([[8.0, 8.0, 8.0, 8.0]], [8]),
        blk__0__ffn_up_exps__weight=entry([[4.0, 4.0], [0.0, 0.0]], [4, 0]),
        output__weight=entry([[0.0]], [0]),
    )
    found = statistics(Path("m.gguf"), values)
    by_name = {tensor["name"]: tensor for tensor in found["tensors"]}
    first, second = by_name["blk.0.attn_q.weight"], by_name["blk.1.attn_q.weight"]
    assert (first["part"], first["layer"], first["elements"]) == ("attn_q", 0, 4)
    assert (first["total"], first["least"], first["most"], first["mean"]) == (2.0, 0.0, 1.0, 0.5)
    assert (first["deviation"], first["active"], first["entropy"]) == (0.5, 0.5, 1.0)
    assert first["entropy_share"] == 0.5
    assert first["outliers"] == 0.0  # one deviation above the mean exactly is not more than that
    assert second["cosine"] == pytest.approx(2 / 8**0.5)
    assert "cosine" not in first
    experts = by_name["blk.0.ffn_up_exps.weight"]
    assert (experts["matrices"], experts["untouched"], experts["elements"]) == (2, 0.5, 2)
    assert (experts["count_least"], experts["count_most"]) == (0, 4)
    assert "total" not in by_name["output.weight"]
    assert by_name["output.weight"]["layer"] == -1
    assert found["untouched"] == 2 / 5
    assert [layer["layer"] for layer in found["layers"]] == [0, 1]
    assert found["layers"][1]["cosine"] == second["cosine"]


async def test_what_a_matrix_does_not_cover(tools: ToolBench, tmp_path: Path, desk_guide: Path) -> None:
    half = tmp_path / "half.gguf"
    names = [
        t.name for t in read_header(desk_guide).tensors if t.name.startswith("blk.0.") and len(t.shape) > 1
    ]
    columns = {t.name: t.shape[0] for t in read_header(desk_guide).tensors}
    entries = {
        name: MatrixEntry(np.ones((1, columns[name]), np.float32), np.ones(1, np.float32)) for name in names
    }
    entries["blk.9.other.weight"] = MatrixEntry(np.ones((1, 4), np.float32), np.ones(1, np.float32))
    write_matrix(half, Matrix(entries, ("t",), 1, 512))
    found = await tools.tools.statistics(half, GUIDE)
    layers = read_header(desk_guide).number("block_count")
    assert len(found["uncovered"]) == 7 * (layers - 1)
    assert not any(name.startswith("blk.0.") for name in found["uncovered"])
    assert found["foreign"] == 1
    assert found["format"] == "gguf"


@pytest.mark.slow
@pytest.mark.skipif(not (Path(TOOLS) / "llama-imatrix").is_file(), reason="needs llama.cpp's llama-imatrix")
async def test_the_figures_of_llama_cpps_own_tool(tools: ToolBench, short_text: Path, tmp_path: Path) -> None:
    """With `llama-imatrix` in SLMDESK_LLAMA_TOOLS: what its --show-statistics prints, to the digits it prints."""
    target = tmp_path / "m.gguf"
    await tools.done(MatrixRequest(GUIDE, text=str(short_text), chunk=256, output=str(target)))
    command = [str(Path(TOOLS) / "llama-imatrix"), "--in-file", str(target), "--show-statistics"]
    said = await asyncio.to_thread(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    )
    rows = [line.split("\t") for line in (said.stdout + said.stderr).splitlines() if line.count("\t") == 12]
    theirs = {(r[0].strip(), r[1].strip()): [re.sub("[ %]", "", c) for c in r[2:]] for r in rows[1:]}
    found = (await tools.tools.statistics(target))["tensors"]
    assert len(theirs) == len(found)
    for tensor in found:
        its = theirs[str(tensor["layer"]), tensor["part"]]
        assert float(its[0]) == pytest.approx(tensor["total"], abs=0.02, rel=1e-4)
        assert float(its[5]) == pytest.approx(100 * tensor["active"], abs=0.01)
        assert float(its[7]) == pytest.approx(tensor["entropy"], abs=2e-3)
        assert float(its[10]) == pytest.approx(tensor.get("cosine", 0.0), abs=1e-3)
