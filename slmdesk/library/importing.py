"""Taking models into the library: used where they lie, copied, moved, or given a second name by a hard link."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.space import existing_parent
from slmdesk.formats.purpose import companion_named
from slmdesk.library import sidecar, transfer
from slmdesk.library.background import in_background
from slmdesk.library.names import check_model_id, safe_name
from slmdesk.library.sidecar import Origin
from slmdesk.library.sources import candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slmdesk.library.background import OnProgress, ThreadProgress
    from slmdesk.library.candidates import Candidate, SourceFile
    from slmdesk.library.library import Library
    from slmdesk.library.records import FileState, LibraryModel
    from slmdesk.library.sources import ImportSource

Mode = Literal["in-place", "copy", "move", "link"]
# Stores whose files belong to an index of their own: taking one away breaks the other program.
_NOT_MOVED = frozenset({"ollama", "hf-cache"})


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one candidate. `skipped`: it was in the library already; `written` bytes were copied."""

    id: str
    mode: Mode
    folder: Path | None = None
    files: tuple[str, ...] = ()
    written: int = 0
    skipped: bool = False
    problem: SlmDeskError | None = None
    notes: tuple[str, ...] = ()  # what its source did with it and we do not
    paths: tuple[str, ...] = ()  # where the files lie now

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "mode": self.mode,
            "folder": str(self.folder) if self.folder else "",
            "files": list(self.files),
            "written_bytes": self.written,
            "skipped": self.skipped,
            "problem": self.problem.to_json() if self.problem else None,
            "notes": list(self.notes),
            "paths": list(self.paths),
        }


class Importer:
    """Finds what could be imported, and imports it."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def find(self, source: ImportSource) -> list[Candidate]:
        """The models of a source; those the library has already say so in `inside`.

        Raises `SlmDeskError("import_nothing")` when the source cannot be read.
        """
        found = await asyncio.to_thread(candidates, source)
        known = await self._library.models(every_format=True)
        return await asyncio.to_thread(_marked, found, known)

    def target(self, candidate: Candidate, name: str = "") -> Path:
        """The folder a candidate gets in the first models folder. Raises `SlmDeskError("name_invalid")`."""
        publisher, called = (
            check_model_id(name) if name else (safe_name(candidate.publisher), safe_name(candidate.name))
        )
        return self._library.folders[0] / publisher / called

    def bytes_needed(self, chosen: Sequence[Candidate], mode: Mode) -> int:
        """Bytes that are written at most: all when copying, none when linking; moving across disks copies."""
        if mode in {"in-place", "link"}:
            return 0
        target = existing_parent(self._library.folders[0])
        files = [file for candidate in chosen if not candidate.inside for file in candidate.files]
        if mode == "copy":
            return sum(file.size for file in files)
        return sum(file.size for file in files if not _same_disk(file.path, target))

    async def take(
        self,
        chosen: Sequence[Candidate],
        mode: Mode = "in-place",
        *,
        name: str = "",
        on_progress: OnProgress | None = None,
        on_model: Callable[[Imported], None] | None = None,
    ) -> list[Imported]:
        """Import these; `name` (`publisher/name`) is for a single one. `on_model` is called in the thread.

        One that fails carries its problem and does not stop the others. Raises `SlmDeskError`: `name_invalid`,
        `import_one_name`, `disk_full` before anything is done. When it is cancelled, what is complete stays and
        nothing half is left behind.
        """
        if name and len(chosen) != 1:
            raise SlmDeskError(
                "import_one_name",
                f"There are {len(chosen)} models, and one name for them.",
                "Leave the name out, or import one of them.",
            )
        for candidate in chosen:
            self.target(candidate, name)
        transfer.require_room(self._library.folders[0], self.bytes_needed(chosen, mode))

        def work(meter: ThreadProgress) -> list[Imported]:
            meter.total = sum(candidate.size_bytes for candidate in chosen)
            done: list[Imported] = []
            for candidate in chosen:
                before = meter.done
                done.append(self._one(candidate, mode, name, meter))
                meter.done = before + candidate.size_bytes
                if on_model is not None:
                    on_model(done[-1])
            return done

        try:
            return await in_background(work, on_progress)
        finally:
            self._library.forget_listing()

    def _one(self, candidate: Candidate, mode: Mode, name: str, meter: ThreadProgress) -> Imported:
        home = self.target(candidate, name)
        model_id = f"{home.parent.name}/{home.name}"
        problem = candidate.problem
        if mode == "move" and candidate.source in _NOT_MOVED:
            problem = problem or SlmDeskError(
                "move_breaks_source",
                f"{candidate.title or candidate.id} belongs to another program, which would miss it.",
                "Use it in place, or copy or link it.",
            )
        if problem is not None:
            return Imported(model_id, mode, problem=problem)
        if candidate.inside:
            return Imported(candidate.inside, mode, skipped=True)
        try:
            if mode == "in-place":
                names = _remember(candidate, home)
                paths = tuple(str(file.path) for file in candidate.files)
                return Imported(model_id, mode, home, names, notes=candidate.notes, paths=paths)
            names, written = _bring(candidate, home, mode, meter)
        except SlmDeskError as error:
            return Imported(model_id, mode, home, problem=error)
        except OSError as error:
            return Imported(model_id, mode, home, problem=writing_error(home, error))
        return Imported(
            model_id,
            mode,
            home,
            names,
            written,
            skipped=not names,
            notes=candidate.notes,
            paths=tuple(str(home / name) for name in names),
        )


def _marked(found: list[Candidate], known: list[LibraryModel]) -> list[Candidate]:
    """With the id of the library's file where one lies at the same place, or tells the same hash."""
    places: dict[Path, str] = {}
    hashes: dict[str, str] = {}
    for model in known:
        for file in model.files:
            for path in (file.path, *file.parts):
                places[path.resolve()] = file.id
            hashes |= {origin.sha256: file.id for origin in file.origins if origin.sha256}
    marked: list[Candidate] = []
    for candidate in found:
        files = [file for file in candidate.files if not companion_named(file.name)]
        paths = [candidate.folder] if candidate.folder else [file.path for file in files]
        inside = [places.get(path.resolve(), "") for path in paths]
        if not all(inside):
            inside = [hashes.get(file.sha256, "") for file in files]
        marked.append(replace(candidate, inside=inside[0] if inside and all(inside) else ""))
    return marked


def _remember(candidate: Candidate, home: Path) -> tuple[str, ...]:
    """Write down where the files lie; nothing of theirs is touched."""
    there = sidecar.read(home)
    entries: dict[str, Origin] = {}
    if candidate.folder is not None:
        sums = {file.name: file.sha256 for file in candidate.files if file.sha256}
        origin = _origin(candidate, candidate.files[0]) if candidate.files else Origin()
        extra = {"format": candidate.format, **({"sha256s": sums} if sums else {})}
        path = str(candidate.folder)
        entries[safe_name(candidate.folder.name)] = replace(
            origin, path=path, size=-1, sha256="", extra=extra
        )
    else:
        for file in candidate.files:
            entries[safe_name(file.name)] = replace(_origin(candidate, file), path=str(file.path))
    for name, entry in entries.items():
        if (name in there and there[name].path != entry.path) or (home / name).exists():
            raise SlmDeskError(
                "file_exists",
                f"{home.parent.name}/{home.name} has another {name} already.",
                "Give the model another name.",
            )
    sidecar.record(home, entries)
    return tuple(entries)


def _bring(
    candidate: Candidate, home: Path, mode: Mode, meter: ThreadProgress
) -> tuple[tuple[str, ...], int]:
    """Copy, move or link the files into `home`, each with its entry; their names, and bytes copied.

    A file that is there already with the same content is left alone.
    """
    names: list[str] = []
    written = 0
    for file in candidate.files:
        meter.detail = file.name
        target = home / safe_name(file.name)
        if target.exists() and target.stat().st_size == file.size:
            done = meter.done
            if transfer.same_content(file.path, target, meter):
                continue
            meter.done = done
        digest, count = _transfer(file, target, mode, meter)
        entry = _origin(candidate, file)
        state: FileState = "verified" if digest and digest == file.sha256 else "unverified"
        sidecar.record(
            home,
            {
                target.name: replace(
                    entry,
                    state=state,
                    sha256=file.sha256 or digest,
                    published=bool(file.sha256),
                    modified_ns=target.stat().st_mtime_ns,
                    checked_at=round(time.time(), 3) if digest else 0.0,
                )
            },
        )
        names.append(target.name)
        written += count
    return tuple(names), written


def _transfer(file: SourceFile, target: Path, mode: Mode, meter: ThreadProgress) -> tuple[str, int]:
    """The hash where the content was read, and how many bytes were copied."""
    if mode == "copy":
        return transfer.copy(file.path, target, meter, expected=file.sha256), file.size
    if mode == "link":
        transfer.hard_link(file.path, target)
        meter.advance(file.size)
        return "", 0
    if file.path.is_symlink():
        raise SlmDeskError(
            "move_of_link",
            f"{file.path} is only a link to another file.",
            "Copy it, or move the file itself.",
        )
    same = _same_disk(file.path, existing_parent(target.parent))
    transfer.move(file.path, target, meter)
    return "", 0 if same else file.size


def _origin(candidate: Candidate, file: SourceFile) -> Origin:
    return Origin(
        size=file.size,
        sha256=file.sha256,
        repo=file.repo,
        revision=file.revision,
        licence=candidate.licence,
        published=bool(file.sha256),
        source=candidate.source,
        extra={candidate.source: dict(candidate.settings)} if candidate.settings else {},
    )


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False
