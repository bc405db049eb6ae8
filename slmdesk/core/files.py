"""Writing small files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from pathlib import Path

_REPLACE_TRIES = (
    10  # Windows refuses to replace a file that a scanner or another reader holds open for a moment
)


def atomic_write(path: Path, data: bytes | str, mode: int | None = None) -> None:
    """Replace `path` with `data` (text as UTF-8) in one step; its folder is made where it is missing.

    `mode` holds from the first byte on (0o600 for what only this user may read). A symbolic link stays one:
    its target is replaced. Raises `SlmDeskError("file_unwritable")` or `SlmDeskError("disk_full")`; the old
    content is then untouched.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    target = path.resolve() if path.is_symlink() else path
    partial = target.with_name(f".{target.name}.{os.urandom(4).hex()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_new(partial, content, mode)
        _replace(partial, target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise writing_error(path, error) from error


def writing_error(path: Path, error: OSError) -> SlmDeskError:
    """What an `OSError` while writing `path` means to a person."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return SlmDeskError(
            "disk_full",
            f"There is no space left to write {path}.",
            "Free some space on that disk and try again.",
        )
    return SlmDeskError(
        "file_unwritable",
        f"{path} cannot be written: {error.strerror or error}.",
        "Check that the folder exists and that you may write there.",
    )


def _write_new(path: Path, content: bytes, mode: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(source: Path, target: Path) -> None:
    for attempt in range(_REPLACE_TRIES):
        try:
            source.replace(target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_TRIES - 1:
                raise
            time.sleep(0.02 * (attempt + 1))
