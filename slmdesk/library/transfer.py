"""Hashing, copying, moving and linking single files so that nothing is lost, whatever fails and when."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.space import MARGIN_BYTES, existing_parent

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.library.background import ThreadProgress

PARTIAL = ".slmdesk-part"
_BLOCK = 4 * 1024 * 1024
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}


# Nothing to go on with later.
_USELESS: frozenset[ErrorCode] = frozenset({"file_changed", "hash_wrong", "copy_wrong", "file_exists"})


def partial_of(target: Path) -> Path:
    """The name a file has until it is whole. It is hidden, and its ending is not that of a model."""
    return target.with_name(f".{target.name}{PARTIAL}")


def sha256(path: Path, meter: ThreadProgress) -> str:
    """The file's SHA-256 as hexadecimal text. Raises `SlmDeskError` (file_missing, file_unreadable)."""
    try:
        with path.open("rb", buffering=0) as file:
            return _pour(file, None, meter, 0)
    except OSError as error:
        raise _unreadable(path, error) from error


def same_content(one: Path, other: Path, meter: ThreadProgress) -> bool:
    """Byte for byte. Raises as `sha256` does."""
    try:
        with one.open("rb") as first, other.open("rb") as second:
            while True:
                block, again = first.read(_BLOCK), second.read(_BLOCK)
                meter.advance(len(block))
                if block != again:
                    return False
                if not block:
                    return True
    except OSError as error:
        raise _unreadable(one, error) from error


def copy(
    source: Path,
    target: Path,
    meter: ThreadProgress,
    *,
    expected: str = "",
    resume: bool = False,
    reread: bool = False,
) -> str:
    """Copy a file; the target appears whole or not at all. Returns its SHA-256.

    `expected`: the hash it must have. `resume` goes on with a partial file an earlier try left, and leaves one
    behind when it is stopped; `reread` reads the copy again from the disk before it gets its name (always done
    with `resume`). Raises `SlmDeskError`: file_exists, file_changed, hash_wrong, copy_wrong, disk_full,
    file_unwritable, file_missing, file_unreadable.
    """
    refuse_existing(target)
    partial = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        before = _stat(source)
        begun = meter.done
        digest, resumed = _copied(source, partial, meter, resume=resume)
        if resumed and _read_again(partial, meter) != digest:
            meter.done = begun  # what an earlier try left was something else: from the start
            digest, resumed = _copied(source, partial, meter, resume=False)
            reread = True
        after = _stat(source)
        _refuse_changed(source, before, after)
        _refuse_other(source, digest, expected)
        if reread and not resumed:
            _refuse_miswritten(partial, digest, meter)
        os.utime(partial, ns=(after.st_atime_ns, after.st_mtime_ns))
        refuse_existing(target)
        partial.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        if not resume or (isinstance(error, SlmDeskError) and error.code in _USELESS):
            with suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            raise writing_error(target, error) from error
        raise
    return digest


def move(source: Path, target: Path, meter: ThreadProgress) -> None:
    """Move a file: renamed on one disk; across disks copied, read again, and only then removed at its old place.

    Raises as `copy` does.
    """
    refuse_existing(target)
    size = _stat(source).st_size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV and getattr(error, "winerror", None) != 17:
            raise writing_error(target, error) from error
    else:
        meter.advance(size)
        return
    copy(source, target, meter, reread=True)
    try:
        source.unlink()
    except OSError as error:
        raise SlmDeskError(
            "file_not_removed",
            f"{target} is complete, but {source} cannot be removed: {error.strerror or error}.",
            "Remove it by hand.",
        ) from error


def hard_link(source: Path, target: Path) -> None:
    """A second name for the same content. Raises file_exists, link_other_volume, link_unsupported, …"""
    refuse_existing(target)
    real = source.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(real, target)
    except OSError as error:
        raise linking_error(real, target, error) from error


def linking_error(source: Path, target: Path, error: OSError) -> SlmDeskError:
    """What an `OSError` of a hard link means to a person."""
    if error.errno == errno.EXDEV or getattr(error, "winerror", None) == 17:
        return SlmDeskError(
            "link_other_volume",
            f"{source} and {target.parent} are on different disks; hard links stay on one.",
            "Use it in place, or copy it.",
        )
    if error.errno in _NO_LINKS:
        return SlmDeskError(
            "link_unsupported",
            f"{target.parent} takes no hard link to {source}: {error.strerror or error}.",
            "Use it in place, or copy it.",
        )
    return writing_error(target, error)


def refuse_existing(target: Path) -> None:
    """Raise `SlmDeskError("file_exists")` where something of that name is."""
    if os.path.lexists(target):
        raise SlmDeskError(
            "file_exists",
            f"{target} is there already.",
            "Give the model another name, or remove that file first.",
        )


def require_room(folder: Path, count: int) -> None:
    """Raise `SlmDeskError("disk_full")` when `count` bytes more do not fit on the disk of `folder`."""
    try:
        free = shutil.disk_usage(existing_parent(folder)).free
    except OSError as error:
        raise writing_error(folder, error) from error
    if count + MARGIN_BYTES > free:
        raise SlmDeskError(
            "disk_full",
            f"{amounts.size(count)} are needed in {folder}; {amounts.size(free)} are free there.",
            f"Free {amounts.size(count + MARGIN_BYTES - free)} on that disk, or choose another models folder.",
        )


def sync_folder(folder: Path) -> None:
    """Make a rename in it last through a power cut, where the system can be asked for that."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse_changed(source: Path, before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SlmDeskError(
            "file_changed", f"{source} changed while it was copied.", "Try again when nothing writes to it."
        )


def _refuse_other(source: Path, digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise SlmDeskError(
            "hash_wrong",
            f"The content of {source} is not what it should be: its SHA-256 differs.",
            "It is damaged; download it again instead of copying it.",
        )


def _refuse_miswritten(partial: Path, digest: str, meter: ThreadProgress) -> None:
    if _read_again(partial, meter) != digest:
        raise SlmDeskError(
            "copy_wrong",
            f"What was written to {partial.parent} reads back differently.",
            "The disk may be failing; the original is untouched.",
        )


def _copied(source: Path, partial: Path, meter: ThreadProgress, *, resume: bool) -> tuple[str, bool]:
    """Write the partial file; its content's hash, and whether some of it was there before."""
    there = 0
    if resume:
        with suppress(OSError):
            there = partial.stat().st_size
    try:
        origin = source.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(source, error) from error
    with origin, partial.open("r+b" if there else "wb", buffering=0) as file:
        there = min(there, os.fstat(origin.fileno()).st_size)
        if os.fstat(file.fileno()).st_size > there:
            file.truncate(there)
        file.seek(there)
        digest = _pour(origin, file, meter, there)
        os.fsync(file.fileno())
    return digest, there > 0


def _pour(source: FileIO, target: FileIO | None, meter: ThreadProgress, there: int) -> str:
    """Read all of `source`, hash it, and write what lies behind the first `there` bytes to `target`."""
    digest = hashlib.sha256()
    view = memoryview(bytearray(_BLOCK))
    at = 0
    while count := source.readinto(view):
        digest.update(view[:count])
        if target is not None and at + count > there:
            rest = view[max(0, there - at) : count]
            while rest:
                rest = rest[target.write(rest) :]
        at += count
        meter.advance(count)
    return digest.hexdigest()


def _read_again(path: Path, meter: ThreadProgress) -> str:
    """Hash what was written, from the disk itself where the system can be asked to forget its own copy."""
    advise = getattr(os, "posix_fadvise", None)
    with path.open("rb", buffering=0) as file:
        if advise is not None:
            with suppress(OSError):
                advise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        done = meter.done
        digest = _pour(file, None, meter, 0)
        meter.done = done  # counted once, when it was written
    return digest


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SlmDeskError:
    if isinstance(error, FileNotFoundError):
        return SlmDeskError("file_missing", f"{path} is not there.", "Check the path and its disk.")
    return SlmDeskError(
        "file_unreadable",
        f"{path} cannot be read: {error.strerror or error}.",
        "Check its permissions and its disk.",
    )
