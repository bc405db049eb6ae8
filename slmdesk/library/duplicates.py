"""The same content in several places: found by size, then by a part, then by the whole; merged by hard links."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import field

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import Wire
from slmdesk.library import sidecar, transfer
from slmdesk.library.background import in_background
from slmdesk.library.verify import entry_place

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from slmdesk.library.background import OnProgress, ThreadProgress
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile
    from slmdesk.library.sidecar import Origin

_EDGE = 1024 * 1024  # read at the beginning and at the end before the whole is
_SMALLEST = 1024 * 1024  # below that there is nothing to gain
_JOINING = ".slmdesk-join"


class Copy(NamedTuple):
    """One place of a content: the library file it belongs to, and which disk and inode it is."""

    file_id: str
    path: Path
    device: int
    inode: int
    in_place: bool


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Places with the same content. `frees` is what merging gives back: one copy for each disk stays."""

    sha256: str
    size: int
    copies: tuple[Copy, ...]

    @property
    def frees(self) -> int:
        inodes = {(copy.device, copy.inode) for copy in self.copies}
        return (len(inodes) - len({device for device, _ in inodes})) * self.size

    def to_json(self) -> dict[str, Any]:
        places = tuple(EqualCopy(copy.file_id, copy.path, copy.in_place) for copy in self.copies)
        return Equal(self.sha256, self.size, places, self.frees).to_json()


class EqualCopy(Wire, frozen=True):
    """One place of a content, as a job tells of it: the library file it belongs to, and its path."""

    id: str
    path: Path
    in_place: bool = False


class Equal(Wire, frozen=True):
    """`Duplicate` as a job tells of it and takes it back: disks and inodes are looked up anew."""

    sha256: str
    size: int = field(name="size_bytes")
    copies: tuple[EqualCopy, ...]
    frees: int = field(name="frees_bytes", default=0)


class Merged(Wire, frozen=True):
    """What merging one content did; `problems` are the places that stayed as they were."""

    sha256: str
    kept: Path
    joined: tuple[Path, ...]
    freed: int = field(name="freed_bytes")
    problems: tuple[SlmDeskError, ...] = ()


class Duplicates:
    """Finds and merges equal files of the library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def find(self, on_progress: OnProgress | None = None) -> list[Duplicate]:
        """Contents that lie in several places and could be merged, the most space first.

        Files that are one already (hard links) count once. What cannot be read is left out.
        """
        files = [file for model in await self._library.models(every_format=True) for file in model.files]
        found = await in_background(lambda meter: _find(files, meter), on_progress)
        return sorted(found, key=lambda duplicate: duplicate.frees, reverse=True)

    async def merge(self, duplicate: Duplicate, on_progress: OnProgress | None = None) -> list[Merged]:
        """Make the copies on each disk one file with several names. Each pair is compared byte for byte first.

        Nothing raises for a single place that refuses; its problem is in the result. A place keeps its old
        file until the new name is in its stead.
        """
        by_disk: dict[int, list[Copy]] = {}
        for copy in duplicate.copies:
            by_disk.setdefault(copy.device, []).append(copy)
        groups = [copies for copies in by_disk.values() if len({copy.inode for copy in copies}) > 1]
        total = sum((len({copy.inode for copy in copies}) - 1) * duplicate.size for copies in groups)

        def work(meter: ThreadProgress) -> list[Merged]:
            return [_merge(duplicate, copies, meter) for copies in groups]

        try:
            merged = await in_background(work, on_progress, total=total)
        finally:
            self._library.forget_listing()
        models = await self._library.models(every_format=True)
        await asyncio.to_thread(_keep_states, [file for model in models for file in model.files], merged)
        self._library.forget_listing()
        return merged


def _keep_states(files: Sequence[LibraryFile], merged: Sequence[Merged]) -> None:
    """A joined file has the time of the one it became; what is known of its content still holds."""
    joined = {path: one.kept for one in merged for path in one.joined}
    for file in files:
        for part in file.parts:
            kept = joined.get(part.resolve())
            place = entry_place(file, part) if kept is not None else None
            if kept is None or place is None or place[1] not in sidecar.read(place[0]):
                continue
            with suppress(SlmDeskError, OSError):
                time_ns = kept.stat().st_mtime_ns

                def with_time(_: str, origin: Origin, time_ns: int = time_ns) -> Origin:
                    return replace(origin, modified_ns=time_ns if origin.modified_ns else 0)

                sidecar.change(place[0], [place[1]], with_time)


def _find(files: Iterable[LibraryFile], meter: ThreadProgress) -> list[Duplicate]:
    by_size: dict[int, list[Copy]] = {}
    for copy, size in _copies(files):
        by_size.setdefault(size, []).append(copy)
    candidates = [(size, copies) for size, copies in by_size.items() if _several(copies)]
    by_edges: list[tuple[int, list[Copy]]] = []
    for size, copies in candidates:
        meter.check()
        by_edges += [(size, same) for same in _split(copies, partial(_edges, size=size))]
    meter.total = sum(size * len({(c.device, c.inode) for c in copies}) for size, copies in by_edges)
    found: list[Duplicate] = []
    for size, copies in by_edges:
        meter.detail = copies[0].path.name
        hashes: dict[tuple[int, int], str] = {}
        same: dict[str, list[Copy]] = {}
        for copy in copies:
            key = (copy.device, copy.inode)
            if key not in hashes:
                with suppress(SlmDeskError):
                    hashes[key] = transfer.sha256(copy.path, meter)
            if key in hashes:
                same.setdefault(hashes[key], []).append(copy)
        found += [Duplicate(sha, size, tuple(group)) for sha, group in same.items() if _several(group)]
    return found


def _copies(files: Iterable[LibraryFile]) -> Iterable[tuple[Copy, int]]:
    seen: set[Path] = set()
    for file in files:
        for part in file.parts or (file.path,):
            try:
                real = part.resolve()
                status = real.stat()
            except OSError:
                continue
            if real in seen or status.st_size < _SMALLEST or file.shipped:
                continue
            seen.add(real)
            inode = status.st_ino or hash(real)
            yield Copy(file.id, real, status.st_dev, inode, file.in_place), status.st_size


def _several(copies: Sequence[Copy]) -> bool:
    return len({(copy.device, copy.inode) for copy in copies}) > 1


def _split(copies: Sequence[Copy], key_of: Callable[[Path], Hashable]) -> list[list[Copy]]:
    groups: dict[Hashable, list[Copy]] = {}
    for copy in copies:
        with suppress(OSError):
            groups.setdefault(key_of(copy.path), []).append(copy)
    return [group for group in groups.values() if _several(group)]


def _edges(path: Path, size: int) -> bytes:
    """A hash of the file's beginning and end."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.sha256(file.read(_EDGE))
        file.seek(max(0, size - _EDGE))
        digest.update(file.read(_EDGE))
    return digest.digest()


def _merge(duplicate: Duplicate, copies: Sequence[Copy], meter: ThreadProgress) -> Merged:
    # A file of our own is kept rather than another program's, which may be taken away by it.
    kept = min(copies, key=lambda copy: (copy.in_place, str(copy.path)))
    joined: list[Path] = []
    problems: list[SlmDeskError] = []
    freed: set[int] = set()
    for copy in copies:
        if copy.inode == kept.inode:
            continue
        meter.detail = copy.path.name
        try:
            _join(kept.path, copy.path, meter)
        except SlmDeskError as error:
            problems.append(error)
        else:
            joined.append(copy.path)
            freed.add(copy.inode)
    left = {copy.inode for copy in copies if copy.path not in joined}
    return Merged(
        duplicate.sha256, kept.path, tuple(joined), len(freed - left) * duplicate.size, tuple(problems)
    )


def _join(kept: Path, other: Path, meter: ThreadProgress) -> None:
    """Put a hard link to `kept` in the place of `other`."""
    if not transfer.same_content(kept, other, meter):
        raise SlmDeskError(
            "file_changed", f"{other} is not the same as {kept} any more.", "Look for duplicates again."
        )
    new = other.with_name(f".{other.name}{_JOINING}")
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        os.link(kept, new)
        new.replace(other)
        transfer.sync_folder(other.parent)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise transfer.linking_error(kept, other, error) from error


def duplicate_now(equal: Equal) -> Duplicate:
    """What was found, with disks and inodes as they are now; what is gone is left out.

    Raises `SlmDeskError("file_missing")` when fewer than two places are left.
    """
    copies: list[Copy] = []
    for copy in equal.copies:
        with suppress(OSError):
            status = copy.path.stat()
            inode = status.st_ino or hash(copy.path)
            copies.append(Copy(copy.id, copy.path, status.st_dev, inode, copy.in_place))
    if len(copies) < 2:
        raise SlmDeskError(
            "file_missing", "These files are not there any more.", "Look for duplicates again."
        )
    return Duplicate(equal.sha256, equal.size, tuple(copies))
