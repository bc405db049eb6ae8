"""The hash of a file while it is being written: what is on the disk is read, not what was meant to be written."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.downloads.plan import PlannedFile

_PIECE = 1024 * 1024


def new_digest(file: PlannedFile) -> hashlib._Hash:
    """The hash the hub knows the file by: SHA-256, or git's SHA-1 of a blob for small files."""
    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def hash_of(path: Path, file: PlannedFile) -> str:
    """The hash of a file that lies there whole. Blocks. Raises `OSError`."""
    digest = new_digest(file)
    buffer = bytearray(_PIECE)
    with path.open("rb", buffering=0) as source:
        while count := source.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


class FollowingHash:
    """Follows the writer of a file in a thread of its own, from the file's beginning: what an earlier run left is
    read again, what comes now is read while it is still in memory."""

    def __init__(self, path: Path, file: PlannedFile, written: int) -> None:
        self._path = path
        self._digest = new_digest(file)
        self._changed = threading.Condition()
        self._written = written
        self._done = 0
        self._last = False
        self._given_up = False
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._follow, name="slmdesk-hash", daemon=True)
        self._thread.start()

    @property
    def done(self) -> int:
        """Bytes hashed so far."""
        return self._done

    def advance(self, written: int) -> None:
        """The file has grown to so many bytes."""
        with self._changed:
            self._written = written
            self._changed.notify()

    def finish(self) -> str:
        """The hash of everything written. Raises the `OSError` that reading met."""
        with self._changed:
            self._last = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def close(self) -> None:
        """Give up; harmless after `finish`."""
        with self._changed:
            self._given_up = True
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        buffer = bytearray(_PIECE)
        view = memoryview(buffer)
        try:
            with self._path.open("rb", buffering=0) as source:
                while (until := self._more()) is not None:
                    while self._done < until and not self._given_up:
                        count = source.readinto(view[: min(_PIECE, until - self._done)])
                        if not count:
                            raise OSError(f"{self._path.name} became shorter while it was read")  # noqa: TRY301
                        self._digest.update(view[:count])
                        self._done += count
        except OSError as error:
            self._error = error

    def _more(self) -> int | None:
        """How far the file may be read now; None at the end."""
        with self._changed:
            while self._written <= self._done and not self._last and not self._given_up:
                self._changed.wait()
            if self._given_up or (self._last and self._written <= self._done):
                return None
            return self._written
