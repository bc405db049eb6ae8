"""Moving a whole models folder: copied and read again, or linked on one disk; the old place goes at the very end."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.space import existing_parent
from slmdesk.library import transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.library.background import ThreadProgress

_ROUNDS = 5  # listings until nothing new appears in the old place


@dataclass(frozen=True, slots=True)
class MovedFile:
    """One file below the folder that moves. `link` is where a symbolic link points to."""

    relative: Path
    size: int
    time_ns: int
    inode: tuple[int, int]
    link: str = ""


def check(source: Path, target: Path, folders: Sequence[Path]) -> None:
    """Whether this move makes sense. Raises `SlmDeskError("move_invalid")` or `folder_missing`."""
    if source not in folders:
        raise SlmDeskError(
            "move_invalid", f"{source} is no models folder.", "See library.folders in the settings."
        )
    if target in folders:
        raise SlmDeskError("move_invalid", f"{target} is a models folder already.", "Choose another folder.")
    if source in target.parents or target in source.parents or source == target:
        raise SlmDeskError(
            "move_invalid",
            f"{source} cannot move to {target}: one lies in the other.",
            "Choose another folder.",
        )
    if not source.is_dir():
        raise SlmDeskError("folder_missing", f"{source} is not there.", "Connect its disk first.")
    if target.exists() and not target.is_dir():
        raise SlmDeskError("move_invalid", f"{target} is a file.", "Choose a folder.")


def listing(source: Path) -> list[MovedFile]:
    """Everything below a folder, links as links. Raises `SlmDeskError("file_unreadable")`."""
    found: list[MovedFile] = []

    def refuse(error: OSError) -> None:
        raise error

    try:
        for here, below, files in os.walk(source, onerror=refuse):
            links = [name for name in below if Path(here, name).is_symlink()]
            for name in [*files, *links]:
                path = Path(here, name)
                status = path.lstat()
                link = str(path.readlink()) if path.is_symlink() else ""
                inode = (status.st_dev, status.st_ino or hash(path))
                found.append(
                    MovedFile(path.relative_to(source), status.st_size, status.st_mtime_ns, inode, link)
                )
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable",
            f"{error.filename or source} cannot be read: {error.strerror or error}.",
            "Check its permissions and its disk.",
        ) from error
    return found


def bytes_to_write(source: Path, target: Path) -> int:
    """Bytes the move writes: none on one disk; a file with several names counts once."""
    if same_disk(source, target):
        return 0
    there = listing(source)
    return sum({entry.inode: entry.size for entry in there if not entry.link}.values())


def same_disk(source: Path, target: Path) -> bool:
    try:
        return source.stat().st_dev == existing_parent(target).stat().st_dev
    except OSError:
        return False


def refuse_conflicts(source: Path, target: Path) -> None:
    """Raise `SlmDeskError("file_exists")` where the new place has a file of the same name."""
    for entry in listing(source):
        transfer.refuse_existing(target / entry.relative)


def bring(source: Path, target: Path, meter: ThreadProgress) -> int:
    """Make the new place like the old one; what is there already, whole, is not made again. Files brought.

    The old place stays as it is. Listed again until nothing new appeared. Raises as `transfer.copy` does.
    """
    brought = 0
    for _ in range(_ROUNDS):
        entries = listing(source)
        meter.total = sum(entry.size for entry in entries)
        meter.done = 0
        todo = [entry for entry in entries if not _there(target / entry.relative, entry)]
        meter.done = meter.total - sum(entry.size for entry in todo)
        if not todo:
            return brought
        names: dict[tuple[int, int], Path] = {}
        for entry in entries:
            names.setdefault(entry.inode, target / entry.relative)
        for entry in todo:
            meter.detail = entry.relative.name
            _bring_one(source / entry.relative, target / entry.relative, entry, names[entry.inode], meter)
            brought += 1
    raise SlmDeskError(
        "folder_busy", f"Something keeps writing to {source}.", "Wait until it is done, then resume this job."
    )


def remove_old(source: Path, target: Path, meter: ThreadProgress) -> list[Path]:
    """Remove what arrived at the new place from the old one; what stays there, with nothing of it lost."""
    left: list[Path] = []
    for entry in listing(source):
        meter.check()
        path = source / entry.relative
        if not _there(target / entry.relative, entry):
            left.append(path)
            continue
        try:
            path.unlink()
        except OSError:
            left.append(path)
    _remove_empty(source)
    return left


def take_back(source: Path, target: Path) -> None:
    """Remove from the new place what `bring` put there; the old place has it all."""
    for entry in listing(source):
        path = target / entry.relative
        for made in (path, transfer.partial_of(path)):
            if made != path or _there(path, entry):
                with suppress(OSError):
                    made.unlink()
    _remove_empty(target)


def _there(path: Path, entry: MovedFile) -> bool:
    """Whether a file has arrived: it has its name only when it is whole, and then its time, too."""
    try:
        status = path.lstat()
        if entry.link:
            return path.is_symlink() and str(path.readlink()) == entry.link
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns // 2_000_000_000) == (
        entry.size,
        entry.time_ns // 2_000_000_000,
    )


def _bring_one(path: Path, target: Path, entry: MovedFile, first: Path, meter: ThreadProgress) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            target.unlink()  # an older version, from an earlier round
        if entry.link:
            target.symlink_to(entry.link, target_is_directory=path.is_dir())
            return
    except OSError as error:
        raise writing_error(target, error) from error
    # A second name of a file that is here already, or the old file itself where both lie on one disk.
    for known in ([first] if first != target and first.exists() else []) + [path]:
        with suppress(OSError):
            os.link(known, target)
            meter.advance(entry.size)
            return
    transfer.copy(path, target, meter, resume=True, reread=True)


def _remove_empty(folder: Path) -> None:
    for here, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(here).rmdir()
