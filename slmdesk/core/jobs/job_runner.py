"""Runs the jobs of one user: takes them from the database, hears wishes, marks the ones that died."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_kinds import JobCancelledError, JobKind, JobPausedError, RunningJob
from slmdesk.core.logs import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.core.jobs.job_store import Job, JobStore
    from slmdesk.core.space import Space

_POLL_S = 0.2
_DEATHS = 3  # processes that may die under a job that does not get on, before it is left to a person
_DEAF_S = 15.0  # a job that does not hear that it is cancelled for this long is ended from outside
_END_TRIES = 12
_END_AGAIN_S = 5.0
_log = logging.getLogger(__name__)


class JobRunner:
    """One process's work on the queue. `kinds` are made when the first job of theirs comes."""

    def __init__(
        self,
        store: JobStore,
        space: Space,
        kinds: Mapping[str, Callable[[], JobKind]],
        *,
        idle_s: float = 15.0,
    ) -> None:
        self._store = store
        self._space = space
        self._makers = kinds
        self._kinds: dict[str, JobKind] = {}
        self._idle_s = idle_s
        self._running: dict[str, tuple[RunningJob, asyncio.Task[None]]] = {}
        self._clearing: dict[str, asyncio.Task[None]] = {}
        self._wished_at: dict[str, float] = {}
        self._looked_at: dict[str, float] = {}
        self._ending = False

    async def run(self, expected: str = "") -> str:
        """Work until nothing is left for a while, or until asked to end; returns "idle" or "asked".

        A job of the kind `expected` is about to come.
        """
        await self._store.announce_runner()
        if expected in self._makers:
            kind = self._kind(expected)
            threading.Thread(target=kind.warm_up, name="slmdesk-warm-up", daemon=True).start()
        await self._take_up_the_dead()
        busy_at = time.monotonic()
        try:
            while True:
                jobs = await self._look()
                if self._ending or await self._store.runner_wish() == "end":
                    return "asked"
                if jobs or self._running or self._clearing or self._finishing():
                    busy_at = time.monotonic()
                elif time.monotonic() - busy_at > self._idle_s and await self._store.retire_runner():
                    return "idle"
                await self._wait()
        finally:
            await self._end()

    def end(self) -> None:
        """Stop soon; running jobs become interrupted and are taken up by the next runner."""
        self._ending = True

    async def _look(self) -> Sequence[Job]:
        """Act on everything that asks for it; the jobs that keep this process from ending."""
        try:
            jobs = await self._store.pending()
        except SlmDeskError as error:
            _log.warning("the jobs cannot be read: %s", error.message)
            return ()
        now = time.time()
        for job in jobs:
            if job.id in self._running:
                self._hear(job)
            elif job.state == "cancelled" and job.id not in self._clearing:
                self._clearing[job.id] = asyncio.create_task(self._clear(job))
            elif job.state == "paused" and job.resume_at is not None and job.resume_at <= now:
                await self._resume(job)
        for job in sorted((j for j in jobs if j.state == "queued"), key=lambda j: j.position):
            await self._start(job)
        return [job for job in jobs if job.state != "interrupted"]

    def _finishing(self) -> bool:
        return any(kind.finishing() for kind in self._kinds.values())

    async def _wait(self) -> None:
        """Until the next look: a while, or until a job ends."""
        tasks = {task for _, task in self._running.values()} | set(self._clearing.values())
        if tasks:
            await asyncio.wait(tasks, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(_POLL_S)
        for job_id in [job_id for job_id, (_, task) in self._running.items() if task.done()]:
            _, task = self._running.pop(job_id)
            self._wished_at.pop(job_id, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("the end of job %s was not kept", job_id, exc_info=error)
        for job_id in [job_id for job_id, task in self._clearing.items() if task.done()]:
            del self._clearing[job_id]

    def _kind(self, name: str) -> JobKind:
        if name not in self._kinds:
            maker = self._makers.get(name)
            if maker is None:
                raise SlmDeskError(
                    "job_kind_unknown",
                    f"This version of SLM Desk does not know jobs of the kind {name!r}.",
                    "Update SLM Desk, or cancel the job.",
                )
            self._kinds[name] = maker()
        return self._kinds[name]

    def _hear(self, job: Job) -> None:
        running, task = self._running[job.id]
        if job.wish != running.wish:
            running.heard(job.wish)
            self._wished_at[job.id] = time.monotonic()
        elif job.wish:
            patience = self._kind(job.kind).patience_s if job.wish == "pause" else _DEAF_S
            if time.monotonic() - self._wished_at[job.id] > patience:
                task.cancel()

    async def _start(self, job: Job) -> None:
        try:
            kind = self._kind(job.kind)
            same = sum(1 for running, _ in self._running.values() if running.kind == job.kind)
            if same >= max(1, kind.limit()):
                return
            started = await self._store.transition(job.id, "running")
        except SlmDeskError as error:
            _log.warning("job %s does not start: %s", job.id, error.message)
            if error.code not in {"job_state", "job_not_found"} and not _of_database(error):
                await self._settle(job.id, "failed", error=error)
            return
        except Exception as error:  # noqa: BLE001
            _log.exception("jobs of the kind %s cannot be made", job.kind)
            await self._settle(job.id, "failed", error=_defect(error))
            return
        running = RunningJob(self._store, started)
        task = asyncio.create_task(self._work(kind, running), name=f"job {job.id}")
        self._running[job.id] = (running, task)

    async def _work(self, kind: JobKind, job: RunningJob) -> None:
        _log.info("job %s (%s) starts", job.id, job.title or kind.name)
        try:
            result = await kind.run(job)
        except JobPausedError as paused:
            again = time.time() + paused.again_in if paused.again_in is not None else None
            await self._settle(job.id, "paused", job=job, error=paused.error, resume_at=again)
        except JobCancelledError as cancelled:
            wish = "cancel_keep" if cancelled.keep else "cancel"
            await self._settle(job.id, "cancelled", job=job, wish=wish)
        except SlmDeskError as error:
            job.log(f"{error.code}: {error.message}")
            await self._settle(job.id, "failed", job=job, error=error)
        except asyncio.CancelledError:
            if job.wish == "pause":
                await self._settle(job.id, "paused", job=job)
            elif job.wish:
                await self._settle(job.id, "cancelled", job=job, wish=job.wish)
            else:
                await self._settle(job.id, "interrupted", job=job)
        except Exception as error:  # noqa: BLE001 - one job must not end the others
            _log.exception("job %s failed in a way it should not", job.id)
            await self._settle(job.id, "failed", job=job, error=_defect(error))
        else:
            await self._settle(job.id, "done", job=job, result=result)

    async def _settle(self, job_id: str, state: Any, *, job: RunningJob | None = None, **fields: Any) -> None:
        """Write how a job ended; a database that cannot be written right now is tried again for a minute."""
        for attempt in range(_END_TRIES):
            try:
                if job is not None:
                    await job.flush()
                await self._store.transition(job_id, state, **fields)
                if state in {"done", "failed"}:
                    await self._space.release(job_id)
            except SlmDeskError as error:
                if not _of_database(error) or attempt == _END_TRIES - 1 or self._ending:
                    raise
                _log.warning("the end of job %s cannot be written yet: %s", job_id, error.message)
                await asyncio.sleep(_END_AGAIN_S)
            else:
                _log.info("job %s: %s", job_id, state)
                return

    async def _clear(self, job: Job) -> None:
        """Remove what a cancelled job left, and give its space back."""
        try:
            await self._kind(job.kind).discard(job, keep=job.wish == "cancel_keep")
        except SlmDeskError as error:
            _log.warning("job %s left something behind: %s", job.id, error.message)
        except Exception:  # noqa: BLE001
            _log.exception("job %s left something behind", job.id)
        try:
            await self._space.release(job.id)
            await self._store.cleared(job.id)
        except SlmDeskError as error:
            _log.warning("job %s is not cleared yet: %s", job.id, error.message)
            await asyncio.sleep(_END_AGAIN_S)

    async def _resume(self, job: Job) -> None:
        """Queue a job that paused itself, once what it waits for is there."""
        waited = max(2.0, min(60.0, (job.resume_at or 0.0) - job.updated_at))
        if time.monotonic() - self._looked_at.get(job.id, -waited) < waited:
            return
        self._looked_at[job.id] = time.monotonic()
        try:
            if await self._kind(job.kind).may_resume(job):
                self._looked_at.pop(job.id, None)
                await self._store.transition(job.id, "queued")
        except SlmDeskError as error:
            _log.info("job %s stays paused: %s", job.id, error.message)

    async def _take_up_the_dead(self) -> None:
        """Jobs whose process ended under them go on, unless they keep dying without getting on."""
        await self._store.interrupt_dead()
        for job in sorted(await self._store.list(("interrupted",)), key=lambda job: job.position):
            try:
                if not self._kind(job.kind).resumes:
                    continue
                if job.deaths > _DEATHS:
                    error = SlmDeskError(
                        "job_keeps_dying",
                        f"The process under this job ended {job.deaths} times without getting on.",
                        "Look into runner.log in the folder of the logs, then try again.",
                    )
                    await self._store.transition(job.id, "failed", error=error)
                else:
                    await self._store.transition(job.id, "queued")
            except SlmDeskError as error:
                _log.warning("job %s is not taken up: %s", job.id, error.message)

    async def _end(self) -> None:
        self._ending = True
        tasks = [task for _, task in self._running.values()] + list(self._clearing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._store.retire_runner(anyway=True)
        except SlmDeskError as error:
            _log.warning("the runner's row stays: %s", error.message)


def _of_database(error: SlmDeskError) -> bool:
    return error.code.startswith("database_") or error.code == "disk_full"


def _defect(error: Exception) -> SlmDeskError:
    return SlmDeskError(
        "unexpected",
        f"The job failed in a way it should not: {type(error).__name__}: {redact(str(error))}",
        "Please report this, with what the log holds.",
        details=redact("".join(traceback.format_exception(error))),
    )
