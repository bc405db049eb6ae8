"""Jobs: their states, their progress, and the ones whose process died."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import JOB_STATES, MIGRATIONS, JobState, JobStore


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "db", MIGRATIONS)
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


async def test_a_job_from_beginning_to_end(jobs: JobStore) -> None:
    job = await jobs.create("download", {"repo": "Qwen/Qwen3-0.6B", "files": ["ä"]})
    assert job.state == "queued"
    assert await jobs.get(job.id) == job
    running = await jobs.transition(job.id, "running")
    assert running.owner_pid is not None
    await jobs.update(job.id, done=10, total=100, rate=5.0, remaining=18.0, log=("one", "two"))
    later = await jobs.update(job.id, done=50, log=("three",))
    assert (later.done, later.total, later.rate, later.log) == (50, 100, 5.0, ("one", "two", "three"))
    done = await jobs.transition(job.id, "done", result={"path": "x"})
    assert done.result == {"path": "x"}
    assert done.parameters == {"repo": "Qwen/Qwen3-0.6B", "files": ["ä"]}
    assert (done.owner_pid, done.rate, done.remaining) == (None, None, None)
    assert done.updated_at >= done.created_at > 0


async def test_only_the_last_lines_of_the_log_are_kept(jobs: JobStore) -> None:
    job = await jobs.create("import", {})
    for n in range(3):
        await jobs.update(job.id, log=tuple(f"{n}.{line}" for line in range(150)))
    log = (await jobs.get(job.id)).log
    assert len(log) == 200
    assert log[-1] == "2.149"


async def reach(jobs: JobStore, state: JobState) -> str:
    job = await jobs.create("work", {})
    if state != "queued":
        await jobs.transition(job.id, "running")
        if state != "running":
            await jobs.transition(job.id, state)
    return job.id


@pytest.mark.parametrize("state", ["done", "cancelled"])
@pytest.mark.parametrize("following", JOB_STATES)
async def test_ended_jobs_stay_as_they_are(jobs: JobStore, state: JobState, following: JobState) -> None:
    job_id = await reach(jobs, state)
    with pytest.raises(SlmDeskError) as caught:
        await jobs.transition(job_id, following)
    assert caught.value.code == "job_state"
    assert (await jobs.get(job_id)).state == state


@pytest.mark.parametrize("state", ["paused", "failed", "interrupted"])
async def test_others_can_be_taken_up_again(jobs: JobStore, state: JobState) -> None:
    job_id = await reach(jobs, state)
    assert (await jobs.transition(job_id, "queued")).state == "queued"


async def test_a_failure_keeps_its_error_until_the_next_try(jobs: JobStore) -> None:
    job_id = await reach(jobs, "running")
    failed = await jobs.transition(job_id, "failed", error=SlmDeskError("disk_full", "Full.", "Free some."))
    assert failed.error is not None
    assert failed.error.to_json() == {"code": "disk_full", "message": "Full.", "hint": "Free some."}
    assert (await jobs.transition(job_id, "running")).error is None


async def test_list_has_the_newest_first(jobs: JobStore) -> None:
    ids = [(await jobs.create("work", {"n": n})).id for n in range(3)]
    await jobs.transition(ids[1], "running")
    assert [job.id for job in await jobs.list()] == ids[::-1]
    assert [job.id for job in await jobs.list(("running",))] == [ids[1]]
    assert [job.id for job in await jobs.list(("queued", "done"))] == [ids[2], ids[0]]


async def test_unknown_job(jobs: JobStore) -> None:
    for call in (jobs.get("none"), jobs.update("none", done=1), jobs.transition("none", "running")):
        with pytest.raises(SlmDeskError) as caught:
            await call
        assert caught.value.code == "job_not_found"


async def test_jobs_of_dead_processes_are_interrupted(jobs: JobStore, database: Database) -> None:
    mine = await reach(jobs, "running")
    queued = await reach(jobs, "queued")
    code = (
        "import asyncio, sys; from pathlib import Path; from slmdesk.core.database import Database\n"
        "from slmdesk.core.jobs.job_store import MIGRATIONS, JobStore\n"
        "async def main():\n"
        "    database = Database(Path(sys.argv[1]), MIGRATIONS)\n"
        "    jobs = JobStore(database)\n"
        "    job = await jobs.create('theirs', {})\n"
        "    await jobs.transition(job.id, 'running')\n"
        "    await jobs.update(job.id, done=7)\n"
        "    print(job.id, flush=True)\n"
        "    sys.stdin.read()\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - it must outlive the loop's interest in it
        [sys.executable, "-c", code, str(database.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        assert await jobs.interrupt_dead() == []
        other.kill()
    (job,) = await jobs.interrupt_dead()
    assert (job.id, job.state, job.done) == (theirs, "interrupted", 7)
    assert (await jobs.get(mine)).state == "running"
    assert (await jobs.get(queued)).state == "queued"
    assert await jobs.interrupt_dead() == []
