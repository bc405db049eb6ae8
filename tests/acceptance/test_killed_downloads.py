"""Downloads killed at random moments, and every fault of the hub: the right file, or an error in words."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest

from slmdesk.application import Application
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job
from slmdesk.core.paths import Paths
from slmdesk.library import sidecar
from tests.hub import LoopbackHub, User
from tests.hub.files import safetensors_file

TOKEN = "hf_plantedSecretToken0123456789"
SIZE = 6_000_000
RATE = 4e6  # bytes a second of each answer
AT_ONCE = 4


def content(number: int) -> bytes:
    return safetensors_file(SIZE, number)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(users={TOKEN: User("ada", accepted=frozenset({"maker/gated"}))}) as hub:
        yield hub


@pytest.fixture
async def app(paths: Paths, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("SLMDESK_DOWNLOADS_PARALLEL", str(AT_ONCE))
    application = Application.build(dict(os.environ))
    yield application
    assert await application.jobs.end_runner()
    await application.close()


def wrong_files(app: Application, hub: LoopbackHub, seen: set[tuple[str, int]]) -> list[str]:
    """Files under a final name that are not what the hub has; those in `seen` were right already."""
    wrong = []
    for path in app.paths.models.rglob("*"):
        relative = path.relative_to(app.paths.models).as_posix()
        if not path.is_file() or "/." in relative or path.name == sidecar.NAME:
            continue
        publisher, name, file = relative.split("/", 2)
        with suppress(FileNotFoundError):
            mark = (relative, path.stat().st_mtime_ns)
            if mark in seen:
                continue
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != hub[f"{publisher}/{name}"].files[file].sha256:
                wrong.append(relative)
            seen.add(mark)
    return wrong


async def kill_again_and_again(app: Application, hub: LoopbackHub, rng: random.Random) -> int:
    """SIGKILL to the process that downloads until cancelled: after random amounts of bytes, or after its start."""
    kills = 0
    seen: set[tuple[str, int]] = set()
    try:
        while True:
            while (pid := await app.jobs.store.runner()) is None:
                await asyncio.sleep(0.02)
            if rng.random() < 0.8:
                enough = hub.total_served + rng.uniform(0, 1.4 * AT_ONCE * SIZE)
                while hub.total_served < enough and await app.jobs.store.runner() == pid:
                    await asyncio.sleep(0.01)
            # Not at the moment at which the server has just handed bytes over.
            await asyncio.sleep(rng.uniform(0, 0.15))
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                process.kill()
                kills += 1
                await asyncio.to_thread(process.wait, 10)
            assert not await asyncio.to_thread(wrong_files, app, hub, seen)
    except asyncio.CancelledError:
        return kills


async def kill_downloads(app: Application, hub: LoopbackHub, count: int, seed: int = 20) -> None:
    rng = random.Random(seed)
    ids = []
    for number in range(count):
        repo = f"maker/model-{number}"
        hub.add(repo, {f"m-{number}.safetensors": content(number)})
        hub.faults.slow(f"{repo}/*", RATE)
        plan = await app.downloads.plan(repo, [f"m-{number}.safetensors"])
        ids.append((await app.downloads.start(plan)).id)
    killer = asyncio.create_task(kill_again_and_again(app, hub, rng))
    moved_at, last = time.monotonic(), -1.0
    while True:
        jobs = [job for job in await app.jobs.list() if job.id in ids]
        for job in jobs:
            assert job.state != "cancelled"
            # Killed again and again before it got on, it is left to a person, who tries again.
            assert job.state != "failed" or (job.error and job.error.code == "job_keeps_dying"), job.error
        if all(job.state == "done" for job in jobs):
            break
        done = sum(job.done for job in jobs)
        if done != last:
            moved_at, last = time.monotonic(), done
        assert time.monotonic() - moved_at < 120, "nothing moves any more"
        with suppress(SlmDeskError):
            await app.jobs.wake()
        for job in jobs:
            if job.state in {"paused", "interrupted", "failed"}:
                await app.jobs.resume(job.id)
        await asyncio.sleep(0.2)
    killer.cancel()
    kills = await killer
    assert kills >= count // 8
    assert not wrong_files(app, hub, set())
    for number in range(count):
        path = app.paths.models / f"maker/model-{number}" / f"m-{number}.safetensors"
        assert path.read_bytes() == content(number)
        assert sidecar.read(path.parent)[path.name].state == "verified"
        assert not (path.parent / ".slmdesk-partial").exists()
    ratio = hub.total_served / (count * SIZE)
    print(f"{count} downloads, {kills} kills, {ratio:.4f} of their size was served")
    assert ratio <= 1.05


async def test_a_few_downloads_killed_by_sigkill(app: Application, hub: LoopbackHub) -> None:
    await kill_downloads(app, hub, 4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
async def test_two_hundred_downloads_killed_by_sigkill(app: Application, hub: LoopbackHub, part: int) -> None:
    await kill_downloads(app, hub, 50, seed=part)


FILE = "weights.safetensors"
REPO = "maker/model"
PATTERN = f"{REPO}/{FILE}"
BODY = safetensors_file(3_000_000, 5)

FAULTS: dict[str, Callable[[LoopbackHub], None]] = {
    "stall at once": lambda hub: hub.faults.stall(PATTERN, after=0),
    "stall in the middle": lambda hub: hub.faults.stall(PATTERN, after=1_000_000),
    "stall always": lambda hub: hub.faults.stall(PATTERN, after=1_000, times=None),
    "cut": lambda hub: hub.faults.cut(PATTERN, after=1_000_000),
    "cut always at once": lambda hub: hub.faults.cut(PATTERN, times=None),
    "slow": lambda hub: hub.faults.slow(PATTERN, 2e6),
    "429 always": lambda hub: hub.faults.status(PATTERN, 429, retry_after=1, times=None, where="resolve"),
    "429 for an hour": lambda hub: hub.faults.status(PATTERN, 429, retry_after=3600, where="resolve"),
    "500 always": lambda hub: hub.faults.status(PATTERN, 500, times=None, where="resolve"),
    "503 of the storage": lambda hub: hub.faults.status(PATTERN, 503, times=2),
    "403 of the storage": lambda hub: hub.faults.status(PATTERN, 403, times=None),
    "404 of the hub": lambda hub: hub.faults.status(PATTERN, 404, times=None, where="resolve"),
    "a size too small": lambda hub: hub.faults.lie_about_size(PATTERN, 1_000_000),
    "a size too large": lambda hub: hub.faults.lie_about_size(PATTERN, 9_000_000),
    "another hash": lambda hub: hub.faults.lie_about_hash(PATTERN),
    "other bytes": lambda hub: hub.faults.other_bytes(PATTERN),
    "other bytes always": lambda hub: hub.faults.other_bytes(PATTERN, times=None),
    "no ranges": lambda hub: (hub.faults.cut(PATTERN, after=2_000_000), hub.faults.ignore_range(PATTERN))[1],
    "a redirect to nowhere": lambda hub: hub.faults.redirect(
        PATTERN, "http://127.0.0.1:9/x", where="resolve"
    ),
    "a redirect to no web address": lambda hub: hub.faults.redirect(
        PATTERN, "file:///etc/passwd", where="resolve"
    ),
    "redirects in a circle": lambda hub: hub.faults.redirect_loop(PATTERN, where="resolve"),
    "links always expired": lambda hub: hub.faults.expired(PATTERN, times=None),
    "half an answer of the API": lambda hub: hub.faults.cut_json("/api/models/*"),
    "a stalled API": lambda hub: hub.faults.stall("/api/models/*", after=10),
    "500 of the API": lambda hub: hub.faults.status("/api/models/*", 500),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_ends_in_the_file_or_in_words(
    app: Application, hub: LoopbackHub, fault: str
) -> None:
    hub.add(REPO, {FILE: BODY})
    FAULTS[fault](hub)
    try:
        async with asyncio.timeout(30):
            plan = await app.downloads.plan(REPO, [FILE])
    except SlmDeskError as error:
        decoded(error)
        return
    job = await app.downloads.start(plan)
    ended = await watched(app, job.id)
    target = app.paths.models / REPO / FILE
    if ended.state == "done":
        assert target.read_bytes() == BODY
        return
    assert ended.state in {"failed", "paused"}
    decoded(ended.error)
    assert not target.exists()


def decoded(error: SlmDeskError | None) -> None:
    assert error is not None
    assert error.code not in {"unexpected", "unknown"}
    assert error.message
    assert error.hint


async def watched(app: Application, job_id: str) -> Job:
    """The job when it ended or paused; fails when it says nothing for 30 s."""
    async with aclosing(app.jobs.watch(job_id)) as seen:
        while True:
            async with asyncio.timeout(30):
                job = await anext(seen)
            if job.ended or job.state == "paused":
                return job


async def test_the_token_is_nowhere_but_at_the_hub(app: Application, hub: LoopbackHub) -> None:
    hub.add("maker/gated", {FILE: BODY}, gated="manual")
    hub.faults.slow(f"maker/gated/{FILE}", 2e6)
    app.hub.set_token(TOKEN)
    job = await app.downloads.start(await app.downloads.plan("maker/gated", [FILE]))
    seen_by: list[str] = []
    async with aclosing(app.jobs.watch(job.id)) as seen:
        async for now in seen:
            job = now
            pid = await app.jobs.store.runner()
            if pid is not None:
                with suppress(psutil.Error):
                    process = psutil.Process(pid)
                    seen_by += [*process.cmdline(), *map(str, process.environ().items())]
    assert job.state == "done", job.error
    assert seen_by
    assert not [text for text in seen_by if TOKEN in text]
    assert hub.holders_of(TOKEN) == {"hub"}
    assert await app.jobs.end_runner()
    for path in app.paths.data.parent.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB, where the system lets us make one."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_a_disk_that_fills_up_pauses_the_download(
    app: Application, hub: LoopbackHub, small_disk: Path
) -> None:
    """The space is there when it begins, and taken by somebody else while it runs."""
    body = safetensors_file(12_000_000, 6)
    hub.add(REPO, {FILE: body})
    hub.faults.slow(PATTERN, 4e6)
    job = await app.downloads.start(await app.downloads.plan(REPO, [FILE], root=small_disk))
    async with aclosing(app.jobs.watch(job.id)) as seen:
        async for now in seen:
            if now.done > 2_000_000:
                break
    hog = small_disk / "hog"
    with suppress(OSError), hog.open("wb") as file:
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    paused = await watched(app, job.id)
    assert paused.state == "paused"
    assert paused.error is not None
    assert paused.error.code == "disk_full"
    assert paused.resume_at is not None
    hog.unlink()
    await app.jobs.resume(job.id)
    done = await watched(app, job.id)
    assert done.state == "done", done.error
    assert (small_disk / REPO / FILE).read_bytes() == body
