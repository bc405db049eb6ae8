"""What a kind of job is, and what its work is given to tell how far it is and to hear what a person wishes."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.jobs.job_store import Job, JobStore, Wish

_WRITE_S = 0.25  # how often progress is written at most
_RATE_S = 5.0  # over how long the rate is taken
_log = logging.getLogger(__name__)


class JobPausedError(Exception):
    """Ends the work of a job that is to go on later. `error` is the reason where it was nobody's wish;
    `again_in` seconds later it goes on by itself."""

    def __init__(self, error: SlmDeskError | None = None, again_in: float | None = None) -> None:
        super().__init__(str(error) if error else "paused")
        self.error = error
        self.again_in = again_in


class JobCancelledError(Exception):
    """Ends the work of a job nobody wants any more; `keep` says whether what came so far is to stay."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__("cancelled")
        self.keep = keep


class JobKind(ABC):
    """One kind of long work. Made once in the process that runs the jobs; blocking work goes to threads or
    child processes."""

    name: str
    resumes: bool = True  # taken up again by itself after the process under it died
    patience_s: float = 15.0  # a job that does not pause for this long is ended from outside

    def limit(self) -> int:
        """How many jobs of this kind run at once; asked whenever one could start."""
        return 1

    @abstractmethod
    async def run(self, job: RunningJob) -> dict[str, Any]:
        """Do the work, from where it was left, and return its result.

        Raises `SlmDeskError` when it failed; what `checkpoint` and `pause_with` raise is to pass through.
        Cancelled when the process is to end: the job is then interrupted.
        """

    def warm_up(self) -> None:  # noqa: B027 - most kinds need none
        """Import what the work will need. Called in a thread of its own when a job of this kind is expected."""

    def finishing(self) -> bool:
        """Whether something is still being done behind jobs that are done, for which the process stays."""
        return False

    async def discard(self, job: Job, *, keep: bool) -> None:
        """Clear away what a cancelled job left (partial files), or with `keep` leave it."""
        del job, keep

    async def may_resume(self, job: Job) -> bool:
        """Whether a job that paused itself can go on (`job.error` says what it waits for). Cheap; asked again
        after the same while when it is False."""
        del job
        return True


class RunningJob:
    """A job while it runs. Used on one event loop; `wish` may be read from any thread."""

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self.id = job.id
        self.kind = job.kind
        self.title = job.title
        self.parameters = job.parameters
        self.memory: dict[str, Any] = dict(job.memory)
        self.wish: Wish = ""
        self.wished = asyncio.Event()  # set with `wish`
        self._lines: list[str] = []
        self._written_at = 0.0
        self._rates: list[tuple[float, float]] = []

    async def remember(self, memory: Mapping[str, Any]) -> None:
        """Keep what is needed to go on after this process ended; replaces what was kept before."""
        self.memory = dict(memory)
        await self._write(memory=self.memory)

    async def progress(
        self,
        done: float,
        total: float | None = None,
        detail: str = "",
        *,
        rate: float | None = None,
        remaining: float | None = None,
    ) -> None:
        """Tell how far the work is; cheap enough to be called often. The rate, and with it the seconds that remain,
        are worked out where they are None."""
        now = time.monotonic()
        self._rates.append((now, done))
        if now - self._written_at < _WRITE_S and not (total is not None and done >= total):
            return
        if rate is None:
            rate = self._rate(now)
        if remaining is None and rate and total is not None:
            remaining = (total - done) / rate
        self._written_at = now
        await self._write(done=done, total=total, rate=rate, remaining=remaining, detail=detail)

    async def tell(self, detail: str) -> None:
        """Say in words what happens right now."""
        await self._write(detail=detail)

    async def rename(self, title: str) -> None:
        """Give the job a better title."""
        self.title = title
        await self._write(title=title)

    def log(self, line: str) -> None:
        """Keep a line with the job; written with the next progress or at the end."""
        self._lines.append(redact(line))

    async def checkpoint(self) -> None:
        """Raises what ends the work if a person wished it: call it wherever the work can be left."""
        if self.wish == "pause":
            raise JobPausedError
        if self.wish:
            raise JobCancelledError(keep=self.wish == "cancel_keep")

    def pause_with(self, error: SlmDeskError, *, again_in: float | None = None) -> JobPausedError:
        """To be raised: the job waits for what `error` tells, or tries again by itself in so many seconds."""
        return JobPausedError(error, again_in)

    async def flush(self) -> None:
        """Write the log lines that are waiting."""
        if self._lines:
            await self._write()

    def heard(self, wish: Wish) -> None:
        """Take a wish from the job's row."""
        self.wish = wish
        if wish:
            self.wished.set()
        else:
            self.wished.clear()

    def _rate(self, now: float) -> float | None:
        while len(self._rates) > 2 and self._rates[1][0] < now - _RATE_S:
            del self._rates[0]
        if len(self._rates) > 400:
            del self._rates[1:-200]
        since, before = self._rates[0]
        done = self._rates[-1][1]
        return max(0.0, (done - before) / (now - since)) if now - since > 0.2 else None

    async def _write(self, **fields: Any) -> None:
        lines, self._lines = tuple(self._lines), []
        try:
            await self._store.update(self.id, log=lines, **fields)
        except SlmDeskError as error:
            # A full or busy disk under the database must not end the work; the next write tells it all.
            self._lines = [*lines, *self._lines]
            _log.warning("the progress of job %s was not kept: %s", self.id, error.message)
