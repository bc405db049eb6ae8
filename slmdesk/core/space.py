"""Free space on disks, and what running and waiting jobs are going to write to them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from slmdesk.core import amounts
from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import sqlite3

    from slmdesk.core.jobs.job_store import Also

# What a disk needs to breathe: the database, logs, other programs. Small disks keep less.
MARGIN_BYTES = 64 * 1024 * 1024
_MARGIN_SHARE = 100

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "core.space.1",
        """
        CREATE TABLE reservations (
            job_id TEXT NOT NULL,
            folder TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (job_id, folder)
        );
        """,
    ),
)


class Space:
    """Reservations of free space by jobs. Methods raise what `Database.run` raises.

    A reservation is what a job is still going to write below a folder; it shrinks while the job writes, ends
    with `release`, and no longer counts once its job ended.
    """

    def __init__(self, database: Database, *, margin_bytes: int = MARGIN_BYTES) -> None:
        self._database = database
        self._margin = margin_bytes

    async def reserve(self, job_id: str, folder: Path, count: int) -> None:
        """Reserve `count` bytes below `folder` for a job, in place of what it had reserved there.

        Raises `SlmDeskError("disk_full")` when less is free than this and other jobs' reservations on the same
        disk, or `drive_missing` when the disk is not there.
        """
        promise = await self.promise(folder, count)
        await self._database.run(lambda connection: promise(connection, job_id))

    async def promise(self, folder: Path, count: int) -> Also:
        """`reserve` as a step of a transaction, for `JobStore.create`. Raises `drive_missing` itself."""
        disk = await asyncio.to_thread(_look, folder)
        margin = min(self._margin, disk.total // _MARGIN_SHARE)

        def work(connection: sqlite3.Connection, job_id: str) -> None:
            others = _others(connection, job_id, disk.volume)
            if count + others + margin > disk.free:
                raise _too_little(folder, count, disk.free, others, margin)
            connection.execute(
                "INSERT OR REPLACE INTO reservations (job_id, folder, bytes) VALUES (?, ?, ?)",
                (job_id, str(folder), count),
            )

        return work

    async def shrink(self, job_id: str, folder: Path, count: int) -> None:
        """Only this much is still to be written."""
        await self._database.run(
            lambda connection: connection.execute(
                "UPDATE reservations SET bytes = min(bytes, ?) WHERE job_id = ? AND folder = ?",
                (max(0, count), job_id, str(folder)),
            )
        )

    async def release(self, job_id: str) -> None:
        """Give back what a job had reserved."""
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM reservations WHERE job_id = ?", (job_id,))
        )

    async def free(self, folder: Path, *, besides: str = "") -> int:
        """Bytes below `folder` that nobody reserved (but for the job `besides`); may be negative.

        Raises `SlmDeskError("drive_missing")`.
        """
        disk = await asyncio.to_thread(_look, folder)
        others = await self._database.read(lambda connection: _others(connection, besides, disk.volume))
        return disk.free - others - min(self._margin, disk.total // _MARGIN_SHARE)


def existing_parent(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    for candidate in (folder, *folder.parents):
        if candidate.is_dir():
            return candidate
    return folder


class _Disk(NamedTuple):
    """Bytes of the disk, those free for this user, and which volume it is."""

    total: int
    free: int
    volume: int


def _look(folder: Path) -> _Disk:
    parent = existing_parent(folder)
    try:
        usage = shutil.disk_usage(parent)
        return _Disk(usage.total, usage.free, os.stat(parent).st_dev)  # noqa: PTH116
    except OSError as error:
        raise SlmDeskError(
            "drive_missing",
            f"The disk of {folder} is not there: {error.strerror or error}.",
            "Connect it again; what was begun goes on then.",
        ) from error


def _others(connection: sqlite3.Connection, job_id: str, volume: int) -> int:
    rows = connection.execute(
        "SELECT r.folder, r.bytes FROM reservations r JOIN jobs ON jobs.id = r.job_id WHERE r.job_id != ?"
        " AND jobs.state IN ('queued', 'running', 'paused', 'interrupted')",
        (job_id,),
    )
    total = 0
    for folder, count in rows:
        try:
            same = os.stat(existing_parent(Path(folder))).st_dev == volume  # noqa: PTH116
        except OSError:
            same = False
        total += count if same else 0
    return total


def _too_little(folder: Path, count: int, free: int, others: int, margin: int) -> SlmDeskError:
    missing = count + others + margin - free
    promised = f", of which {amounts.size(others)} are promised to other jobs" if others else ""
    return SlmDeskError(
        "disk_full",
        f"{amounts.size(count)} are needed in {folder}; {amounts.size(free)} are free there{promised}.",
        f"Free {amounts.size(missing)} on that disk, or choose another models folder.",
    )
