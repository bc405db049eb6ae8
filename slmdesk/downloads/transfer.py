"""One file on its way: from where it was left, through every fault of the line, to a checked partial file."""

from __future__ import annotations

import errno
import os
import random
import time
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.downloads.hashing import FollowingHash
from slmdesk.hub.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slmdesk.downloads.plan import DownloadPlan, PlannedFile
    from slmdesk.downloads.rate_limit import RateLimit
    from slmdesk.downloads.sources import Stream, StreamSource

_TRIES = 5  # in a row, with hardly a byte between them
_GETS_ON = 64 * 1024  # bytes: a line that breaks after fewer every time is no better than none
_LONGEST_WAIT_S = 60.0  # a longer one becomes a pause
_SLICE_S = 0.1
_FETCHES = 3  # of one file whose hash is wrong


class TransferStoppedError(Exception):
    """Somebody called `stop`."""


class DiskError(SlmDeskError):
    """The disk refused; `waits`: it may work again later without anybody doing something here."""

    def __init__(self, error: SlmDeskError, *, waits: bool) -> None:
        super().__init__(error.code, error.message, error.hint, details=error.details)
        self.waits = waits


class Transfer:
    """Fetches one file in the calling thread. `at`, `fetched` and `doing` may be read, `stop` called, from others."""

    def __init__(
        self,
        plan: DownloadPlan,
        file: PlannedFile,
        source: StreamSource,
        pace: RateLimit,
        log: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._file = file
        self._source = source
        self._pace = pace
        self._log = log
        self._partial = plan.partial(file)
        self._stopped = False
        self._stream: Stream | None = None
        self._failures = 0
        self.at = partial_size(self._partial, file.size)
        self.fetched = 0  # bytes that came in this run
        self.doing = ""

    def stop(self) -> None:
        """End soon; what came stays."""
        self._stopped = True
        stream = self._stream
        if stream is not None:
            stream.abort()

    def run(self) -> Path:
        """The whole and checked file, still under its partial name.

        Raises `TransferStoppedError`, `DiskError`, `HubError` (`temporary` when trying later may help), or
        `SlmDeskError("hash_mismatch")` when the file stayed wrong.
        """
        for _ in range(_FETCHES):
            try:
                digest = self._fetch()
            except OSError as error:
                raise disk_error(self._plan, self._partial, error) from error
            if digest == self._file.key:
                return self._partial
            self._set_aside(digest)
        raise SlmDeskError(
            "hash_mismatch",
            f"{self._file.path} came {_FETCHES} times with other content than the hub promises.",
            "Something on the way changes it, or the hub is wrong about it. Try again later, or over another network.",
        )

    def _fetch(self) -> str:
        """Bring the file to its full size; its hash."""
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size > self._file.size:
                os.ftruncate(descriptor, 0)
                size = 0
            self.at = os.lseek(descriptor, size, os.SEEK_SET)
            following = FollowingHash(self._partial, self._file, size)
            try:
                while self.at < self._file.size:
                    self._piecewise(descriptor, following)
                self.doing = "checking"
                return following.finish()
            finally:
                following.close()
        finally:
            os.close(descriptor)

    def _piecewise(self, descriptor: int, following: FollowingHash) -> None:
        """One answer of the source, as far as it goes; then the wait before the next."""
        before = self.at
        try:
            self._check()
            self._stream = self._source.open(self._file, self.at)
            try:
                self._take(self._stream, descriptor, following)
            finally:
                self._stream.close()
                self._stream = None
        except HubError as error:
            self._check()
            if self.at - before >= _GETS_ON:
                self._failures = 0
            self._log(f"{self._file.local}: {error.message} {error.details}".rstrip())
            if self._source.failed(error):
                return
            if not error.temporary:
                raise
            self._failures += 1
            self._wait_after(error)
        else:
            self._failures = 0

    def _take(self, stream: Stream, descriptor: int, following: FollowingHash) -> None:
        size = self._file.size
        if stream.total is not None and stream.total != size:
            raise self._wrong_size(stream.total)
        skip = self.at - stream.start  # a server that knows no ranges begins anew
        self.doing = "downloading"
        for piece in stream:
            self._check()
            if skip:
                dropped = min(skip, len(piece))
                skip -= dropped
                if dropped == len(piece):
                    continue
                piece = piece[dropped:]  # noqa: PLW2901
            if self.at + len(piece) > size:
                raise self._wrong_size(None)
            _write(descriptor, piece)
            self.at += len(piece)
            self.fetched += len(piece)
            following.advance(self.at)
            self._pace.take(len(piece), lambda: self._stopped)
        if self.at < size:
            raise HubError(
                "connection_lost", "The connection ended before the file did.", "Try again.", temporary=True
            )

    def _wait_after(self, error: HubError) -> None:
        asked = error.retry_after_s
        if self._failures >= _TRIES or (asked is not None and asked > _LONGEST_WAIT_S):
            raise error
        seconds = asked if asked is not None else 2.0 ** (self._failures - 1) * random.uniform(0.8, 1.2)  # noqa: S311
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            self.doing = f"{error.message} Trying again in {left:.0f} s."
            time.sleep(min(left, _SLICE_S))

    def _check(self) -> None:
        if self._stopped:
            raise TransferStoppedError

    def _set_aside(self, digest: str) -> None:
        """Put a file with wrong content where nobody takes it for the right one, and begin anew."""
        self._log(f"{self._file.local}: the content is not the promised one ({digest}); it is fetched again")
        self._check()
        try:
            self._partial.replace(self._plan.quarantine(self._file))
        except OSError as error:
            raise disk_error(self._plan, self._partial, error) from error
        self.at = 0

    def _wrong_size(self, told: int | None) -> HubError:
        what = f"{amounts.size(told)}" if told is not None else "more"
        return HubError(
            "size_mismatch",
            f"The hub promises {amounts.size(self._file.size)} of {self._file.path} and sends {what}.",
            "The file may just have been replaced. Start the download again from the catalog.",
            temporary=True,
        )


def partial_size(path: Path, expected: int) -> int:
    """How much of a file came earlier; 0 when it is more than there can be."""
    try:
        size = path.stat().st_size
    except OSError:
        return 0
    return size if size <= expected else 0


def disk_error(plan: DownloadPlan, path: Path, error: OSError) -> DiskError:
    """What the disk's refusal means for a download."""
    if not plan.root.is_dir():
        return DiskError(drive_missing(plan.root), waits=True)
    refused = error.errno in {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG}
    return DiskError(writing_error(path, error), waits=not refused)


def drive_missing(root: Path) -> SlmDeskError:
    return SlmDeskError(
        "drive_missing",
        f"The models folder {root} is not there.",
        "Connect its disk; the download goes on by itself then. Or choose another folder in the settings.",
    )


def _write(descriptor: int, piece: bytes) -> None:
    written = os.write(descriptor, piece)
    if written < len(piece):  # what fits is taken first; the rest tells the reason
        view = memoryview(piece)
        while written < len(piece):
            written += os.write(descriptor, view[written:])
