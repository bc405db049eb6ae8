"""Downloads by the real runner from the loopback hub: whole, checked, noted, and the same file not twice."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job
from slmdesk.library import sidecar
from tests.downloads.conftest import REPO, settled, until
from tests.hub import LoopbackHub
from tests.hub.files import onnx_file, safetensors_file

GGUF = "small-Q4_K_M.gguf"
WEIGHTS = "weights.safetensors"


async def fetch(app: Application, *files: str, repo: str = REPO, insist: bool = False) -> Job:
    job = await app.downloads.start(await app.downloads.plan(repo, files, insist=insist))
    return await settled(app, job.id)


def folder(app: Application, repo: str = REPO) -> Path:
    return app.paths.models / repo


async def test_a_model_comes_whole_and_is_called_verified(app: Application, hub: LoopbackHub) -> None:
    job = await fetch(app, GGUF, "config.json", "onnx/model.onnx")
    assert job.state == "done", job.error
    for path in (GGUF, "config.json", "onnx/model.onnx"):
        content = folder(app).joinpath(path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == hub[REPO].files[path].sha256
    origin = sidecar.read(folder(app))[GGUF]
    assert (origin.state, origin.repo, origin.revision) == ("verified", REPO, hub[REPO].sha)
    file = await app.library.resolve(f"{REPO}:F16")
    assert file.state == "verified"
    assert (
        job.done
        == job.total
        == sum(hub[REPO].files[p].size for p in (GGUF, "config.json", "onnx/model.onnx"))
    )
    assert not (folder(app) / ".slmdesk-partial").exists()
    hub.forget()
    again = await fetch(app, GGUF, "onnx/model.onnx")
    assert again.state == "done"
    assert hub.total_served == 0


async def test_what_a_page_was_made_of_is_not_asked_again(app: Application, hub: LoopbackHub) -> None:
    page = await app.catalog.model_page(REPO)
    asked = await app.downloads.plan(REPO, [WEIGHTS, "config.json"])
    before = len(hub.requests)
    plan = await app.downloads.plan(REPO, [WEIGHTS, "config.json"], info=page.asked)
    assert plan == asked
    assert len(hub.requests) == before
    for files, code in ((["none.gguf"], "files_missing"), (["pytorch_model.bin"], "pickle_refused")):
        with pytest.raises(SlmDeskError) as caught:
            await app.downloads.plan(REPO, files, info=page.asked)
        assert caught.value.code == code
    app.settings.set("network.offline", True)
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan(REPO, [WEIGHTS], info=page.asked)
    assert caught.value.code == "offline"
    assert len(hub.requests) == before


DAMAGED = {
    "w.safetensors": (safetensors_file(5000)[:4000], "safetensors_truncated"),
    "x.safetensors": (b"\x20" + bytes(7) + b"<html>Please sign in</html>".ljust(40), "safetensors_damaged"),
    "cut.onnx": (onnx_file(5000)[:4000], "onnx_truncated"),
    "longer.onnx": (onnx_file(5000) + b"\x0b", "onnx_damaged"),
    "page.onnx": (b"<html>Please sign in</html>", "not_onnx"),
    "m.gguf": (b"<html>Please sign in</html>", "not_gguf"),
}


async def test_a_file_that_was_damaged_when_it_was_published_is_told_as_damaged(
    app: Application, hub: LoopbackHub
) -> None:
    """Its hash is right: only its header tells."""
    hub.add("maker/damaged", {name: content for name, (content, _) in DAMAGED.items()})
    for name, (_, code) in DAMAGED.items():
        job = await fetch(app, name, repo="maker/damaged")
        assert job.state == "failed"
        assert job.error is not None
        assert (job.error.code, name in job.error.message) == (code, True), job.error
        assert "publisher" in job.error.hint
        assert not (folder(app, "maker/damaged") / name).exists()
    assert not sidecar.read(folder(app, "maker/damaged"))


async def test_weights_of_a_type_of_the_future_are_kept(app: Application, hub: LoopbackHub) -> None:
    content = safetensors_file(5000).replace(b'"U8"', b'"U9"')
    hub.add("maker/future", {"w.safetensors": content})
    assert (await fetch(app, "w.safetensors", repo="maker/future")).state == "done"


async def test_an_importance_matrix_is_whole_though_it_names_no_architecture(
    app: Application, hub: LoopbackHub, tmp_path: Path
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "imatrix.gguf", "llama")
    del writer.kv_data[0]["general.architecture"]
    writer.add_string("general.type", "imatrix")
    writer.add_tensor("blk.0.ffn_up.weight.in_sum2", np.ones((1, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    hub.add("maker/matrix", {"imatrix.gguf": (tmp_path / "imatrix.gguf").read_bytes()})
    assert (await fetch(app, "imatrix.gguf", repo="maker/matrix")).state == "done"


async def test_a_killed_runner_fetches_hardly_anything_twice(app: Application, hub: LoopbackHub) -> None:
    hub.faults.slow(f"{REPO}/{WEIGHTS}", 4e6)
    job = await app.downloads.start(await app.downloads.plan(REPO, [WEIGHTS]))
    for at in (1_000_000, 3_000_000):
        await until(app, job.id, lambda job, at=at: job.done >= at)  # type: ignore[misc]
        pid = await app.jobs.store.runner()
        assert pid is not None
        psutil.Process(pid).kill()
        assert not (folder(app) / WEIGHTS).exists()
    done = await settled(app, job.id)
    assert done.state == "done", done.error
    assert hashlib.sha256((folder(app) / WEIGHTS).read_bytes()).hexdigest() == hub[REPO].files[WEIGHTS].sha256
    assert hub.served(REPO, WEIGHTS) < 6_000_000 + 2 * 1024 * 1024


async def test_pause_resume_and_cancel(app: Application, hub: LoopbackHub) -> None:
    hub.faults.slow(f"{REPO}/{WEIGHTS}", 5e5)  # far from done when it is paused, on any machine
    job = await app.downloads.start(await app.downloads.plan(REPO, [WEIGHTS]))
    await until(app, job.id, lambda job: job.done >= 600_000)
    await app.jobs.pause(job.id)
    paused = await until(app, job.id, lambda job: job.state == "paused")
    assert paused.error is None
    partial = next((folder(app) / ".slmdesk-partial").iterdir())
    size = partial.stat().st_size
    assert size >= 600_000
    same = await app.downloads.start(await app.downloads.plan(REPO, [WEIGHTS]))
    assert same.id == job.id  # asked for again, it goes on
    running = await until(app, job.id, lambda job: job.state == "running" and job.done > size)
    assert running.rate is None or running.rate > 0
    await app.jobs.cancel(job.id)
    await until(app, job.id, lambda job: job.state == "cancelled")
    async with asyncio.timeout(20):
        while folder(app).exists():
            await asyncio.sleep(0.05)


async def test_a_cancelled_download_keeps_what_came_if_asked(app: Application, hub: LoopbackHub) -> None:
    hub.faults.slow(f"{REPO}/{WEIGHTS}", 5e5)  # far from done when it is paused, on any machine
    job = await app.downloads.start(await app.downloads.plan(REPO, [WEIGHTS]))
    await until(app, job.id, lambda job: job.done >= 600_000)
    await app.jobs.cancel(job.id, keep=True)
    await until(app, job.id, lambda job: job.state == "cancelled")
    hub.faults.clear()
    hub.forget()
    assert (await fetch(app, WEIGHTS)).state == "done"
    assert hub.served(REPO, WEIGHTS) < 5_500_000


async def test_a_file_that_is_there_by_other_means_is_adopted(app: Application, hub: LoopbackHub) -> None:
    folder(app).mkdir(parents=True)
    content = hub[REPO].files[WEIGHTS].content
    assert isinstance(content, bytes)
    (folder(app) / WEIGHTS).write_bytes(content)
    assert (await fetch(app, WEIGHTS)).state == "done"
    assert hub.total_served == 0
    assert sidecar.read(folder(app))[WEIGHTS].state == "verified"


async def test_pickle_is_refused_unless_insisted(app: Application, hub: LoopbackHub) -> None:
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan(REPO, ["pytorch_model.bin"])
    assert caught.value.code == "pickle_refused"
    assert (await fetch(app, "pytorch_model.bin", insist=True)).state == "done"
    hub.add("maker/flagged", {"a.gguf": b"x" * 100}, issues={"a.gguf": "unsafe"})
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.plan("maker/flagged", ["a.gguf"])
    assert caught.value.code == "file_flagged"


async def test_space_is_checked_and_promised_before_anything_is_fetched(
    app: Application, hub: LoopbackHub
) -> None:
    huge = 1 << 45
    hub.faults.lie_about_size(f"{REPO}/{WEIGHTS}", huge)
    plan = await app.downloads.plan(REPO, [WEIGHTS])
    assert plan.size == huge
    with pytest.raises(SlmDeskError) as caught:
        await app.downloads.start(plan)
    assert caught.value.code == "disk_full"
    assert await app.jobs.list() == []
    assert hub.total_served == 0


async def test_a_missing_models_disk_pauses_and_goes_on_when_it_is_back(
    app: Application, hub: LoopbackHub, tmp_path: Path
) -> None:
    root = tmp_path / "disk" / "models"
    root.mkdir(parents=True)
    hub.faults.slow(f"{REPO}/{WEIGHTS}", 5e5)  # far from done when it is paused, on any machine
    job = await app.downloads.start(await app.downloads.plan(REPO, [WEIGHTS], root=root))
    await until(app, job.id, lambda job: job.done >= 600_000)
    await app.jobs.pause(job.id)
    await until(app, job.id, lambda job: job.state == "paused")
    root.rename(tmp_path / "gone")
    await app.jobs.resume(job.id)
    waiting = await until(app, job.id, lambda job: job.state == "paused" and job.error is not None)
    assert waiting.error is not None
    assert waiting.error.code == "drive_missing"
    assert waiting.resume_at is not None
    assert not root.exists()
    (tmp_path / "gone").rename(root)
    hub.faults.clear()
    await app.jobs.resume(job.id)
    assert (await settled(app, job.id)).state == "done"


async def test_a_power_cut_right_after_the_end_leaves_nothing_called_verified(
    app: Application, hub: LoopbackHub
) -> None:
    assert (await fetch(app, WEIGHTS)).state == "done"
    async with asyncio.timeout(20):
        while sidecar.UNFLUSHED in sidecar.read(folder(app))[WEIGHTS].extra:
            await asyncio.sleep(0.05)
    origin = sidecar.read(folder(app))[WEIGHTS]
    assert origin.state == "verified"
    # As it is found by the next start of the system when the disk did not get it all in time.
    sidecar.record(folder(app), {WEIGHTS: replace(origin, extra={sidecar.UNFLUSHED: "an earlier start"})})
    assert sidecar.read(folder(app))[WEIGHTS].state == "unverified"
