"""What a person can have done to the library that takes a while: each action is one method, whoever asks for it.

An action either goes to the queue, where it outlives its front end, or is done here and now with its progress told.
The job kinds do the same work from the same requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.library.importing import Importer
from slmdesk.library.requests import EqualRequest, MoveRequest, VerifyRequest
from slmdesk.library.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.library.background import OnProgress
    from slmdesk.library.duplicates import Equal
    from slmdesk.library.importing import Imported
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile
    from slmdesk.library.requests import ImportRequest
    from slmdesk.library.verify import FileCheck


class LibraryActions:
    """Verify, import, merge equal files, move a models folder. What goes to the queue raises what `Jobs.submit`
    raises."""

    def __init__(self, library: Library, jobs: Jobs) -> None:
        self._library = library
        self._jobs = jobs

    async def verify(self, files: Sequence[LibraryFile] = (), title: str = "all files") -> Job:
        """Queue a check by hashes of files in the library, of all without `files`; `title` names what is checked."""
        request = VerifyRequest(tuple(file.id for file in files))
        return await self._jobs.submit("verify", f"Verify {title}", request.to_json())

    async def verify_now(
        self,
        files: Sequence[LibraryFile],
        on_progress: OnProgress | None = None,
        on_file: Callable[[FileCheck], None] | None = None,
    ) -> list[FileCheck]:
        """`Verifier.verify`: also for a file that lies elsewhere."""
        return await Verifier(self._library).verify(files, on_progress, on_file)

    async def import_models(self, request: ImportRequest) -> Job:
        """Queue an import: for one that copies or moves bytes."""
        chosen = request.candidates
        title = chosen[0].id if len(chosen) == 1 else f"{len(chosen)} models"
        return await self._jobs.submit("import", f"Import {title}", request.to_json())

    async def import_now(
        self,
        request: ImportRequest,
        on_progress: OnProgress | None = None,
        on_model: Callable[[Imported], None] | None = None,
    ) -> list[Imported]:
        """`Importer.take` for the request."""
        return await Importer(self._library).take(
            request.candidates, request.mode, name=request.name, on_progress=on_progress, on_model=on_model
        )

    async def find_equal(self) -> Job:
        """Queue a look for files with the same content."""
        return await self._jobs.submit("duplicates", "Look for equal files", EqualRequest().to_json())

    async def merge_equal(self, found: Sequence[Equal]) -> Job:
        """Queue the merging of what `find_equal` found."""
        request = EqualRequest(tuple(found))
        return await self._jobs.submit("duplicates", "Merge equal files", request.to_json())

    async def move_folder(self, source: Path, target: Path) -> Job:
        """Queue the move of a models folder to another place."""
        request = MoveRequest(source, target)
        return await self._jobs.submit("move-folder", f"Move the models to {target.name}", request.to_json())
