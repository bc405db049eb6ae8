"""File tools with a queue whose work is done in the test's own process; the tools' children are real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from slmdesk.core.database import Database
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.jobs.job_runner import JobRunner
from slmdesk.core.jobs.job_store import Job, JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.core.space import Space
from slmdesk.library.library import Library
from slmdesk.quantize.convert import Converter
from slmdesk.quantize.file_tools.tool_job import KIND, FileToolKind
from slmdesk.quantize.file_tools.tool_requests import ToolRequest
from slmdesk.quantize.file_tools.tool_room import FileTools
from slmdesk.schema import MIGRATIONS

ENDED = ("done", "failed", "cancelled")


@dataclass
class ToolBench:
    paths: Paths
    database: Database
    library: Library
    store: JobStore
    jobs: Jobs
    tools: FileTools
    converter: Converter | None = None
    space: Space = field(init=False)

    def __post_init__(self) -> None:
        self.space = Space(self.database)

    async def done(self, request: ToolRequest) -> Job:
        """The job of a request, when it ended well."""
        job = await self.work(await self.tools.start(request))
        assert job.state == "done", job.error
        return job

    async def work(self, job: Job, until: Callable[[Job], bool] = lambda job: job.state in ENDED) -> Job:
        """Run the jobs until `until` holds for this one, then let the runner end as a closed program would."""
        kind = FileToolKind(self.paths, self.store, self.space, self.converter)
        runner = JobRunner(self.store, self.space, {KIND: lambda: kind}, idle_s=300)
        task = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(500):
                while not until(found := await self.store.get(job.id)):
                    await asyncio.sleep(0.01)
                while found.state == "cancelled" and (found := await self.store.get(job.id)).wish:
                    await asyncio.sleep(0.01)
        finally:
            runner.end()
            await task
        return await self.store.get(job.id)


def tool_bench(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> ToolBench:
    """To be closed by its `database`."""
    database = Database(paths.database, MIGRATIONS)
    library = Library(paths, Settings(paths.settings_file))
    jobs = Jobs(database, paths)

    async def at_work(*_: object, **__: object) -> bool:  # the runner of these tests lives here
        return True

    monkeypatch.setattr(jobs, "wake", at_work)
    return ToolBench(paths, database, library, JobStore(database), jobs, FileTools(paths, library, jobs))
