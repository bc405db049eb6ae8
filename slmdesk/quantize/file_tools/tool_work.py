"""What a running tool works with: its hidden folder, children with their progress, a person's wishes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.formats.gguf import read_header
from slmdesk.formats.purpose import not_for_chat
from slmdesk.quantize.heeding import unless_cancelled
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import CheckSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from slmdesk.core.jobs.job_kinds import RunningJob
    from slmdesk.core.paths import Paths
    from slmdesk.quantize.convert import Converter
    from slmdesk.quantize.protocol import Spec

_MEMORY_SHARE = 0.6  # of free memory that a model may fill that is only tried
T = TypeVar("T")


@dataclass
class ToolWork:
    """One run of one job. Progress goes from 0 to 1; a step counts for a `span` of it."""

    job: RunningJob
    folder: Path
    paths: Paths
    converter: Converter | None
    _telling: set[asyncio.Future[None]] = field(default_factory=set)

    async def child(self, spec: Spec, words: str, span: tuple[float, float] = (0.0, 1.0)) -> dict[str, Any]:
        """One operation in a process of its own. Raises what it raises, and `JobCancelledError`."""
        await self.job.checkpoint()
        await self.job.tell(words)

        def heard(event: dict[str, Any]) -> None:
            share = event["done"] / event["total"] if event["total"] else 0.0
            self.told(share, f"{words}: {event['detail']}" if event.get("detail") else words, span)

        return await self.heeding(run_child(spec, on_progress=heard))

    async def heeding(self, work: Awaitable[T]) -> T:
        """Wait for a step unless the job is cancelled."""
        return await unless_cancelled(self.job, work)

    def told(self, share: float, words: str, span: tuple[float, float] = (0.0, 1.0)) -> None:
        done = span[0] + min(max(share, 0.0), 1.0) * (span[1] - span[0])
        telling = asyncio.ensure_future(self.job.progress(done, 1.0, words))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def check_loads(
        self, files: list[Path], span: tuple[float, float], *, source: Path | None = None
    ) -> str:
        """See that llama.cpp takes the model: computed with where it writes text and fits into memory, else opened.

        Returns what a person should know: "" or why it could not be tried. Raises what is wrong with the files; not
        where `source`, of which they are made, does not run either.
        """
        spec = await asyncio.to_thread(_check_of, files)
        try:
            await self.child(spec, "trying it", span)
        except SlmDeskError as error:
            if source is None:
                raise
            try:
                await self.heeding(run_child(replace(spec, files=[str(source)])))
            except SlmDeskError:
                return f"{source.name} itself does not run here ({error.message.rstrip('.')})."
            raise
        return ""


def _check_of(files: list[Path]) -> CheckSpec:
    size = sum(file.stat().st_size for file in files)
    writes = not_for_chat(read_header(files[0])) is None
    computed = writes and size < memory()[1] * _MEMORY_SHARE
    return CheckSpec([str(file) for file in files], {}, load_only=computed, vocabulary_only=not computed)


def sha256_of(file: Path) -> str:
    """Blocking."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
