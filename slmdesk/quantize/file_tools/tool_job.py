"""The job of a file tool: plan → reserve → make and check → final names → register.

What comes out is written into a hidden folder beside its place and moves there once it passed its check. A job whose
process died in between begins anew; one that was only about to give names goes on with that.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.jobs.job_kinds import JobKind, RunningJob
from slmdesk.inference.wire import Wire
from slmdesk.library import sidecar
from slmdesk.library.sidecar import Origin
from slmdesk.quantize.file_tools.tool_kinds import tool_for
from slmdesk.quantize.file_tools.tool_plan import Made
from slmdesk.quantize.file_tools.tool_requests import AnyToolRequest, ToolRequest, request_from_json
from slmdesk.quantize.file_tools.tool_work import ToolWork
from slmdesk.quantize.placing import PARTIAL_PREFIX, clear_partial, move_into_place, refuse_existing, sweep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.jobs.job_store import Job, JobStore
    from slmdesk.core.paths import Paths
    from slmdesk.core.space import Space
    from slmdesk.quantize.convert import Converter
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan

KIND = "file tool"


class ToolMemory(Wire, frozen=True):
    """What a job keeps to go on from: nothing, or what was made and checked. `forecast`: bytes."""

    made: Made | None = None
    forecast: int = 0


class FileToolKind(JobKind):
    """File tools. `converter` is None where no toolchain can be made."""

    name = KIND
    patience_s = 3600.0  # a pause waits for the end of the step; a cancel is heard at once

    def __init__(
        self, paths: Paths, store: JobStore, space: Space, converter: Converter | None = None
    ) -> None:
        self._paths = paths
        self._jobs = store
        self._space = space
        self._converter = converter

    async def run(self, job: RunningJob) -> dict[str, Any]:
        partial = self._partial(job)
        try:
            result = await self._work(job, partial)
        except SlmDeskError:
            await asyncio.to_thread(clear_partial, partial)  # a new try makes it anew
            await job.remember({})  # and believes no file that lies under a final name
            raise
        await asyncio.to_thread(clear_partial, partial)
        return result

    async def discard(self, job: Job, *, keep: bool) -> None:
        """Remove what is half done; finished files stay, whatever `keep` says."""
        del keep
        await asyncio.to_thread(clear_partial, self._partial(job))

    @staticmethod
    def _partial(job: Job | RunningJob) -> Path:
        return Path(job.parameters["folder"]) / f"{PARTIAL_PREFIX}{job.id}"

    async def _work(self, job: RunningJob, partial: Path) -> dict[str, Any]:
        await job.checkpoint()
        request = request_of(job.parameters)
        tool = tool_for(request, Path(job.parameters["home"]), self._paths)
        kept = ToolMemory.from_json(job.memory)
        if kept.made is None or not await asyncio.to_thread(_is_there, kept.made):
            await job.tell("working out sizes")
            plan = await asyncio.to_thread(tool.plan)
            await asyncio.to_thread(refuse_existing, [file.path for file in plan.files])
            await self._prepare(job, partial, plan)
            for warning in plan.warnings:
                job.log(warning)
            started = time.perf_counter()
            work = ToolWork(job, partial, self._paths, self._converter)
            made = await tool.make(work, plan)
            kept = ToolMemory(replace(made, seconds=time.perf_counter() - started), plan.bytes)
            await job.remember(kept.to_json())
        await job.checkpoint()
        assert kept.made is not None
        return await asyncio.to_thread(self._finish, job, request, kept.made, kept.forecast)

    async def _prepare(self, job: RunningJob, partial: Path, plan: ToolPlan) -> None:
        jobs = await self._jobs.list(("queued", "running", "paused", "interrupted"))
        open_jobs = {other.id for other in jobs} - {job.id}
        folder = partial.parent

        def make() -> None:
            sweep(folder, self._paths.data / "quantize", open_jobs)
            clear_partial(partial)
            try:
                partial.mkdir(parents=True)
            except OSError as error:
                raise writing_error(folder, error) from error

        await asyncio.to_thread(make)
        await self._space.reserve(job.id, folder, plan.bytes)

    @staticmethod
    def _finish(job: RunningJob, request: ToolRequest, made: Made, forecast: int) -> dict[str, Any]:
        targets = [file.target for file in made.files]
        move_into_place([file.partial for file in made.files], targets)
        sizes = [target.stat().st_size for target in targets]
        if model := job.parameters.get("model_folder"):
            _register(Path(model), request, made)
        return {
            "tool": request.tool,
            "path": str(targets[0]),
            "files": [
                {"path": str(file.target), "size_bytes": size, "sha256": file.sha256}
                for file, size in zip(made.files, sizes, strict=True)
            ],
            "size_bytes": sum(sizes),
            "forecast_bytes": forecast,
            "seconds": made.seconds,
            **made.facts,
        }


def request_of(parameters: Mapping[str, Any]) -> AnyToolRequest:
    """What a job was asked for. Raises `SlmDeskError("bad_request")`."""
    # Older rows keep it under another name.
    return request_from_json(parameters.get("request") or parameters.get("wish"))


def _register(folder: Path, request: ToolRequest, made: Made) -> None:
    """Note the files in the `slmdesk.json` of their model's folder: made here, of what, how."""
    entries = {}
    for file in made.files:
        status = file.target.stat()
        entries[file.target.relative_to(folder).as_posix()] = Origin(
            state="verified",
            size=status.st_size,
            sha256=file.sha256,
            licence=made.licence,
            source=request.tool,
            checked_at=time.time(),
            modified_ns=status.st_mtime_ns,
            extra={"made": {"tool": request.tool, "from": Path(request.source).name, **made.facts}},
        )
    sidecar.record(folder, entries)


def _is_there(made: Made) -> bool:
    """Whether each checked file is still there, under its old name or already under its new one."""
    return all(file.partial.exists() or file.target.exists() for file in made.files)
