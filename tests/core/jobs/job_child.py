"""A process that runs jobs of a kind for tests: it counts, and writes each number into a file once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import JobKind, RunningJob
from slmdesk.core.jobs.job_runner import JobRunner
from slmdesk.core.jobs.job_store import MIGRATIONS, Job, JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.space import MIGRATIONS as SPACE_MIGRATIONS
from slmdesk.core.space import Space


class Count(JobKind):
    name = "count"

    async def run(self, job: RunningJob) -> dict[str, Any]:
        target = Path(job.parameters["file"])
        number = job.memory.get("number", 0)
        while number < job.parameters["to"]:
            await job.checkpoint()
            number += 1
            await job.remember({"number": number})
            _note(target, str(number))
            await job.progress(number, job.parameters["to"], f"at {number}")
            match job.parameters.get("trouble"):
                case "die":
                    os.kill(os.getpid(), 9)
                case "fail":
                    job.log("about to fail")
                    raise SlmDeskError("evaluation_failed", "It failed.", "Try again.")
                case "defect":
                    raise ZeroDivisionError("by zero")
                case "full" if not target.with_suffix(".room").exists():
                    raise job.pause_with(SlmDeskError("disk_full", "Full.", "Free some."), again_in=0.2)
                case "deaf":
                    await asyncio.sleep(60)
            await asyncio.sleep(job.parameters.get("step_s", 0.02))
        return {"number": number}

    async def discard(self, job: Job, *, keep: bool) -> None:
        if not keep:
            Path(job.parameters["file"]).unlink(missing_ok=True)

    async def may_resume(self, job: Job) -> bool:
        return Path(job.parameters["file"]).with_suffix(".room").exists()


class Once(Count):
    """Is not taken up by itself after its process died."""

    name = "once"
    resumes = False


class Dying(Count):
    """Its process dies before it gets on."""

    name = "dying"

    async def run(self, job: RunningJob) -> dict[str, Any]:
        _note(Path(job.parameters["file"]), "begun")
        os.kill(os.getpid(), 9)
        await asyncio.sleep(60)
        return {}


def _note(target: Path, line: str) -> None:
    with target.open("a") as file:
        file.write(f"{line}\n")


async def main() -> None:
    database = Database(Paths.resolve().database, (*MIGRATIONS, *SPACE_MIGRATIONS))
    kinds = {kind.name: kind for kind in (Count, Once, Dying)}
    try:
        await JobRunner(JobStore(database), Space(database), kinds, idle_s=0.3).run()
    finally:
        database.close()


if __name__ == "__main__":
    if "--secrets-on-stdin" in sys.argv:
        (Paths.resolve().data / "handed.txt").write_text(sys.stdin.readline())
    asyncio.run(main())
