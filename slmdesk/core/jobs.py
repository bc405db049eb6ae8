"""Long work as rows in the database: what was asked for, how far it is, and how it ended.

A job belongs to the process that runs it. Whoever finds a running job whose process is gone marks it as
interrupted, so that it can be offered again: no job is ever lost.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import process_alive, process_create_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)

# From a state to those that may follow it. A job that ended well, or by a person's wish, stays as it is.
_FOLLOWING: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "paused", "cancelled", "failed"}),
    "running": frozenset({"paused", "done", "failed", "cancelled", "interrupted"}),
    "paused": frozenset({"queued", "running", "cancelled"}),
    "interrupted": frozenset({"queued", "running", "cancelled"}),
    "failed": frozenset({"queued", "running", "cancelled"}),
    "done": frozenset(),
    "cancelled": frozenset(),
}
_LOG_LINES = 200

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "core.jobs.1",
        """
        CREATE TABLE jobs (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            parameters TEXT NOT NULL,
            state TEXT NOT NULL,
            done REAL NOT NULL DEFAULT 0,
            total REAL,
            rate REAL,
            remaining REAL,
            log TEXT NOT NULL DEFAULT '',
            error TEXT,
            result TEXT,
            owner_pid INTEGER,
            owner_created REAL,
            created_at REAL NOT NULL,
            updated_at REAL NOT NULL
        );
        CREATE INDEX jobs_by_state ON jobs (state, created_at);
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `done` and `total` are in the work's own unit, `rate` in that unit a second, `remaining` in
    seconds; None where nobody knows. Times are seconds since 1970."""

    id: str
    kind: str
    state: JobState
    parameters: dict[str, Any] = field(default_factory=dict)
    done: float = 0.0
    total: float | None = None
    rate: float | None = None
    remaining: float | None = None
    log: tuple[str, ...] = ()  # the last lines
    error: SlmDeskError | None = None
    result: dict[str, Any] | None = None
    owner_pid: int | None = None
    owner_created: float | None = None
    created_at: float = 0.0
    updated_at: float = 0.0


class JobStore:
    """Jobs in the database. Methods raise what `Database.run` raises."""

    def __init__(
        self, database: Database, *, alive: Callable[[int, float | None], bool] = process_alive
    ) -> None:
        self._database = database
        self._alive = alive

    async def create(self, kind: str, parameters: Mapping[str, Any]) -> Job:
        """A queued job. `parameters` is anything JSON holds, and enough to do the work again."""
        now = time.time()
        job = Job(uuid.uuid4().hex[:12], kind, "queued", dict(parameters), created_at=now, updated_at=now)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO jobs (id, kind, parameters, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
                (job.id, kind, json.dumps(job.parameters), job.state, now, now),
            )

        await self._database.run(work)
        return job

    async def get(self, job_id: str) -> Job:
        """Raises `SlmDeskError("job_not_found")`."""
        return await self._database.read(lambda connection: _get(connection, job_id))

    async def update(
        self,
        job_id: str,
        *,
        done: float | None = None,
        total: float | None = None,
        rate: float | None = None,
        remaining: float | None = None,
        log: tuple[str, ...] = (),
    ) -> Job:
        """Tell how far a job is. What is None stays; `log` lines are added. Raises `job_not_found`."""

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            lines = (*before.log, *log)[-_LOG_LINES:]
            connection.execute(
                "UPDATE jobs SET done = coalesce(?, done), total = coalesce(?, total), rate = coalesce(?, rate),"
                " remaining = coalesce(?, remaining), log = ?, updated_at = ? WHERE id = ?",
                (done, total, rate, remaining, "\n".join(lines), time.time(), job_id),
            )
            return _get(connection, job_id)

        return await self._database.run(work)

    async def transition(
        self,
        job_id: str,
        state: JobState,
        *,
        error: SlmDeskError | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> Job:
        """Move a job to another state; "running" makes this process its owner.

        Raises `job_not_found`, or `job_state` where `state` cannot follow (somebody else was faster).
        """

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            if state not in _FOLLOWING[before.state]:
                raise SlmDeskError(
                    "job_state",
                    f"This job is {before.state} and cannot become {state}.",
                    "Look at the list of jobs again.",
                )
            running = state == "running"
            connection.execute(
                "UPDATE jobs SET state = ?, error = ?, result = ?, owner_pid = ?, owner_created = ?,"
                " rate = NULL, remaining = NULL, updated_at = ? WHERE id = ?",
                (
                    state,
                    json.dumps(error.to_json()) if error else None,
                    json.dumps(dict(result)) if result is not None else None,
                    os.getpid() if running else None,
                    process_create_time() if running else None,
                    time.time(),
                    job_id,
                ),
            )
            return _get(connection, job_id)

        return await self._database.run(work)

    async def interrupt_dead(self) -> list[Job]:
        """Mark the running jobs whose process is gone as interrupted, and return them."""

        def work(connection: sqlite3.Connection) -> list[Job]:
            running = [_job(row) for row in connection.execute("SELECT * FROM jobs WHERE state = 'running'")]
            dead = [
                j for j in running if j.owner_pid is None or not self._alive(j.owner_pid, j.owner_created)
            ]
            connection.executemany(
                "UPDATE jobs SET state = 'interrupted', owner_pid = NULL, owner_created = NULL, rate = NULL,"
                " remaining = NULL, updated_at = ? WHERE id = ?",
                [(time.time(), job.id) for job in dead],
            )
            return [_get(connection, job.id) for job in dead]

        return await self._database.run(work)

    async def list(self, states: tuple[JobState, ...] = JOB_STATES) -> list[Job]:
        """The jobs in these states, the newest first."""

        def work(connection: sqlite3.Connection) -> list[Job]:
            marks = ", ".join("?" * len(states))
            query = f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY created_at DESC, rowid DESC"  # noqa: S608
            return [_job(row) for row in connection.execute(query, states)]

        return await self._database.read(work)


def _get(connection: sqlite3.Connection, job_id: str) -> Job:
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise SlmDeskError(
            "job_not_found", f"There is no job {job_id!r}.", "“slmdesk jobs” lists all of them."
        )
    return _job(row)


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        parameters=json.loads(row["parameters"]),
        done=row["done"],
        total=row["total"],
        rate=row["rate"],
        remaining=row["remaining"],
        log=tuple(row["log"].split("\n")) if row["log"] else (),
        error=SlmDeskError.from_json(json.loads(row["error"])) if row["error"] else None,
        result=json.loads(row["result"]) if row["result"] else None,
        owner_pid=row["owner_pid"],
        owner_created=row["owner_created"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
