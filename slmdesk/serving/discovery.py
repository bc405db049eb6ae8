"""How the one service of a user is found: a lock held for its life, and a file with its address and token."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.core.processes import process_alive
from slmdesk.inference.wire import decoded, encoded

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from filelock import BaseFileLock

    from slmdesk.core.paths import Paths

StartedBy = Literal["hand", "demand"]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The state file: where the service answers, and the token that opens every route of it."""

    port: int
    pid: int
    create_time: float  # of the process, seconds since 1970: tells it from a later one with its id
    token: str = field(repr=False)
    version: str
    url: str
    started_by: StartedBy

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this still runs (not whether it answers)."""
        return process_alive(self.pid, self.create_time)


def read_state(path: Path) -> ServiceState | None:
    """The state file, or None when there is none, it is damaged, or another user wrote it."""
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None
        state = decoded(path.read_bytes(), ServiceState)
    except (OSError, SlmDeskError):
        return None
    return state if state.pid > 0 and 0 < state.port < 65536 and state.token else None


def write_state(path: Path, state: ServiceState) -> None:
    """Publish the address. Raises `SlmDeskError("file_unwritable")`, `disk_full` or `folder_foreign`."""
    make_private_folder(path.parent)
    atomic_write(path, encoded(state).decode(), mode=0o600)


def remove_state(path: Path, pid: int) -> None:
    """Take the state file away, unless it speaks of another process by now."""
    state = read_state(path)
    if state is None or state.pid == pid:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def make_private_folder(folder: Path) -> None:
    """Make the runtime folder for this user alone.

    Where the system has no such folder it lies in a place that others may write to, so one that somebody else
    made first is refused: `SlmDeskError("folder_foreign")`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise SlmDeskError(
            "folder_unwritable",
            f"The folder {folder} cannot be made: {error.strerror or error}.",
            "Check the permissions there, or set SLMDESK_HOME to another folder.",
        ) from error
    if hasattr(os, "getuid") and owner != os.getuid():
        raise SlmDeskError(
            "folder_foreign",
            f"The folder {folder} belongs to another user.",
            "Set SLMDESK_HOME, or XDG_RUNTIME_DIR, to a folder of your own.",
        )


class UserLock:
    """A lock file in the runtime folder: held by one process of this user at a time, freed when that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: BaseFileLock | None = None

    @classmethod
    def of_service(cls, paths: Paths) -> UserLock:
        """Held by the service for its whole life."""
        return cls(paths.runtime / "service.lock")

    @classmethod
    def of_start(cls, paths: Paths) -> UserLock:
        """Held by the front end that starts a service, until that answers."""
        return cls(paths.runtime / "service-start.lock")

    def take(self) -> bool:
        """Take it now or not at all. Raises `SlmDeskError("lock_failed")` where files cannot be locked."""
        import filelock

        make_private_folder(self._path.parent)
        if self._lock is None:
            self._lock = filelock.FileLock(str(self._path), mode=0o600, thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError) as error:
            raise SlmDeskError(
                "lock_failed",
                f"{self._path} cannot be locked: {error}.",
                "Check the permissions there, or set SLMDESK_HOME to a folder on a local disk.",
            ) from error
        return True

    def free(self) -> None:
        """Give it back. Harmless when it is not held."""
        if self._lock is not None:
            self._lock.release(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
