"""Jobs as front ends see them: hand one over, watch it, pause, resume, cancel, reorder."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import JOB_STATES, Also, Job, JobState, JobStore
from slmdesk.core.made_with import MADE_WITH
from slmdesk.core.paths import HOME_VARIABLE, Paths
from slmdesk.core.processes import process_alive, self_command, start_detached

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from slmdesk.core.database import Database
    from slmdesk.core.secrets import Secrets

_POLL_S = 0.25
_IDLE_POLL_S = 2.0  # while nothing is active: another process may hand a job over
_RUNNER_LOOK_S = 2.0
_LOG_LIMIT = 512 * 1024
_log = logging.getLogger(__name__)


class Jobs:
    """The queue of this user. Work is done by one process of its own (`slmdesk work`), which is started when
    there is something to do and goes on without a front end. Methods raise what `Database.run` raises.
    """

    def __init__(
        self,
        database: Database,
        paths: Paths,
        secrets: Secrets | None = None,
        *,
        command: Sequence[str] | None = None,
        made_with: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """`made_with` tells what a job is made with today; each job keeps it."""
        self.store = JobStore(database)
        self._paths = paths
        self._secrets = secrets
        self._made_with = made_with
        self._command = list(command) if command is not None else self_command("work")
        self._started: int | None = None  # process id
        self._handed: dict[str, str] = {}
        self._stir: set[asyncio.Event] = set()
        self._looked_at = 0.0
        self._active = False

    async def submit(
        self, kind: str, title: str, parameters: Mapping[str, Any], *, also: Also | None = None
    ) -> Job:
        """Put a job at the end of the queue and see to it that it is worked on. `also` is that of `JobStore.create`."""
        today = await self.today()
        kept = {**parameters, MADE_WITH: today} if today else parameters
        job = await self.store.create(kind, kept, title, also)
        self._stirred()
        await self._hand_over()
        await self.wake(expecting=kind)
        return job

    async def today(self) -> Mapping[str, Any]:
        """What a job would be made with now."""
        return await asyncio.to_thread(self._made_with) if self._made_with is not None else {}

    async def get(self, job_id: str) -> Job:
        """Raises `SlmDeskError("job_not_found")`."""
        return await self.store.get(job_id)

    async def list(self, states: tuple[JobState, ...] = JOB_STATES) -> list[Job]:
        """The jobs in these states, the newest first."""
        return await self.store.list(states)

    async def find(self, beginning: str) -> Job:
        """The job whose id begins so. Raises `job_not_found` or `job_ambiguous`."""
        found = [job for job in await self.store.list() if beginning and job.id.startswith(beginning)]
        if len(found) > 1:
            raise SlmDeskError(
                "job_ambiguous",
                f"{beginning!r} may mean several jobs.",
                "Give more of the id; “slmdesk jobs” lists all of them.",
            )
        return found[0] if found else await self.store.get(beginning)

    async def pause(self, job_id: str) -> Job:
        """Raises `job_not_found`, or `job_state` for a job that ended."""
        job = await self._current(job_id)
        if job.state == "running":
            return await self._changed(await self.store.ask(job_id, "pause"))
        if job.state == "paused" and job.resume_at is None:
            return job
        if job.state == "paused":  # it would go on by itself
            await self.store.transition(job_id, "queued")
        return await self._changed(await self.store.transition(job_id, "paused"))

    async def resume(self, job_id: str, *, here: bool = False) -> Job:
        """Go on with a paused, interrupted or failed job. It keeps what it was made with, unless `here` gives it
        today's hub, proxy and settings. Raises `job_not_found` or `job_state`."""
        job = await self._current(job_id)
        if here:
            job = await self.store.remake(job_id, await self.today())
        if job.state == "running" and job.wish == "pause":
            job = await self.store.ask(job_id, "")
        elif job.state not in {"queued", "running"}:
            try:
                job = await self.store.transition(job_id, "queued")
            except SlmDeskError as error:
                job = await self.store.get(job_id)
                if error.code != "job_state" or job.state not in {"queued", "running", "done"}:
                    raise  # otherwise it went on by itself this very moment
        self._stirred()
        await self._hand_over()
        await self.wake()
        return job

    async def retry(self, job_id: str) -> Job:
        """`resume`, as it is called for a failed job."""
        return await self.resume(job_id)

    async def cancel(self, job_id: str, *, keep: bool = False) -> Job:
        """End a job for good. What came so far is removed, or stays with `keep`.

        Raises `job_not_found`, or `job_state` for one that is done.
        """
        job = await self._current(job_id)
        if job.state == "cancelled":
            return job
        wish = "cancel_keep" if keep else "cancel"
        if job.state == "running":
            job = await self.store.ask(job_id, "cancel_keep" if keep else "cancel")
        else:
            job = await self.store.transition(job_id, "cancelled", wish="cancel_keep" if keep else "cancel")
        _log.info("job %s: %s", job_id, wish)
        self._stirred()
        await self.wake()
        return job

    async def reorder(self, job_id: str, before: str | None = None) -> Job:
        """Move a job in front of another one in the queue, or to its end. Raises `job_not_found`."""
        return await self._changed(await self.store.place(job_id, before))

    async def forget(self, *job_ids: str) -> int:
        """Take ended jobs off the list; returns how many."""
        count = await self.store.forget(job_ids)
        self._stirred()
        return count

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """The job now and after every change, until it ended (done, failed or cancelled); the last one included.

        A paused job is watched on. Sees to it that somebody works on it. Raises `job_not_found`.
        """
        last: Job | None = None
        async for _ in self._beats():
            job = await self.store.get(job_id)
            if job != last:
                last = job
                yield job
            if job.ended:
                return
            await self._heal([job])

    async def changes(self) -> AsyncGenerator[Sequence[Job], None]:
        """All jobs, the newest first: now, and after every change by whichever process, until closed."""
        async for _ in self._beats(self._any_active):
            jobs = await self.store.list()
            self._active = any(job.active for job in jobs)
            yield jobs
            await self._heal(jobs)

    async def wake(self, *, expecting: str = "") -> bool:
        """Start the process that works on the jobs, if there is something to do and it does not run.

        Front ends call it once at their start: what a crash or a reboot interrupted goes on then. With a kind of
        job `expecting` to be submitted soon, it is started ahead and gets ready for that. Returns whether there is
        something to do. Raises `child_start_failed`.
        """
        jobs = await self.store.pending()
        if not jobs and not expecting:
            return False
        if await self.store.runner() is None and not (
            self._started is not None and await asyncio.to_thread(process_alive, self._started)
        ):
            await asyncio.to_thread(self._launch, expecting)
        return bool(jobs)

    async def end_runner(self, timeout_s: float = 20.0) -> bool:
        """Let the process that runs the jobs end (before an update, say); running jobs become interrupted.

        Whether none runs any more after at most `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            pid = await self.store.runner()
            started = self._started is not None and await asyncio.to_thread(process_alive, self._started)
            if pid is None and not started:
                return True
            if time.monotonic() > deadline:
                return False
            if pid is not None:
                await self.store.ask_runner_to_end()
            await asyncio.sleep(0.05)

    def _any_active(self) -> bool:
        return self._active

    async def _beats(self, active: Callable[[], bool] | None = None) -> AsyncGenerator[None, None]:
        """Once now, and again whenever a job changed."""
        stir = asyncio.Event()
        self._stir.add(stir)
        seen: tuple[int, float] | None = None
        try:
            while True:
                now = await self.store.changed()
                if now != seen:
                    seen = now
                    yield
                elif active is None or active():
                    await self._heal(await self.store.list(("queued", "running")))
                stir.clear()
                with suppress(TimeoutError):
                    pause = _POLL_S if active is None or active() else _IDLE_POLL_S
                    await asyncio.wait_for(stir.wait(), pause)
        finally:
            self._stir.discard(stir)

    async def _heal(self, jobs: Sequence[Job]) -> None:
        """Start the runner anew when it died under active jobs."""
        if not any(job.active for job in jobs) or time.monotonic() - self._looked_at < _RUNNER_LOOK_S:
            return
        self._looked_at = time.monotonic()
        try:
            await self.wake()
        except SlmDeskError as error:
            _log.warning("the jobs are not worked on: %s", error.message)

    async def _current(self, job_id: str) -> Job:
        """The job, no longer said to be running when its process is gone."""
        job = await self.store.get(job_id)
        if job.state == "running":
            await self.store.interrupt_dead()
            job = await self.store.get(job_id)
        return job

    async def _changed(self, job: Job) -> Job:
        self._stirred()
        return job

    def _stirred(self) -> None:
        for event in self._stir:
            event.set()

    async def _hand_over(self) -> None:
        """A runner that does not know the secrets of this session makes way for one that does."""
        if self._secrets is None:
            return
        session = await asyncio.to_thread(self._secrets.session_only)
        if session and session != self._handed and await self.store.runner() is not None:
            await self.end_runner()

    def _launch(self, expecting: str) -> None:
        session = self._secrets.session_only() if self._secrets is not None else {}
        command = [*self._command, *(["--secrets-on-stdin"] if session else [])]
        command += ["--expect", expecting] if expecting else []
        line = json.dumps(session) + "\n" if session else ""
        output = self._paths.logs / "runner-start.log"
        with suppress(OSError):
            if output.stat().st_size > _LOG_LIMIT:
                output.write_bytes(b"")
        _log.info("starting the process that runs the jobs")
        self._started = start_detached(command, output, env=self._environment(), input_text=line)
        self._handed = session

    def _environment(self) -> dict[str, str]:
        """The runner must find the same folders, also where they were not given by the environment."""
        home = self._paths.runtime.parent
        given = Paths.resolve({HOME_VARIABLE: str(home)})
        return {HOME_VARIABLE: str(home)} if given == self._paths else {}
