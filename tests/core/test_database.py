"""The database: migrations, backups, files of other versions, locks, damage."""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError

NOTES = Migration(
    "notes.1",
    """
    CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
    -- a semicolon; in a comment, and in text below
    INSERT INTO notes (text) VALUES ('one; two');
    CREATE TRIGGER notes_trimmed AFTER INSERT ON notes BEGIN
        UPDATE notes SET text = trim(text) WHERE id = new.id;
    END;
    """,
)
TAGS = Migration("tags.1", "CREATE TABLE tags (note INTEGER REFERENCES notes (id), tag TEXT)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "slmdesk.sqlite3"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path, [NOTES], busy_timeout_s=0.1)
    yield database
    database.close()


def texts(connection: sqlite3.Connection) -> list[str]:
    return [row["text"] for row in connection.execute("SELECT text FROM notes ORDER BY id")]


def add(text: str) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))

    return work


async def test_opens_by_itself_and_keeps_what_was_committed(path: Path, database: Database) -> None:
    assert not path.exists()
    await database.run(add("  three "))
    assert await database.read(texts) == ["one; two", "three"]
    assert database.run_sync(texts) == ["one; two", "three"]
    database.close()
    database.close()
    again = Database(path, [NOTES])
    assert again.run_sync(texts) == ["one; two", "three"]
    again.close()
    with pytest.raises(SlmDeskError) as caught:
        await database.run(texts)
    assert caught.value.code == "database_closed"


async def test_uses_wal_and_foreign_keys(database: Database) -> None:
    def work(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "foreign_keys", "synchronous")
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await database.run(work) == ["wal", 1, 2]
    assert await database.check() == []


async def test_work_that_raises_is_rolled_back(database: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES ('lost')")
        raise SlmDeskError("refused", "No.", "")

    with pytest.raises(SlmDeskError, match="No"):
        await database.run(work)
    with pytest.raises(sqlite3.IntegrityError):  # a defect stays what it is
        await database.run(lambda c: c.execute("INSERT INTO notes (text) VALUES (NULL)"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await database.run(lambda c: c.execute("SELECT * FROM nowhere"))
    assert await database.read(texts) == ["one; two"]


async def test_all_work_runs_on_one_thread_which_is_not_the_callers(database: Database) -> None:
    names = await asyncio.gather(
        *(database.run(lambda _: threading.current_thread().name) for _ in range(20)),
        database.read(lambda _: ""),
    )
    assert len(set(names[:-1])) == 1
    assert threading.current_thread().name not in names


async def test_cancelled_callers_lose_nothing(database: Database) -> None:
    started, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        started.set()
        assert go_on.wait(10)
        connection.execute("INSERT INTO notes (text) VALUES ('kept')")

    running = asyncio.create_task(database.run(work))
    waiting = asyncio.create_task(database.run(add("kept too")))
    await asyncio.to_thread(started.wait, 10)
    running.cancel()
    waiting.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert running.cancelled()
    go_on.set()
    assert await database.read(texts) == ["one; two", "kept", "kept too"]


async def test_failure_nobody_waits_for_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        started.set()
        assert go_on.wait(10)
        raise SlmDeskError("refused", "It did not work.", "")

    task = asyncio.create_task(database.run(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    await database.read(texts)
    await asyncio.sleep(0)
    assert "It did not work" in caplog.text


def test_migrations_run_in_order_once_and_are_recorded_by_name(path: Path) -> None:
    ran: list[str] = []

    def step(n: int) -> Migration:
        return Migration(f"step.{n}", lambda _: ran.append(str(n)))

    steps = [step(n) for n in range(3)]
    for migrations in (steps[:1], steps[:1], steps, steps):
        database = Database(path, migrations)
        database.open()
        database.close()
    assert ran == ["0", "1", "2"]
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM schema_migrations ORDER BY rowid").fetchall()
    assert rows == [("step.0",), ("step.1",), ("step.2",)]


def test_upgrade_keeps_a_backup_of_what_was_there(path: Path) -> None:
    old = Database(path, [NOTES])
    old.run_sync(add("precious"))
    old.close()
    assert list(path.parent.glob("*backup*")) == []
    new = Database(path, [NOTES, TAGS])
    assert new.run_sync(texts) == ["one; two", "precious"]
    new.close()
    (backup,) = path.parent.glob("slmdesk.sqlite3.backup-*")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("one; two",), ("precious",)]
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tags'").fetchone() is None
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again = Database(path, [NOTES, TAGS])
    again.open()
    again.close()
    assert len(list(path.parent.glob("*backup*"))) == 1


def test_only_the_newest_backups_are_kept(path: Path) -> None:
    path.parent.mkdir()
    for n in range(5):
        path.with_name(f"{path.name}.backup-2020010{n}-000000").write_bytes(b"")
    for migrations in ([NOTES], [NOTES, TAGS]):
        database = Database(path, migrations)
        database.open()
        database.close()
    left = sorted(p.name for p in path.parent.glob("*backup*"))
    assert len(left) == 3
    assert left[0].endswith("20200103-000000")


def test_failed_upgrade_changes_nothing(path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        connection.execute("INSERT INTO notes (text) VALUES ('half done')")
        raise RuntimeError("the migration is wrong")

    with closing(Database(path, [NOTES])) as first:
        first.run_sync(texts)
    broken = Database(path, [NOTES, TAGS, Migration("broken", fail)])
    with pytest.raises(RuntimeError, match="migration is wrong"):
        broken.open()
    broken.close()
    sound = Database(path, [NOTES])
    assert sound.run_sync(texts) == ["one; two"]
    names = sound.run_sync(lambda c: {row[0] for row in c.execute("SELECT name FROM sqlite_master")})
    assert not {"half", "tags"} & names
    sound.close()


def test_migration_that_breaks_references_is_undone(path: Path) -> None:
    orphan = Migration("orphan", "INSERT INTO tags VALUES (99, 'x')")
    database = Database(path, [NOTES, TAGS, orphan])
    with pytest.raises(sqlite3.IntegrityError, match="tags"):
        database.open()
    database.close()


def test_newer_schema_is_refused_untouched(path: Path) -> None:
    newer = Database(path, [NOTES, TAGS])
    newer.open()
    newer.close()
    before = path.read_bytes()
    older = Database(path, [NOTES])
    with pytest.raises(SlmDeskError) as caught:
        older.open()
    older.close()
    assert caught.value.code == "database_newer"
    assert "newer version" in caught.value.message
    assert "tags.1" in caught.value.details
    assert path.read_bytes() == before
    assert list(path.parent.glob("*backup*")) == []


def test_ten_programs_may_open_a_new_database_at_once(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from slmdesk.core.database import Database, Migration; "
        "d = Database(Path(sys.argv[1]), [Migration('a', 'CREATE TABLE t (x)')], busy_timeout_s=60); "
        "d.run_sync(lambda c: c.execute('INSERT INTO t VALUES (1)') and None); d.close()"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(10)]
    assert [child.wait() for child in children] == [0] * 10
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (10,)


async def test_locked_database_is_said_and_works_again_afterwards(path: Path, database: Database) -> None:
    database.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SlmDeskError) as caught:
            await database.run(add("late"))
        assert caught.value.code == "database_locked"
        assert await database.read(texts) == ["one; two"]  # reading needs no lock
        other.execute("ROLLBACK")
    await database.run(add("now"))
    assert await database.read(texts) == ["one; two", "now"]


async def test_database_locked_before_it_is_opened(path: Path, database: Database) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SlmDeskError) as caught:
            database.open()
        assert caught.value.code == "database_locked"
    assert await database.read(texts) == ["one; two"]


@pytest.mark.parametrize("content", [b"this is no database, " * 100, b"SQLite format 3\0" + b"\x07" * 5000])
def test_damaged_file_is_said_and_left_alone(path: Path, database: Database, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SlmDeskError) as caught:
        database.open()
    assert caught.value.code == "database_damaged"
    assert path.read_bytes() == content


# Root may write everywhere, so the child gives its rights away once everything is imported.
READ_ONLY = """
import os, sys
from pathlib import Path
from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
database = Database(Path(sys.argv[1]), [Migration("notes.1", "")])
try:
    database.run_sync(lambda c: c.execute("INSERT INTO notes (text) VALUES (1)"))
except SlmDeskError as error:
    print(error.code)
database.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_read_only_database_is_said(what: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "db")
        old = Database(path, [NOTES])
        old.open()
        old.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555 if what == "folder" else 0o777)
        command = [sys.executable, "-c", READ_ONLY, str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "database_read_only"
        Path(folder).chmod(0o755)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the folder's place")
    database = Database(tmp_path / "data" / "db", [NOTES])
    with pytest.raises(SlmDeskError) as caught:
        database.open()
    database.close()
    assert caught.value.code == "database_read_only"


def test_two_migrations_of_one_name_are_a_defect(path: Path) -> None:
    with pytest.raises(ValueError, match="share a name"):
        Database(path, [NOTES, NOTES])


async def test_check_finds_broken_references(path: Path) -> None:
    database = Database(path, [NOTES, TAGS])
    database.open()
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO tags VALUES (99, 'x')")
        other.commit()
    assert await database.check() == ["row 1 of tags refers to a missing row of notes"]
    database.close()
