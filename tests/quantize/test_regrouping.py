"""Splitting and joining: what comes out, byte for byte, and what a job leaves when it is ended in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.space import Space
from slmdesk.formats.gguf import read_header
from slmdesk.formats.gguf_pieces import open_parts
from slmdesk.library import sidecar
from slmdesk.quantize.file_tools.tool_requests import JoinRequest, SplitRequest, ToolRequest
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import CheckSpec
from slmdesk.quantize.regroup_plan import split_plan
from tests.quantize.split import split_gguf
from tests.quantize.tool_bench import ToolBench

pytestmark = pytest.mark.timeout(300)
TOOLS = os.environ.get("SLMDESK_LLAMA_TOOLS", "")


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".slmdesk-quantize-*")] if folder.exists() else []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def refused(tools: ToolBench, request: ToolRequest) -> SlmDeskError:
    with pytest.raises(SlmDeskError) as caught:
        await tools.tools.start(request)
    assert await tools.store.list() == []
    assert caught.value.hint
    return caught.value


async def test_parts_are_what_was_planned_and_join_into_the_same_file(
    tools: ToolBench, desk_guide: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    request = SplitRequest("slmdesk/desk-guide", max_bytes=3_000_000, output=str(out))
    plan = await tools.tools.plan(request)
    assert not out.exists()
    job = await tools.done(request)
    assert job.result is not None
    parts = sorted(out.glob("*.gguf"))
    count = len(parts)
    assert count > 2
    assert [part.name for part in parts] == [
        f"{desk_guide.stem}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)
    ]
    assert [(file.path, file.bytes) for file in plan.files] == [(p, p.stat().st_size) for p in parts]
    assert all(part.stat().st_size <= 3_000_000 for part in parts)
    headers = [read_header(part) for part in parts]
    whole = read_header(desk_guide)
    for number, header in enumerate(headers):
        assert header.metadata["split.no"] == number
        assert header.metadata["split.count"] == count
        assert header.metadata["split.tensors.count"] == len(whole.tensors)
    assert headers[1].metadata.keys() == {"split.no", "split.count", "split.tensors.count"}
    ours = [t for part in parts for t in gguf.GGUFReader(part).tensors]
    for mine, its in zip(ours, gguf.GGUFReader(desk_guide).tensors, strict=True):
        assert (mine.name, mine.tensor_type) == (its.name, its.tensor_type)
        np.testing.assert_array_equal(mine.data, its.data)
    assert [file["sha256"] for file in job.result["files"]] == [digest(part) for part in parts]
    # The engine's own loader takes it, and what it answers is what the whole file answers.
    split = await run_child(CheckSpec([str(parts[0])], {}, load_only=True))
    one = await run_child(CheckSpec([str(desk_guide)], {}, load_only=True))
    assert split["tokens"] == one["tokens"]
    assert left_behind(out) == []

    joined = await tools.done(JoinRequest(str(parts[1]), output=str(tmp_path / "one.gguf")))
    assert joined.result is not None
    assert digest(tmp_path / "one.gguf") == digest(desk_guide) == joined.result["files"][0]["sha256"]
    assert joined.result["size_bytes"] == joined.result["forecast_bytes"] == desk_guide.stat().st_size


async def test_parts_by_number_of_tensors_and_one_without_any(desk_guide: Path) -> None:
    headers = open_parts([desk_guide])
    count = len(headers[0].tensors)
    plans = split_plan(headers, max_tensors=10, metadata_first=True)
    assert [len(plan.tensors) for plan in plans] == [
        0,
        *[10] * (count // 10),
        *([count % 10] if count % 10 else []),
    ]
    again = split_plan(headers, max_tensors=count - 1)
    assert [len(plan.tensors) for plan in again] == [count - 1, 1]


async def test_in_the_library_the_parts_are_one_model(tools: ToolBench, desk_guide: Path) -> None:
    job = await tools.done(SplitRequest("slmdesk/desk-guide", max_tensors=20))
    assert job.result is not None
    first = Path(job.result["path"])
    assert first.parent == tools.paths.models / "local" / "desk-guide"
    noted = sidecar.read(first.parent)[first.name]
    assert (noted.state, noted.source, noted.extra["made"]["from"]) == ("verified", "split", desk_guide.name)
    listed = {model.id: model for model in await tools.library.models()}["local/desk-guide"]
    assert [len(file.parts) for file in listed.files] == [len(job.result["files"])]
    assert listed.files[0].state == "verified"
    # And its parts can be joined again by its id; a split model can be split anew.
    joined = await tools.tools.plan(JoinRequest(listed.id))
    assert joined.bytes == desk_guide.stat().st_size
    anew = await tools.tools.plan(SplitRequest(listed.id, max_bytes=5_000_000))
    assert len(anew.files) == 3


async def test_parts_of_others_are_joined_too(tools: ToolBench, desk_guide: Path, tmp_path: Path) -> None:
    parts = split_gguf(desk_guide, tmp_path / "theirs", 3, metadata_first=True)
    assert len(parts) == 4
    await tools.done(JoinRequest(str(parts[0]), output=str(tmp_path / "one.gguf")))
    made, whole = gguf.GGUFReader(tmp_path / "one.gguf"), gguf.GGUFReader(desk_guide)
    for mine, its in zip(made.tensors, whole.tensors, strict=True):
        assert mine.name == its.name
        np.testing.assert_array_equal(mine.data, its.data)


async def test_what_cannot_be_done_is_said_before(tools: ToolBench, desk_guide: Path, tmp_path: Path) -> None:
    guide = str(desk_guide)
    assert (await refused(tools, SplitRequest(guide))).code == "split_limit"
    assert (await refused(tools, SplitRequest(guide, max_bytes=1000))).code == "split_limit"
    assert (await refused(tools, SplitRequest(guide, max_bytes=10**7, max_tensors=3))).code == "split_limit"
    assert (await refused(tools, SplitRequest(guide, max_bytes=10**9))).code == "split_needless"
    assert (
        await refused(tools, SplitRequest(str(tmp_path / "no.gguf"), max_tensors=3))
    ).code == "source_missing"
    assert (await refused(tools, JoinRequest(guide))).code == "join_needless"
    parts = split_gguf(desk_guide, tmp_path / "m", 3)
    there = tmp_path / "there.gguf"
    there.write_bytes(b"mine")
    assert (await refused(tools, JoinRequest(str(parts[0]), str(there)))).code == "output_exists"
    assert there.read_bytes() == b"mine"
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for part, other in zip(parts, (parts[0], parts[2], parts[1]), strict=True):
        shutil.copy(other, swapped / part.name)
    assert (await refused(tools, JoinRequest(str(swapped / parts[0].name)))).code == "source_parts_mixed"
    parts[2].write_bytes(parts[2].read_bytes()[:-100_000])
    assert (await refused(tools, JoinRequest(str(parts[0])))).code == "gguf_truncated"
    parts[2].unlink()
    assert (await refused(tools, JoinRequest(str(parts[0])))).code == "source_parts_missing"


async def test_the_space_is_promised_before(
    tools: ToolBench, desk_guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await tools.tools.start(SplitRequest(str(desk_guide), max_tensors=20, output=str(tmp_path / "out")))
    tools.space = Space(tools.database, margin_bytes=shutil.disk_usage(tmp_path).total)
    monkeypatch.setattr("slmdesk.core.space._MARGIN_SHARE", 1)  # all of the disk is margin: none is free
    ended = await tools.work(job)
    assert ended.state in {"failed", "paused"}
    assert ended.error is not None
    assert ended.error.code == "disk_full"
    assert list((tmp_path / "out").glob("**/*.gguf")) == []
    assert left_behind(tmp_path / "out") == []


async def test_a_cancelled_job_leaves_nothing(tools: ToolBench, smollm2: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = await tools.tools.start(SplitRequest(str(smollm2), max_bytes=20_000_000, output=str(out)))

    async def cancel() -> None:
        while not list(out.glob(".slmdesk-quantize-*/*.gguf")):
            await asyncio.sleep(0.002)
        await tools.store.ask(job.id, "cancel")

    canceller = asyncio.create_task(cancel())
    ended = await tools.work(job)
    await canceller
    assert ended.state == "cancelled"
    assert list(out.glob("*.gguf")) == []
    assert left_behind(out) == []


async def test_after_an_end_the_job_begins_anew(tools: ToolBench, smollm2: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = await tools.tools.start(SplitRequest(str(smollm2), max_bytes=40_000_000, output=str(out)))
    halted = await tools.work(job, until=lambda _: bool(list(out.glob(".slmdesk-quantize-*/*.gguf"))))
    assert halted.state == "interrupted"
    assert list(out.glob("*.gguf")) == []
    ended = await tools.work(job)
    assert ended.state == "done", ended.error
    assert len(list(out.glob("*.gguf"))) == 3
    assert left_behind(out) == []


@pytest.fixture
def theirs(smollm2: Path, tmp_path: Path, request: pytest.FixtureRequest) -> list[Path]:
    """SmolLM2 split by llama.cpp's own tool."""
    options = ["--no-tensor-first-split"] if request.param else []
    command = [str(Path(TOOLS) / "llama-gguf-split"), "--split", "--split-max-tensors", "100", *options]
    subprocess.run([*command, str(smollm2), "theirs"], cwd=tmp_path, check=True, capture_output=True)
    return sorted(tmp_path.glob("theirs-*.gguf"))


@pytest.mark.slow
@pytest.mark.skipif(not TOOLS, reason="needs llama.cpp's tools")
@pytest.mark.parametrize("theirs", [False, True], indirect=True)
async def test_parts_of_llama_cpps_own_tool(
    tools: ToolBench, smollm2: Path, tmp_path: Path, theirs: list[Path]
) -> None:
    """With the folder of `llama-gguf-split` in SLMDESK_LLAMA_TOOLS: the same bytes."""
    ours = tmp_path / "ours"
    first = read_header(theirs[0]).tensors == ()
    await tools.done(
        SplitRequest(str(smollm2), max_tensors=100, metadata_first=first, output=str(ours / "theirs.gguf"))
    )
    assert [path.name for path in theirs] == sorted(path.name for path in ours.glob("*.gguf"))
    for path in theirs:
        assert path.read_bytes() == (ours / path.name).read_bytes()


async def test_a_file_that_came_under_the_final_name_meanwhile_stays(
    tools: ToolBench, desk_guide: Path, tmp_path: Path
) -> None:
    parts = split_gguf(desk_guide, tmp_path / "m", 2)
    target = tmp_path / "out" / "one.gguf"
    job = await tools.tools.start(JoinRequest(str(parts[0]), str(target)))
    target.parent.mkdir()
    target.write_bytes(b"mine")
    for _ in range(2):  # and at a second try it is not taken for what was made
        ended = await tools.work(job)
        assert ended.state == "failed"
        assert ended.error is not None
        assert ended.error.code == "output_exists"
        assert target.read_bytes() == b"mine"
        job = await tools.jobs.retry(job.id)
