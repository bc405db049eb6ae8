"""What interrupted work left in the models folders: partial files that belong to no job any more."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.files import writing_error
from slmdesk.inference.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.library.library import Library

_ENDINGS = (".incomplete", ".part", ".slmdesk-part", ".slmdesk-join", ".crdownload", ".aria2")
_YOUNG_S = 600.0  # something may be writing it that is no job of ours
_ENDED = frozenset({"done", "cancelled"})


class Orphan(Wire, frozen=True):
    """A partial file nobody works on; `modified_at` in seconds since 1970."""

    path: Path
    size_bytes: int
    modified_at: float


class Orphans:
    """Finds and removes them. `jobs` tells the jobs as they are now (`application.jobs.list`)."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def find(self, jobs: Iterable[Job]) -> list[Orphan]:
        """Partial files in the models folders, the largest first.

        Left out is what a job that may go on tells of in its parameters or memory, whatever lies in a folder
        it tells of, and what was written in the last ten minutes.
        """
        claimed = _claims(jobs)
        found = await asyncio.to_thread(_search, self._library.folders, claimed, time.time() - _YOUNG_S)
        return sorted(found, key=lambda orphan: orphan.size_bytes, reverse=True)

    async def remove(self, orphans: Sequence[Orphan]) -> tuple[int, list[SlmDeskError]]:
        """Delete these for good, but for those that changed since; bytes freed, and what refused."""
        return await asyncio.to_thread(_delete, orphans)


def _claims(jobs: Iterable[Job]) -> set[str]:
    """Every text in open jobs that may be a path, or part of one."""
    texts: set[str] = set()

    def collect(value: object) -> None:
        if isinstance(value, str):
            if len(value) > 3:
                texts.add(os.path.normpath(value))
        elif isinstance(value, dict):
            for key, inner in value.items():
                collect(key)
                collect(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                collect(inner)

    for job in jobs:
        if job.state not in _ENDED:
            collect(job.parameters)
            collect(job.memory)
    return texts


def _search(folders: Sequence[Path], claimed: set[str], older_than: float) -> list[Orphan]:
    found: dict[Path, Orphan] = {}
    for root in folders:
        for here, below, files in os.walk(root):
            # Work in progress lies in hidden folders too, but not what was removed.
            below[:] = [name for name in below if name != ".slmdesk-trash"]
            for name in files:
                if not name.lower().endswith(_ENDINGS):
                    continue
                path = Path(here, name)
                with suppress(OSError):
                    status = path.stat()
                    if status.st_mtime < older_than and not _claimed(path, root, claimed):
                        found[path] = Orphan(path, status.st_size, status.st_mtime)
    return list(found.values())


def _claimed(path: Path, root: Path, claimed: set[str]) -> bool:
    """Whether a job tells of the file, of a folder it lies in, or of the model it is part of."""
    relative = path.relative_to(root)
    names = [
        str(path),
        *(str(parent) for parent in path.parents if parent != root and root in parent.parents),
    ]
    names += [str(relative), *(str(parent) for parent in relative.parents if parent.parts)]
    if len(relative.parts) > 2:
        names.append("/".join(relative.parts[:2]))
    return any(name in claimed for name in names)


def _delete(orphans: Sequence[Orphan]) -> tuple[int, list[SlmDeskError]]:
    freed = 0
    problems: list[SlmDeskError] = []
    for orphan in orphans:
        try:
            if orphan.path.stat().st_mtime == orphan.modified_at:
                orphan.path.unlink()
                freed += orphan.size_bytes
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(writing_error(orphan.path, error))
    return freed, problems
