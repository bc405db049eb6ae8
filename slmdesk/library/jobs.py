"""The library's long work as jobs: verify, import, find and merge duplicates, move a models folder."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from slmdesk.core.error_codes import NO_ROOM
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import JobKind, JobPausedError, RunningJob
from slmdesk.core.made_with import MADE_WITH
from slmdesk.library import moving
from slmdesk.library.background import Progress, in_background
from slmdesk.library.duplicates import Duplicates, duplicate_now
from slmdesk.library.importing import Imported, Importer
from slmdesk.library.requests import EqualRequest, ImportRequest, MoveRequest, VerifyRequest
from slmdesk.library.verify import Verifier

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.jobs.job_store import Job, JobStore
    from slmdesk.core.settings import Settings
    from slmdesk.core.space import Space
    from slmdesk.library.background import OnProgress
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile

# What a person mends outside of the program; the job then goes on where it was.
_WAITED_FOR: frozenset[ErrorCode] = NO_ROOM | {"file_unwritable", "file_unreadable", "folder_busy"}


def _telling(job: RunningJob, before: int = 0, total: int | None = None) -> OnProgress:
    """Progress of a thread as the job's own, and the job's wishes to the thread."""

    async def tell(progress: Progress) -> None:
        await job.checkpoint()
        whole = progress.total if total is None else total
        await job.progress(before + progress.done, whole, progress.detail)

    return tell


async def _wanted(library: Library, request: VerifyRequest) -> list[LibraryFile]:
    wanted = set(request.ids)
    models = await library.models(every_format=True)
    return [file for model in models for file in model.files if not wanted or file.id in wanted]


class VerifyJobs(JobKind):
    """Parameters: `VerifyRequest`. Result: `files`, `states`."""

    name = "verify"

    def __init__(self, library: Library) -> None:
        self._library = library

    async def run(self, job: RunningJob) -> dict[str, Any]:
        files = await _wanted(self._library, VerifyRequest.from_json(job.parameters))
        checks: list[dict[str, Any]] = list(job.memory.get("checks", []))
        known = {check["id"] for check in checks}
        total = sum(file.size_bytes for file in files)
        before = 0
        for file in files:
            if file.id not in known:
                await job.checkpoint()
                found = await Verifier(self._library).verify([file], _telling(job, before, total))
                checks += [check.to_json() for check in found]
                await job.remember({"checks": checks})
            before += file.size_bytes
        return {"files": checks, "states": dict(Counter(check["state"] for check in checks))}


class ImportJobs(JobKind):
    """Parameters: `ImportRequest`. Result: `imported`, `failed`."""

    name = "import"

    def __init__(self, library: Library, space: Space) -> None:
        self._library = library
        self._space = space

    async def run(self, job: RunningJob) -> dict[str, Any]:
        importer = Importer(self._library)
        request = ImportRequest.from_json(job.parameters)
        needed = importer.bytes_needed(request.candidates, request.mode)
        imported: list[Imported] = []
        try:
            if needed:
                await self._space.reserve(job.id, self._library.folders[0], needed)
            imported = await importer.take(
                request.candidates, request.mode, name=request.name, on_progress=_telling(job)
            )
        except SlmDeskError as error:
            raise _waiting(job, error) from error
        failed = [one.problem for one in imported if one.problem is not None]
        if failed and len(failed) == len(imported):
            raise _waiting(job, failed[0])
        return {"imported": [one.to_json() for one in imported], "failed": len(failed)}


class DuplicateJobs(JobKind):
    """Parameters: `EqualRequest`. Result: that of finding (`duplicates`, `frees_bytes`), or of merging (`merged`,
    `freed_bytes`); `EqualResult` reads both."""

    name = "duplicates"

    def __init__(self, library: Library) -> None:
        self._duplicates = Duplicates(library)

    async def run(self, job: RunningJob) -> dict[str, Any]:
        merge = EqualRequest.from_json(job.parameters).merge
        if merge is None:
            found = await self._duplicates.find(_telling(job))
            return {
                "duplicates": [duplicate.to_json() for duplicate in found],
                "frees_bytes": sum(duplicate.frees for duplicate in found),
            }
        merged: list[dict[str, Any]] = list(job.memory.get("merged", []))
        known = {one["sha256"] for one in merged}
        for equal in merge:
            if equal.sha256 not in known:
                await job.checkpoint()
                done = await self._duplicates.merge(duplicate_now(equal), _telling(job))
                merged += [one.to_json() for one in done]
                await job.remember({"merged": merged})
        return {"merged": merged, "freed_bytes": sum(one["freed_bytes"] for one in merged)}


class MoveFolderJobs(JobKind):
    """Parameters: `MoveRequest`. Result: `files` brought, `left`: what could not be removed from the old place.

    Phases, remembered: bring (cancelling takes the new place away again), switch the setting, remove the old.
    """

    name = "move-folder"

    def __init__(self, library: Library, settings: Settings, space: Space, store: JobStore) -> None:
        self._library = library
        self._settings = settings
        self._space = space
        self._store = store

    async def run(self, job: RunningJob) -> dict[str, Any]:
        move = MoveRequest.from_json(job.parameters)
        source, target = move.source, move.target
        phase = job.memory.get("phase", "")
        try:
            if not phase:
                await self._begin(job, source, target)
            if phase in {"", "bring"}:
                await job.tell("copying")
                await in_background(lambda meter: moving.bring(source, target, meter), _telling(job))
                await self._refuse_busy(job, source)
                await job.remember({"phase": "remove"})
            self._switch(source, target)
            await job.tell("removing the old place")
            left = await in_background(lambda meter: moving.remove_old(source, target, meter))
        except SlmDeskError as error:
            raise _waiting(job, error) from error
        return {"from": str(source), "to": str(target), "left": [str(path) for path in left]}

    async def discard(self, job: Job, *, keep: bool) -> None:
        move = MoveRequest.from_json(job.parameters)
        if job.memory.get("phase") == "bring" and not keep:
            await in_background(lambda _: moving.take_back(move.source, move.target))

    async def _begin(self, job: RunningJob, source: Path, target: Path) -> None:
        if self._settings.source("library.folders") == "environment":
            raise SlmDeskError(
                "move_invalid",
                "The models folders are given by SLMDESK_LIBRARY_FOLDERS.",
                "Unset that variable, or move the folder by hand and change it.",
            )
        moving.check(source, target, self._library.folders)
        await self._refuse_busy(job, source)
        needed = await in_background(lambda _: moving.bytes_to_write(source, target))
        if needed:
            await self._space.reserve(job.id, target, needed)
        await in_background(lambda _: moving.refuse_conflicts(source, target))
        await job.remember({"phase": "bring"})

    async def _refuse_busy(self, job: RunningJob, source: Path) -> None:
        """Other jobs that write to the folder must end first."""
        for other in await self._store.list(("queued", "running", "paused", "interrupted")):
            work = {key: value for key, value in other.parameters.items() if key != MADE_WITH}
            if other.id != job.id and _mentions(work, str(source)):
                raise SlmDeskError(
                    "folder_busy",
                    f"The job “{other.title or other.kind}” works with {source}.",
                    "Let it end, or cancel it; then resume this job.",
                )

    def _switch(self, source: Path, target: Path) -> None:
        folders = self._library.folders
        if source in folders:
            new = [target if folder == source else folder for folder in folders]
            self._settings.set("library.folders", os.pathsep.join(map(str, new)))
            self._library.forget_listing()


def _mentions(value: object, folder: str) -> bool:
    if isinstance(value, str):
        return value == folder or value.startswith((folder + "/", folder + os.sep))
    if isinstance(value, dict):
        return any(_mentions(inner, folder) for inner in value.values())
    return isinstance(value, list) and any(_mentions(inner, folder) for inner in value)


def _waiting(job: RunningJob, error: SlmDeskError) -> JobPausedError | SlmDeskError:
    """A job that a person can help on its way is paused, not failed."""
    return job.pause_with(error) if error.code in _WAITED_FOR else error
