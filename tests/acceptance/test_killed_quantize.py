"""Quantizing killed at random moments: no bad file under a final name, every job goes on, nothing is left over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from slmdesk.application import Application
from slmdesk.core.jobs.job_store import Job
from slmdesk.core.paths import Paths
from slmdesk.formats.gguf import check, read_header
from slmdesk.library import sidecar
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import CheckSpec
from slmdesk.quantize.request import Request

QUANTS = ("Q8_0", "Q4_K_M", "Q2_K")
KILLS = int(os.environ.get("SLMDESK_TEST_KILLS", "100"))
LONGEST_S = 4.0  # from one kill to the next


@pytest.fixture
async def app(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    application = Application.build(dict(os.environ))
    yield application
    assert await application.jobs.end_runner()
    await application.close()


def family(pid: int) -> list[psutil.Process]:
    """The runner and its children."""
    with suppress(psutil.Error):
        runner = psutil.Process(pid)
        return [runner, *runner.children(recursive=True)]
    return []


def bad_files(folder: Path) -> list[str]:
    """Files under a final name that are not whole."""
    bad = []
    for path in folder.glob("*.gguf"):
        try:
            header = read_header(path)
            check(header)
            if header.data_offset + header.data_bytes > header.file_bytes:
                bad.append(path.name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the file is bad
            bad.append(f"{path.name}: {error}")
    return bad


def leftovers(paths: Paths) -> list[str]:
    found = [str(path) for path in paths.models.rglob(".slmdesk*")]
    found += [str(path) for path in (paths.data / "quantize").glob("*")]
    return found + [str(path) for path in (paths.data / "imatrix").rglob("*.partial")]


async def settled(app: Application, job_id: str) -> Job:
    """The job once it ended, whoever has to start the runner again for it."""
    async with asyncio.timeout(300):
        while not (job := await app.jobs.get(job_id)).ended:
            await app.jobs.wake()
            await asyncio.sleep(0.1)
    return job


async def killed_once(app: Application, random_: random.Random) -> str:
    """SIGKILL to the child or to the process that runs the jobs, after a random while."""
    await asyncio.sleep(random_.uniform(0.0, LONGEST_S))
    pid = await app.jobs.store.runner()
    if pid is None:
        return ""
    members = await asyncio.to_thread(family, pid)
    if not members:
        return ""
    victim = members[0] if random_.random() < 0.5 else random_.choice(members)
    with suppress(psutil.NoSuchProcess):
        victim.kill()
        return "runner" if victim.pid == pid else "child"
    return ""


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_kills_at_random_moments(app: Application, short_guide_text: Path) -> None:
    random_ = random.Random(int(os.environ.get("SLMDESK_TEST_SEED", "20")))
    kills = {"child": 0, "runner": 0}
    seen: set[psutil.Process] = set()
    number = 0
    while sum(kills.values()) < KILLS:
        number += 1
        request = Request(
            "slmdesk/desk-guide",
            QUANTS,
            imatrix="auto",
            measure=False,
            calibration_text=str(short_guide_text),
            pattern=f"{{name}}-{number}-{{quant}}",
        )
        job = await app.quantizing.start(request)
        await harass(app, job.id, random_, kills, seen)
        await done_at_last(app, job.id)
        assert leftovers(app.paths) == []
        await assert_whole(app.paths.models / "local" / "desk-guide", number)
    assert min(kills.values()) > 0 or KILLS < 20
    print(f"{kills} in {number} jobs")
    await assert_no_orphans(app, seen)


async def harass(
    app: Application, job_id: str, random_: random.Random, kills: dict[str, int], seen: set[psutil.Process]
) -> None:
    """Kill at random moments until the job ended or there were enough kills."""
    while not (await app.jobs.get(job_id)).ended and sum(kills.values()) < KILLS:
        pid = await app.jobs.store.runner()
        if pid is not None:
            seen.update(await asyncio.to_thread(family, pid))
        if what := await killed_once(app, random_):
            kills[what] += 1
        assert bad_files(app.paths.models / "local" / "desk-guide") == []
        await app.jobs.wake()


async def done_at_last(app: Application, job_id: str) -> None:
    """A child's death fails a job, in words; a person tries again, and then it is done."""
    for _ in range(10):
        job = await settled(app, job_id)
        if job.state == "done":
            return
        assert job.error is not None
        assert job.error.code in {"quantizer_killed", "job_keeps_dying"}, job.error
        await app.jobs.retry(job_id)
    pytest.fail(f"the job is {job.state}: {job.error}")


async def assert_whole(folder: Path, number: int) -> None:
    """All quants of this job are there, pass the check, and are noted with their hash."""
    made = list(folder.glob(f"*-{number}-*.gguf"))
    assert len(made) == len(QUANTS)
    for path in made:
        types = {tensor.name: tensor.type.name.upper() for tensor in read_header(path).tensors}
        await run_child(CheckSpec([str(path)], types))
        assert sidecar.read(folder)[path.name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def assert_no_orphans(app: Application, seen: set[psutil.Process]) -> None:
    pid = await app.jobs.store.runner()
    wanted = {process.pid for process in (family(pid) if pid else [])}
    deadline = time.monotonic() + 10
    while orphans := [process for process in seen if process.is_running() and process.pid not in wanted]:
        assert time.monotonic() < deadline, orphans
        await asyncio.sleep(0.1)


@pytest.fixture
def short_guide_text(tmp_path: Path) -> Path:
    """Three chunks or so, for a short matrix."""
    text = (Paths.resolve({}).resources / "quantize" / "guide-calibration.txt").read_text("utf-8")
    path = tmp_path / "short.txt"
    path.write_text(text[:6500], "utf-8")
    return path
