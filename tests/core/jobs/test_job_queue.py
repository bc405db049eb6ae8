"""The queue with a real process that does the work, and what becomes of a job when that process is killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.jobs.job_store import MIGRATIONS, Job
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.space import MIGRATIONS as SPACE_MIGRATIONS
from slmdesk.core.space import Space

CHILD = [sys.executable, str(Path(__file__).with_name("job_child.py"))]


@pytest.fixture
async def database(paths: Paths) -> AsyncIterator[Database]:
    database = Database(paths.database, (*MIGRATIONS, *SPACE_MIGRATIONS))
    yield database
    database.close()


@pytest.fixture
async def jobs(paths: Paths, database: Database) -> AsyncIterator[Jobs]:
    jobs = Jobs(database, paths, command=CHILD)
    yield jobs
    assert await jobs.end_runner()


async def until(jobs: Jobs, job_id: str, condition: Callable[[Job], bool]) -> Job:
    async with asyncio.timeout(60), aclosing(jobs.watch(job_id)) as seen:
        async for job in seen:
            if condition(job):
                return job
    raise AssertionError(f"the job ended otherwise: {await jobs.get(job_id)}")


async def ended(jobs: Jobs, job_id: str) -> Job:
    return await until(jobs, job_id, lambda job: job.ended)


def numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


async def kill_runner(jobs: Jobs) -> None:
    pid = await jobs.store.runner()
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    await asyncio.to_thread(psutil.wait_procs, [process], 5)


async def test_a_job_is_done_by_another_process(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("count", "Count", {"file": str(file), "to": 30})
    async with aclosing(jobs.watch(job.id)) as seen:
        snapshots = [job async for job in seen]
    assert snapshots[-1].state == "done"
    assert snapshots[-1].result == {"number": 30}
    assert snapshots[-1].title == "Count"
    assert (snapshots[-1].done, snapshots[-1].total) == (30, 30)
    assert any(job.state == "running" and job.owner_pid for job in snapshots)
    assert numbers(file) == list(range(1, 31))


async def test_a_killed_process_loses_nothing_and_does_nothing_twice(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("count", "Count", {"file": str(file), "to": 60})
    for at in (10, 30):
        await until(jobs, job.id, lambda job, at=at: job.done >= at)  # type: ignore[misc]
        await kill_runner(jobs)
    done = await ended(jobs, job.id)
    assert done.state == "done"
    written = numbers(file)
    # A kill between keeping a number and writing it may leave that one out; none comes twice.
    assert len(written) == len(set(written)) >= 58
    assert done.deaths == 0


async def test_a_new_front_end_takes_up_what_a_reboot_left(
    jobs: Jobs, database: Database, paths: Paths, tmp_path: Path
) -> None:
    file = tmp_path / "n"
    job = await jobs.store.create("count", {"file": str(file), "to": 3}, "Count")
    await jobs.store.transition(job.id, "running")
    await database.run(lambda connection: connection.execute("UPDATE jobs SET owner_pid = 0"))
    later = Jobs(database, paths, command=CHILD)
    assert await later.wake()
    assert (await ended(later, job.id)).state == "done"
    assert await later.end_runner()


async def test_one_that_should_not_go_on_by_itself_stays_interrupted(jobs: Jobs, tmp_path: Path) -> None:
    job = await jobs.submit("once", "Once", {"file": str(tmp_path / "n"), "to": 400})
    await until(jobs, job.id, lambda job: job.done >= 3)
    await kill_runner(jobs)
    assert (await until(jobs, job.id, lambda job: job.state == "interrupted")).done >= 3
    await jobs.resume(job.id)
    await until(jobs, job.id, lambda job: job.state == "running" and job.done > 3)
    await jobs.cancel(job.id)
    assert (await ended(jobs, job.id)).state == "cancelled"


@pytest.mark.slow
async def test_a_job_that_kills_its_process_again_and_again_is_left_alone(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("dying", "Dying", {"file": str(file)})
    failed = await ended(jobs, job.id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.code == "job_keeps_dying"
    assert 1 < len(file.read_text().splitlines()) <= 5


async def test_pause_and_resume(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("count", "Count", {"file": str(file), "to": 40})
    await until(jobs, job.id, lambda job: job.done >= 3)
    await jobs.pause(job.id)
    paused = await until(jobs, job.id, lambda job: job.state == "paused")
    assert paused.error is None
    count = len(numbers(file))
    await asyncio.sleep(0.3)
    assert len(numbers(file)) == count < 40
    await jobs.resume(job.id)
    assert (await ended(jobs, job.id)).state == "done"
    assert numbers(file) == list(range(1, 41))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("running", [False, True])
async def test_cancel_clears_away_or_keeps(jobs: Jobs, tmp_path: Path, running: bool, keep: bool) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("count", "Count", {"file": str(file), "to": 500})
    await until(jobs, job.id, lambda job: job.done >= 2)
    if not running:
        await jobs.pause(job.id)
        await until(jobs, job.id, lambda job: job.state == "paused")
    await jobs.cancel(job.id, keep=keep)
    await ended(jobs, job.id)
    async with asyncio.timeout(30):
        while (await jobs.get(job.id)).wish:
            await asyncio.sleep(0.05)
    assert (await jobs.get(job.id)).state == "cancelled"
    assert file.exists() is keep
    with pytest.raises(SlmDeskError, match="cancelled"):
        await jobs.resume(job.id)


async def test_a_job_that_waits_for_space_goes_on_by_itself(jobs: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "n"
    job = await jobs.submit("count", "Count", {"file": str(file), "to": 3, "trouble": "full"})
    paused = await until(jobs, job.id, lambda job: job.state == "paused")
    assert paused.error is not None
    assert paused.error.code == "disk_full"
    assert paused.resume_at is not None
    file.with_suffix(".room").touch()
    assert (await ended(jobs, job.id)).state == "done"


async def test_failures_and_defects_have_their_error(jobs: Jobs, tmp_path: Path) -> None:
    parameters = {"file": str(tmp_path / "n"), "to": 9}
    failing = await jobs.submit("count", "A", {**parameters, "trouble": "fail"})
    broken = await jobs.submit("count", "B", {**parameters, "trouble": "defect"})
    unknown = await jobs.submit("nothing", "C", {})
    errors = [(await ended(jobs, job.id)).error for job in (failing, broken, unknown)]
    assert [error.code for error in errors if error] == [
        "evaluation_failed",
        "unexpected",
        "job_kind_unknown",
    ]
    assert "about to fail" in (await jobs.get(failing.id)).log
    again = await jobs.retry(failing.id)
    assert again.state == "queued"
    assert (await ended(jobs, failing.id)).state == "failed"


async def test_the_queue_has_an_order_that_can_be_changed(jobs: Jobs, tmp_path: Path) -> None:
    first, second, third = [
        await jobs.submit("count", name, {"file": str(tmp_path / name), "to": 8}) for name in "abc"
    ]
    await jobs.reorder(third.id, before=second.id)
    ends = [(await ended(jobs, job.id)).updated_at for job in (first, second, third)]
    assert ends[0] < ends[2] < ends[1]
    assert await jobs.forget(first.id, second.id) == 2
    assert [job.id for job in await jobs.list()] == [third.id]


async def test_secrets_without_a_keyring_reach_the_worker_by_its_input(
    database: Database, paths: Paths, tmp_path: Path
) -> None:
    secrets = Secrets()
    secrets.hold("hub-token", "hf_planted_secret_0001")
    jobs = Jobs(database, paths, secrets, command=CHILD)
    job = await jobs.submit("count", "Count", {"file": str(tmp_path / "n"), "to": 30})
    await until(jobs, job.id, lambda job: job.state == "running")
    assert json.loads((paths.data / "handed.txt").read_text()) == {"hub-token": "hf_planted_secret_0001"}
    pid = await jobs.store.runner()
    assert pid is not None
    process = psutil.Process(pid)
    assert "hf_planted" not in json.dumps([process.cmdline(), process.environ()])
    assert await jobs.end_runner()
    assert (await jobs.get(job.id)).state == "interrupted"


async def test_space_is_promised_once(jobs: Jobs, database: Database, tmp_path: Path) -> None:
    space = Space(database, margin_bytes=0)
    free = await space.free(tmp_path) * 9 // 10  # other tests write to this disk and give back meanwhile
    first = await jobs.store.create("count", {}, "A")
    second = await jobs.store.create("count", {}, "B")
    await space.reserve(first.id, tmp_path / "not" / "there" / "yet", free * 2 // 3)
    with pytest.raises(SlmDeskError) as caught:
        await space.reserve(second.id, tmp_path, free * 2 // 3)
    assert caught.value.code == "disk_full"
    assert "promised" in caught.value.message
    await space.shrink(first.id, tmp_path / "not" / "there" / "yet", 1000)
    await space.reserve(second.id, tmp_path, free // 2)
    await space.reserve(second.id, tmp_path, free * 2 // 3)  # takes the place of the smaller one
    await jobs.store.transition(second.id, "cancelled")
    await space.reserve(first.id, tmp_path, free * 2 // 3)
