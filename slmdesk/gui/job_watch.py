"""The jobs as the window knows them now: one watcher for the strip and every page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import Job

AGAIN_S = 5.0
"""After an error of the database the watcher looks again this much later."""
WORDS = {
    "download": "download",
    "quantize": "quantization",
    "file tool": "single step",
    "import": "import",
    "verify": "check",
    "duplicates": "search for equal files",
    "move-folder": "move",
}


class JobWatch(QObject):
    """Follows all jobs of this user, whichever process works on them.

    Attributes:
        jobs: all of them, the newest first.
        known: whether the list was read.

    Signals:
        changed: `jobs` is another list.
        ended(Job): a job that ran while this window watched is done, has failed or was cancelled.
    """

    changed = Signal()
    ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.jobs: tuple[Job, ...] = ()
        self.known = False
        self._task: asyncio.Task[None] | None = None

    def start(self, queue: Jobs, run: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]) -> None:
        """Watch from now on; `run` starts the coroutine and cancels it when the window closes."""
        self._task = run(self._follow(queue), "watching the jobs")

    def get(self, job_id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == job_id), None)

    async def _follow(self, queue: Jobs) -> None:
        import asyncio
        from contextlib import aclosing

        while True:
            try:
                async with aclosing(queue.changes()) as changes:
                    async for jobs in changes:
                        self._take(jobs)
            except SlmDeskError:
                # The window says at its start what is wrong with the database; here it is only waited for.
                await asyncio.sleep(AGAIN_S)

    def _take(self, jobs: Sequence[Job]) -> None:
        before: dict[str, str] = {job.id: job.state for job in self.jobs}
        known, self.known = self.known, True
        self.jobs = tuple(jobs)
        self.changed.emit()
        for job in jobs:
            # A job not seen before may have begun and ended between two looks.
            if known and job.ended and before.get(job.id, "") != job.state:
                self.ended.emit(job)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the strip says of the jobs: words and an icon; "" when there is nothing to say."""

    words: str = ""
    icon: str = "download"
    tone: str = "secondary"


def summary(jobs: Sequence[Job]) -> Summary:
    """ "2 downloads 48 %, 3 min" for jobs under way; otherwise what waits for the person."""
    from slmdesk.core import amounts

    active = [job for job in jobs if job.state in {"queued", "running"}]
    if active:
        parts = [named(active)]
        total = sum(job.total or 0 for job in active)
        if total and len({job.kind for job in active}) == 1:
            parts[0] += f" {sum(job.done for job in active if job.total) / total:.0%}"
        left = _remaining(active)
        if left:
            parts.append(amounts.duration(left))
        return Summary(", ".join(parts), "download" if active[0].kind == "download" else "tune")
    waiting = [job for job in jobs if job.state == "paused" and job.error is not None]
    if waiting:
        return Summary(f"{named(waiting)} waiting", "attention", "caution")
    failed = [job for job in jobs if job.state == "failed"]
    if failed:
        return Summary(f"{named(failed)} failed", "error", "bad")
    paused = [job for job in jobs if job.state in {"paused", "interrupted"}]
    if paused:
        return Summary(f"{named(paused)} paused", "pause")
    return Summary()


def named(jobs: Sequence[Job]) -> str:
    """ "2 downloads"; "3 jobs" where they are of several kinds."""
    from slmdesk.core import amounts

    kinds = {job.kind for job in jobs}
    return amounts.counted(len(jobs), WORDS.get(kinds.pop(), "job") if len(kinds) == 1 else "job")


def _remaining(jobs: Sequence[Job]) -> float:
    """Seconds until all are done, as far as the running ones tell; 0 where nobody knows."""
    running = [job for job in jobs if job.state == "running"]
    if len(jobs) == 1 and running and running[0].remaining is not None:
        return running[0].remaining  # the same as its row says
    rate = sum(job.rate or 0.0 for job in running)
    if rate and len({job.kind for job in jobs}) == 1:
        return sum(max(0.0, (job.total or 0.0) - job.done) for job in jobs) / rate
    return max((job.remaining or 0.0 for job in running), default=0.0)
