"""Long work as rows in the database: what was asked for, how far it is, and how it ended.

A job belongs to the process that runs it. Whoever finds a running job whose process is gone marks it as
interrupted, so that it can be offered again: no job is ever lost. `job_queue` is what front ends use,
`job_runner` what the process that does the work uses.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.made_with import MADE_WITH, told
from slmdesk.core.processes import process_alive, process_create_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled", "interrupted"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
Also = Callable[["sqlite3.Connection", str], None]
Wish = Literal["", "pause", "cancel", "cancel_keep"]

# From a state to those that may follow it. A job that ended well, or by a person's wish, stays as it is.
_FOLLOWING: dict[JobState, frozenset[JobState]] = {
    "queued": frozenset({"running", "paused", "cancelled", "failed"}),
    "running": frozenset({"paused", "done", "failed", "cancelled", "interrupted"}),
    "paused": frozenset({"queued", "running", "cancelled"}),
    "interrupted": frozenset({"queued", "running", "paused", "cancelled", "failed"}),
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
    Migration(
        "core.jobs.2",
        """
        ALTER TABLE jobs ADD COLUMN title TEXT NOT NULL DEFAULT '';
        ALTER TABLE jobs ADD COLUMN detail TEXT NOT NULL DEFAULT '';
        ALTER TABLE jobs ADD COLUMN wish TEXT NOT NULL DEFAULT '';
        ALTER TABLE jobs ADD COLUMN position REAL NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN memory TEXT NOT NULL DEFAULT '{}';
        ALTER TABLE jobs ADD COLUMN resume_at REAL;
        ALTER TABLE jobs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX jobs_by_change ON jobs (updated_at);
        CREATE TABLE job_runner (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            pid INTEGER NOT NULL,
            created REAL NOT NULL,
            wish TEXT NOT NULL DEFAULT ''
        );
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `done` and `total` are in the work's own unit, `rate` in that unit a second, `remaining` in
    seconds; None where nobody knows. Times are seconds since 1970.

    `title` names the work, `detail` says what happens right now. `wish` is what a person asked of a running
    job, or that a cancelled one is still to be cleared away. A paused job with an `error` waits for what
    the error tells; with `resume_at` it goes on by itself. `memory` is what the work keeps to go on later.
    """

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
    title: str = ""
    detail: str = ""
    wish: Wish = ""
    position: float = 0.0  # in the queue: the smallest first
    memory: dict[str, Any] = field(default_factory=dict)
    resume_at: float | None = None
    deaths: int = 0  # of processes under this job since it last got on

    @property
    def made_with(self) -> dict[str, Any]:
        """What the job was made with (see `core.made_with`); empty for one of an older version."""
        made = self.parameters.get(MADE_WITH)
        return made if isinstance(made, dict) else {}

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it, unless a failed one is tried again."""
        return self.state in {"done", "failed", "cancelled"}

    @property
    def active(self) -> bool:
        """Whether it runs, will run by itself, or is still to be cleared away."""
        if self.state in {"queued", "running"} or self.resume_at is not None:
            return True
        return self.state == "cancelled" and bool(self.wish)

    def to_json(self) -> dict[str, Any]:
        """The job as plain data for programs."""
        return {
            "id": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "wish": self.wish,
            "detail": self.detail,
            "done": self.done,
            "total": self.total,
            "rate": self.rate,
            "remaining": self.remaining,
            "error": self.error.to_json() if self.error else None,
            "result": self.result,
            "resume_at": self.resume_at,
            "made_with": told(self.kind, self.made_with),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


class JobStore:
    """Jobs in the database. Methods raise what `Database.run` raises."""

    def __init__(
        self, database: Database, *, alive: Callable[[int, float | None], bool] = process_alive
    ) -> None:
        self._database = database
        self._alive = alive

    async def create(
        self, kind: str, parameters: Mapping[str, Any], title: str = "", also: Also | None = None
    ) -> Job:
        """A queued job, last in the queue. `parameters` is anything JSON holds, and enough to do the work again.

        `also(connection, job's id)` is done in the same transaction; what it raises leaves no job behind.
        """
        now = time.time()
        job_id = uuid.uuid4().hex[:12]

        def work(connection: sqlite3.Connection) -> Job:
            connection.execute(
                "INSERT INTO jobs (id, kind, title, parameters, state, created_at, updated_at, position)"
                " SELECT ?, ?, ?, ?, 'queued', ?, ?, coalesce(max(position), 0) + 1 FROM jobs",
                (job_id, kind, title, json.dumps(dict(parameters)), now, now),
            )
            if also is not None:
                also(connection, job_id)
            return _get(connection, job_id)

        return await self._database.run(work)

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
        detail: str | None = None,
        memory: Mapping[str, Any] | None = None,
        title: str | None = None,
    ) -> Job:
        """Tell how far a job is. What is None stays; `log` lines are added. Raises `job_not_found`."""

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            lines = (*before.log, *log)[-_LOG_LINES:]
            got_on = memory is not None or (done is not None and done > before.done)
            connection.execute(
                "UPDATE jobs SET done = coalesce(?, done), total = coalesce(?, total), rate = coalesce(?, rate),"
                " remaining = coalesce(?, remaining), detail = coalesce(?, detail), memory = coalesce(?, memory),"
                " title = coalesce(?, title), log = ?, deaths = ?, updated_at = ? WHERE id = ?",
                (
                    done,
                    total,
                    rate,
                    remaining,
                    detail,
                    json.dumps(dict(memory)) if memory is not None else None,
                    title,
                    "\n".join(lines),
                    0 if got_on else before.deaths,
                    time.time(),
                    job_id,
                ),
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
        wish: Wish = "",
        resume_at: float | None = None,
    ) -> Job:
        """Move a job to another state; "running" makes this process its owner.

        A wish that was open is answered by it: `wish` takes its place.
        Raises `job_not_found`, or `job_state` where `state` cannot follow (somebody else was faster).
        """

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            if state not in _FOLLOWING[before.state]:
                raise _wrong_state(f"This job is {before.state} and cannot become {state}.")
            running = state == "running"
            connection.execute(
                "UPDATE jobs SET state = ?, error = ?, result = ?, owner_pid = ?, owner_created = ?,"
                " rate = NULL, remaining = NULL, wish = ?, resume_at = ?, detail = '', deaths = ?,"
                " updated_at = ? WHERE id = ?",
                (
                    state,
                    json.dumps(error.to_json()) if error else None,
                    json.dumps(dict(result)) if result is not None else None,
                    os.getpid() if running else None,
                    process_create_time() if running else None,
                    wish,
                    resume_at,
                    0 if before.state == "failed" else before.deaths,  # somebody tries again
                    time.time(),
                    job_id,
                ),
            )
            return _get(connection, job_id)

        return await self._database.run(work)

    async def remake(self, job_id: str, made_with: Mapping[str, Any]) -> Job:
        """Give a job other surroundings for its work. Raises `job_not_found`, or `job_state` while it runs."""

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            if before.state == "running":
                raise SlmDeskError(
                    "job_state", "This job runs.", "Pause it first; then it can be given new settings."
                )
            parameters = {**before.parameters, MADE_WITH: dict(made_with)}
            connection.execute(
                "UPDATE jobs SET parameters = ?, updated_at = ? WHERE id = ?",
                (json.dumps(parameters), time.time(), job_id),
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
                " remaining = NULL, detail = '', deaths = deaths + 1, updated_at = ? WHERE id = ?",
                [(time.time(), job.id) for job in dead],
            )
            return [_get(connection, job.id) for job in dead]

        return await self._database.run(work)

    async def ask(self, job_id: str, wish: Wish) -> Job:
        """Leave a wish for the process that runs this job; it looks some times a second. Raises `job_not_found`,
        or `job_state` when the job does not run."""

        def work(connection: sqlite3.Connection) -> Job:
            before = _get(connection, job_id)
            if before.state != "running":
                raise _wrong_state(f"This job is {before.state} and does not run.")
            connection.execute(
                "UPDATE jobs SET wish = ?, updated_at = ? WHERE id = ?", (wish, time.time(), job_id)
            )
            return _get(connection, job_id)

        return await self._database.run(work)

    async def cleared(self, job_id: str) -> None:
        """What a cancelled job left is cleared away."""
        await self._database.run(
            lambda connection: connection.execute(
                "UPDATE jobs SET wish = '', updated_at = ? WHERE id = ? AND state = 'cancelled'",
                (time.time(), job_id),
            )
        )

    async def place(self, job_id: str, before: str | None) -> Job:
        """Move a job in the queue: in front of another one, or to its end. Raises `job_not_found`."""

        def work(connection: sqlite3.Connection) -> Job:
            _get(connection, job_id)
            others = "SELECT max(position) FROM jobs WHERE id != ?"
            if before is None:
                position = (connection.execute(others, (job_id,)).fetchone()[0] or 0) + 1
            else:
                after = _get(connection, before).position
                ahead = connection.execute(others + " AND position < ?", (job_id, after)).fetchone()[0]
                position = (after + (after - 1 if ahead is None else ahead)) / 2
            connection.execute(
                "UPDATE jobs SET position = ?, updated_at = ? WHERE id = ?", (position, time.time(), job_id)
            )
            return _get(connection, job_id)

        return await self._database.run(work)

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Take ended jobs (done, cancelled, failed) off the list; the others stay. Returns how many went."""

        def work(connection: sqlite3.Connection) -> int:
            ended = "state IN ('done', 'failed') OR (state = 'cancelled' AND wish = '')"
            cursor = connection.executemany(
                f"DELETE FROM jobs WHERE id = ? AND ({ended})",  # noqa: S608
                [(job_id,) for job_id in job_ids],
            )
            return cursor.rowcount

        return await self._database.run(work)

    async def pending(self) -> tuple[Job, ...]:
        """The jobs that may ask for something: every one but those that ended and are cleared away."""

        def work(connection: sqlite3.Connection) -> tuple[Job, ...]:
            states = "state IN ('queued', 'running', 'interrupted') OR (state = 'paused' AND resume_at IS NOT NULL)"
            query = f"SELECT * FROM jobs WHERE {states} OR (state = 'cancelled' AND wish != '')"  # noqa: S608
            return tuple(_job(row) for row in connection.execute(query))

        return await self._database.read(work)

    async def announce_runner(self) -> None:
        """This process is the one that runs the jobs from now on."""
        me = (os.getpid(), process_create_time())
        await self._database.run(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO job_runner (one, pid, created, wish) VALUES (1, ?, ?, '')", me
            )
        )

    async def retire_runner(self, *, anyway: bool = False) -> bool:
        """This process ends: nobody may count on it any more. False, and nothing done, when a job waits.

        In one transaction with the look at the queue, so that a job cannot slip in between.
        """

        def work(connection: sqlite3.Connection) -> bool:
            waiting = connection.execute(
                "SELECT 1 FROM jobs WHERE state = 'queued' OR (state = 'cancelled' AND wish != '') LIMIT 1"
            ).fetchone()
            if waiting and not anyway:
                return False
            connection.execute("DELETE FROM job_runner WHERE pid = ?", (os.getpid(),))
            return True

        return await self._database.run(work)

    async def runner_wish(self) -> str:
        """What the process that runs the jobs was asked to do: "" or "end"."""
        query = "SELECT wish FROM job_runner WHERE one = 1"
        row = await self._database.read(lambda connection: connection.execute(query).fetchone())
        return str(row[0]) if row else ""

    async def runner(self) -> int | None:
        """The process id of the living process that runs the jobs, or None."""
        query = "SELECT pid, created FROM job_runner WHERE one = 1"
        row = await self._database.read(lambda connection: connection.execute(query).fetchone())
        return int(row[0]) if row and self._alive(row[0], row[1]) else None

    async def ask_runner_to_end(self) -> None:
        """The process that runs the jobs is to end; running jobs become interrupted."""
        await self._database.run(lambda connection: connection.execute("UPDATE job_runner SET wish = 'end'"))

    async def changed(self) -> tuple[int, float]:
        """Something that differs whenever any job changed, came or went; cheap."""

        def work(connection: sqlite3.Connection) -> tuple[int, float]:
            count, latest = connection.execute("SELECT count(*), max(updated_at) FROM jobs").fetchone()
            return count, latest or 0.0

        return await self._database.read(work)

    async def list(self, states: tuple[JobState, ...] = JOB_STATES) -> list[Job]:
        """The jobs in these states, the newest first."""

        def work(connection: sqlite3.Connection) -> list[Job]:
            marks = ", ".join("?" * len(states))
            query = f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY created_at DESC, rowid DESC"  # noqa: S608
            return [_job(row) for row in connection.execute(query, states)]

        return await self._database.read(work)


def _wrong_state(message: str) -> SlmDeskError:
    return SlmDeskError("job_state", message, "Look at the list of jobs again.")


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
        title=row["title"],
        detail=row["detail"],
        wish=row["wish"],
        position=row["position"],
        memory=json.loads(row["memory"]),
        resume_at=row["resume_at"],
        deaths=row["deaths"],
    )
