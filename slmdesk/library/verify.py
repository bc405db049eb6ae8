"""Is each file still, byte for byte, what it should be? Told by its SHA-256, without any network."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import sidecar, transfer
from slmdesk.library.background import in_background
from slmdesk.library.sidecar import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.library.background import OnProgress, ThreadProgress
    from slmdesk.library.library import Library
    from slmdesk.library.records import FileState, LibraryFile

# Problems that are known without reading the content.
_KNOWN_BEFORE: frozenset[ErrorCode] = frozenset({"hash_wrong", "model_not_chat"})


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What verifying found for one file, or one part of a split one.

    `expected` is the hash it should have, "" where nobody told one; `published` whether the source of the file
    told it, not only an earlier look of ours. `unkept` says why the finding could not be written down.
    """

    file_id: str
    path: Path
    size_bytes: int
    state: FileState
    sha256: str = ""
    expected: str = ""
    published: bool = False
    problem: SlmDeskError | None = None
    unkept: SlmDeskError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.file_id,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "state": self.state,
            "sha256": self.sha256,
            "expected": self.expected,
            "published": self.published,
            "problem": self.problem.to_json() if self.problem else None,
        }


@dataclass(frozen=True, slots=True)
class _Part:
    file: LibraryFile
    path: Path
    size: int
    origin: Origin
    place: tuple[Path, str] | None  # of its sidecar entry


class Verifier:
    """Hashes files of the library and writes their states down."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def verify(
        self,
        files: Sequence[LibraryFile],
        on_progress: OnProgress | None = None,
        on_file: Callable[[FileCheck], None] | None = None,
    ) -> list[FileCheck]:
        """Check these files, part by part; `on_file` is called in the working thread as each is known.

        A file nobody published a hash of gets its hash taken down the first time and stays unverified; from
        then on it is known when its content changes by itself. Cancelling ends within a block of bytes; what
        was found until then is kept. Nothing raises for a bad file: its check says what is wrong.
        """

        def work(meter: ThreadProgress) -> list[FileCheck]:
            parts = [part for file in files for part in _parts(file)]
            meter.total = sum(part.size for part in parts)
            checks: list[FileCheck] = []
            for part in parts:
                before = meter.done
                check = _checked(part, meter)
                meter.done = before + part.size
                checks.append(check)
                if part.file.shipped == "starter" and check.sha256:
                    self._library.keep_starter(part.file, check.sha256)
                if on_file is not None:
                    on_file(check)
            return checks

        try:
            return await in_background(work, on_progress)
        finally:
            self._library.forget_listing()


def entry_place(
    file: LibraryFile, part: Path, read: Callable[[Path], Mapping[str, Origin]] = sidecar.read
) -> tuple[Path, str] | None:
    """The folder of the sidecar that tells of this part, and the part's name in it; None outside of the library, unless
    one lies beside the part, as with quants that were written elsewhere.

    Where no sidecar tells of it yet, the model's own will. `read` gives a folder's entries.
    """
    if file.home is None:
        return (part.parent, part.name) if part.name in read(part.parent) else None
    if file.in_place:
        return file.home, file.name if len(file.parts) == 1 or file.format != "gguf" else part.name
    folder, name = part.parent, part.name
    while True:
        if name in read(folder):
            return folder, name
        if folder == file.home or file.home not in folder.parents:
            return file.home, part.relative_to(file.home).as_posix()
        folder, name = folder.parent, f"{folder.name}/{name}"


def _parts(file: LibraryFile) -> list[_Part]:
    found: list[_Part] = []
    for part in file.parts or (file.path,):
        place = entry_place(file, part)
        origin = sidecar.read(place[0]).get(place[1], Origin()) if place else _known_of(file, part)
        if file.in_place and file.format != "gguf":
            sums = origin.extra.get("sha256s")
            known = sums.get(part.name, "") if isinstance(sums, dict) else ""
            origin = replace(origin, size=-1, sha256=known if isinstance(known, str) else "")
        try:
            size = part.stat().st_size
        except OSError:
            size = 0
        found.append(_Part(file, part, size, origin, place))
    return found


def _known_of(file: LibraryFile, part: Path) -> Origin:
    """What is known of a file outside of the models folders."""
    return file.origins[0] if file.shipped and file.origins and file.origins[0].sha256 else _beside(part)


def _beside(path: Path) -> Origin:
    """The hash that a SHA256SUMS file beside the file tells, as the built-in model has one."""
    try:
        lines = (path.parent / "SHA256SUMS").read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return Origin()
    for line in lines:
        digest, _, name = line.partition(" ")
        if name.lstrip(" *") == path.name:
            return Origin(sha256=digest.lower())
    return Origin()


def _checked(part: _Part, meter: ThreadProgress) -> FileCheck:
    meter.detail = part.path.name
    origin = part.origin
    base = FileCheck(
        part.file.id,
        part.path,
        part.size,
        "damaged",
        "",
        origin.sha256,
        bool(origin.sha256) and origin.published,
    )
    problem = part.file.problem
    if problem is not None and problem.code not in _KNOWN_BEFORE:
        # A missing part, a header cut off: no hash can make that good.
        return replace(base, state=part.file.state, problem=problem)
    try:
        before = part.path.stat()
        digest = transfer.sha256(part.path, meter)
        after = part.path.stat()
    except SlmDeskError as error:
        return replace(base, problem=error)
    except OSError as error:
        missing = SlmDeskError(
            "file_missing", f"{part.path} is not there: {error.strerror or error}.", "Download it again."
        )
        return replace(base, problem=missing)
    if before.st_mtime_ns != after.st_mtime_ns:
        changing = SlmDeskError(
            "file_changed",
            f"{part.path} changed while it was read.",
            "Verify it again when nothing writes to it.",
        )
        return replace(base, state="unverified", sha256=digest, problem=changing)
    found = _judged(origin, digest, after.st_mtime_ns)
    unkept = _keep(part, found, digest)
    wrong = None
    if found.state == "damaged":
        wrong = SlmDeskError(
            "hash_wrong",
            f"The content of {part.path.name} is not what it should be: its SHA-256 differs.",
            "Download it again.",
            details=f"expected {origin.sha256}\nfound    {digest}",
        )
    return replace(base, state=found.state, sha256=digest, problem=wrong, unkept=unkept)


def _judged(origin: Origin, digest: str, time_ns: int) -> Origin:
    """The entry as it is after the content was found to have this hash."""
    checked = replace(origin, checked_at=round(time.time(), 3), modified_ns=time_ns)
    if digest == origin.sha256:
        if not origin.published:
            return replace(checked, state="unverified")
        state: FileState = "changed upstream" if origin.state == "changed upstream" else "verified"
        return replace(checked, state=state)
    if not origin.sha256 or (not origin.published and time_ns != origin.modified_ns):
        # The first look, or a file of the person's own that they replaced.
        return replace(checked, state="unverified", sha256=digest, published=False)
    return replace(checked, state="damaged")


def _keep(part: _Part, found: Origin, digest: str) -> SlmDeskError | None:
    """Write the finding into the sidecar; what went wrong with that."""
    if part.place is None:
        return None
    folder, name = part.place
    whole_folder = part.file.in_place and part.file.format != "gguf"

    def entry(_: str, now: Origin) -> Origin:
        if not whole_folder:
            return replace(found, size=part.size if found.state != "damaged" else now.size, extra=now.extra)
        sums = now.extra.get("sha256s")
        sums = {**(sums if isinstance(sums, dict) else {})}
        sums.setdefault(part.path.name, digest)
        earlier: FileState = "unverified" if part.path == part.file.parts[0] else now.state
        worst: FileState = "damaged" if found.state == "damaged" else earlier
        return replace(now, state=worst, checked_at=found.checked_at, extra={**now.extra, "sha256s": sums})

    try:
        sidecar.change(folder, [name], entry)
    except SlmDeskError as error:
        return error
    return None
