"""One SQLite file, one thread that touches it, and the one place where its errors become words."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_log = logging.getLogger(__name__)
_BACKUPS_KEPT = 3
_LEAST_SPACE = 64 * 1024  # bytes: more than the shared memory of a small write-ahead log takes
_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT PRIMARY KEY,
    applied_at REAL NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: SQL statements or a function. `name` is unique, stable and never reused."""

    name: str
    apply: str | Callable[[sqlite3.Connection], None]


class Database:
    """The program's database, opened by its first use or by `open`. Any thread may call it.

    Every function given to `run` has the connection for itself, inside one transaction: it is committed when
    the function returns and rolled back when it raises. Rows are `sqlite3.Row`.
    Errors raised as `SlmDeskError`: `database_locked`, `database_read_only`, `database_newer`,
    `database_damaged`, `disk_full`, `database_failed`, `database_closed`. A wrong statement or a broken
    constraint is a defect and stays a `sqlite3.Error`.
    """

    def __init__(self, path: Path, migrations: Sequence[Migration], *, busy_timeout_s: float = 5.0) -> None:
        names = [migration.name for migration in migrations]
        if len(set(names)) != len(names):
            raise ValueError(f"two migrations share a name: {names}")
        self.path = path
        self._migrations = tuple(migrations)
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False

    def open(self) -> None:
        """Open the file, make or upgrade its tables. Blocks; does nothing when it is open already."""
        self._submit(lambda _connection: None, write=False).result()

    async def run(self, work: Work[T]) -> T:
        """The result of `work(connection)`, in one transaction that may write.

        Work once handed over is done even when the caller is cancelled: what a person typed is not lost to a
        Stop at the wrong moment.
        """
        return await self._result(self._submit(work, write=True))

    async def read(self, work: Work[T]) -> T:
        """The same for work that only reads: it never waits for another process that writes."""
        return await self._result(self._submit(work, write=False))

    def run_sync(self, work: Work[T]) -> T:
        """`run` for code outside an event loop; blocks."""
        return self._submit(work, write=True).result()

    async def check(self) -> list[str]:
        """What `PRAGMA integrity_check` and `foreign_key_check` find; empty when the file is sound."""

        def work(connection: sqlite3.Connection) -> list[str]:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
            found = [] if rows == ["ok"] else rows
            for row in connection.execute("PRAGMA foreign_key_check"):
                found.append(f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}")
            return found

        return await self.read(work)

    def close(self) -> None:
        """Finish what was handed over, then close the file and end the thread. May be called twice."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.submit(self._close_connection)
            worker.shutdown(wait=True)

    async def _result(self, future: Future[T]) -> T:
        import asyncio

        inner = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(inner)
        except asyncio.CancelledError:
            inner.add_done_callback(_log_unseen)
            raise

    def _submit(self, work: Work[T], *, write: bool) -> Future[T]:
        with self._lock:
            if self._closed:
                raise SlmDeskError(
                    "database_closed", "The database is closed already.", "Restart the program."
                )
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="slmdesk-database")
            return self._worker.submit(self._transact, work, write)

    def _transact(self, work: Work[T], write: bool) -> T:
        with _converted(self.path):
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            return result

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = _connect(self.path, self._busy_timeout_s)
            try:
                # WAL lets the command line read while the window writes. A file system that cannot do it
                # (some network shares) keeps its own mode, which is slower and as safe.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                self._upgrade(connection)
                connection.execute("PRAGMA foreign_keys=ON")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        if self._applied(connection) == {migration.name for migration in self._migrations}:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Only now nobody else can be upgrading, so look again.
            connection.execute(_RECORD)
            applied = self._applied(connection)
            self._refuse_newer(applied)
            pending = [m for m in self._migrations if m.name not in applied]
            if applied and pending:
                self._back_up()
            for migration in pending:
                _apply(connection, migration)
                connection.execute(
                    "INSERT INTO schema_migrations (name, applied_at) VALUES (?, ?)",
                    (migration.name, time.time()),
                )
            _refuse_broken(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _applied(self, connection: sqlite3.Connection) -> set[str]:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'").fetchone():
            return set()
        return {row[0] for row in connection.execute("SELECT name FROM schema_migrations")}

    def _refuse_newer(self, applied: set[str]) -> None:
        unknown = applied - {migration.name for migration in self._migrations}
        if unknown:
            raise SlmDeskError(
                "database_newer",
                f"{self.path} was written by a newer version of SLM Desk.",
                "Update SLM Desk, or put back a backup from the same folder. Nothing was changed.",
                details=f"unknown migrations: {', '.join(sorted(unknown))}",
            )

    def _back_up(self) -> None:
        """Copy the committed state beside the file; the newest few copies are kept."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.path.name}.backup-{stamp}")
        with (
            closing(_connect(self.path, self._busy_timeout_s)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        _log.info("kept a copy of the database before its upgrade: %s", target.name)
        copies = sorted(self.path.parent.glob(f"{self.path.name}.backup-*"))
        for old in copies[:-_BACKUPS_KEPT]:
            with suppress(OSError):
                old.unlink()


def _connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    if callable(migration.apply):
        migration.apply(connection)
        return
    # executescript would commit the transaction around it.
    statement = ""
    for line in migration.apply.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    if statement.strip():
        connection.execute(statement)


def _refuse_broken(connection: sqlite3.Connection) -> None:
    """Foreign keys are off while tables are rebuilt, so look for rows that refer to nothing afterwards."""
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise sqlite3.IntegrityError(f"a migration left a row of {broken[0]} that refers to nothing")


def _log_unseen(future: object) -> None:
    """Work whose caller went away may still fail; say so instead of dropping it."""
    import asyncio

    assert isinstance(future, asyncio.Future)
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("database work nobody waited for failed: %s", error)


def _no_space(path: Path) -> bool:
    """Without space for its shared memory SQLite reports a failed write, not a full disk."""
    try:
        return shutil.disk_usage(path.parent).free < _LEAST_SPACE
    except OSError:
        return False


@contextmanager
def _converted(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as `SlmDeskError`, decided by SQLite's result code."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        converted = _convert(path, error)
        if converted is None:
            raise
        raise converted from error
    except OSError as error:
        raise SlmDeskError(
            "database_read_only",
            f"The folder of {path} cannot be used: {error.strerror or error}.",
            "Check its permissions and the free space there.",
        ) from error


def _convert(path: Path, error: sqlite3.DatabaseError) -> SlmDeskError | None:
    code = (
        getattr(error, "sqlite_errorcode", 0) & 0xFF
    )  # the primary code; extended ones carry it in the low byte
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return SlmDeskError(
            "database_locked",
            f"Another program keeps {path} locked.",
            "Close other programs that use the file (backup, sync, another SLM Desk), then try again.",
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return SlmDeskError(
            "database_read_only",
            f"{path} cannot be written.",
            "Check the permissions of the file and of its folder. Nothing new is kept until then.",
            details=str(error),
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return SlmDeskError(
            "database_damaged",
            f"{path} is damaged.",
            "Move it away and put back a backup from the same folder, or start with an empty one.",
            details=str(error),
        )
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _no_space(path)):
        return SlmDeskError(
            "disk_full", f"There is no space left for {path}.", "Free some space on that disk and try again."
        )
    if code == sqlite3.SQLITE_IOERR:
        return SlmDeskError(
            "database_failed",
            f"Reading or writing {path} failed.",
            "Check the disk (is it still connected?) and try again.",
            details=str(error),
        )
    return None
