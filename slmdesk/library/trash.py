"""Removing models so that it can be undone, on every system alike.

What is removed first moves into `.slmdesk-trash` in the same models folder: one rename, which undo turns back
exactly, sidecar entries included. After a while (`GRACE_S`), or at once when asked, it is handed over to the
system's own trash, from where the system's file manager restores it. The space is free when that is emptied.
A model used in place is only forgotten: its file belongs to another program and stays.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write, writing_error
from slmdesk.formats.gguf import read_header
from slmdesk.formats.purpose import companion_kind
from slmdesk.library import sidecar
from slmdesk.library.verify import entry_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.library.created import CreatedModel, CreatedModels
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile

FOLDER = ".slmdesk-trash"
GRACE_S = 600.0
_NOTE = "removed.json"
# What publishers put beside a model.
_SUPPORT = re.compile(
    r"(?i)^(README|LICEN[CS]E|NOTICE|USE_POLICY|MODEL_CARD)\b.*$|^\.gitattributes$"
    r"|^(config|generation_config|genai_config|tokenizer.*|special_tokens_map|added_tokens|vocab|merges|params|tekken"
    r"|preprocessor_config|processor_config|chat_template|.*\.index)\.(json|txt|jinja|model)$"
)
_CREATED = "created:"  # how the keys of created models begin; no folder is called so
_MONTH_S = 30 * 24 * 3600.0
_BUSY = {errno.EACCES, errno.EBUSY, errno.EPERM, errno.ETXTBSY}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removed:
    """One removal that can still be undone. `key` names it; `size_bytes` is what its files take."""

    key: str
    folders: tuple[Path, ...]  # in the trash, one for each models folder
    title: str
    file_ids: tuple[str, ...]
    size_bytes: int
    removed_at: float  # seconds since 1970
    forgotten: int = 0  # files used in place, which stay where they are

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "title": self.title,
            "ids": list(self.file_ids),
            "size_bytes": self.size_bytes,
            "removed_at": self.removed_at,
            "forgotten": self.forgotten,
        }


class Trash:
    """Removes files of the library, brings them back, and hands them to the system's trash."""

    def __init__(self, library: Library, created: CreatedModels | None = None) -> None:
        """`created`: models made of others, whose removals are brought back here too."""
        self._library = library
        self._created = created

    async def remove_created(self, name: str) -> Removed:
        """Remove a created model; the file that it stands for stays. Raises `model_not_found`."""
        assert self._created is not None
        gone = await self._created.remove(name)
        return _of_created(gone, time.time())

    async def remove(self, files: Sequence[LibraryFile], title: str = "") -> Removed:
        """Remove these files; all of them or none. What else lies in a model's folder goes when no model is left, and
        what came with the program stays where there is something else to remove.

        Raises `SlmDeskError`: built_in_stays, outside_library, file_in_use, folder_missing, file_unwritable.
        """
        wanted = [file for file in files if not file.shipped] or list(files)
        for file in wanted:
            _refuse(file)
        try:
            return await asyncio.to_thread(self._remove, wanted, title)
        finally:
            self._library.forget_listing()

    async def undo(self, key: str) -> Removed:
        """Bring a removal back. Raises `undo_gone` when it was handed over already, `file_exists`, …"""
        if self._created is not None and key.startswith(_CREATED):
            return _of_created(await self._created.bring_back(key.removeprefix(_CREATED)), time.time())
        try:
            return await asyncio.to_thread(self._undo, key)
        finally:
            self._library.forget_listing()

    async def removed(self) -> list[Removed]:
        """What can still be brought back, the latest first."""
        found = await asyncio.to_thread(self._listed)
        if self._created is not None:
            found += [_of_created(model, at) for at, model in await self._created.removed()]
        return sorted(found, key=lambda removed: removed.removed_at, reverse=True)

    async def hand_over(self, *keys: str, older_s: float = GRACE_S, forever: bool = False) -> list[Removed]:
        """Give removals to the system's trash: these, or without keys all that are older than `older_s` seconds.

        `forever` deletes them instead. Returns what went. Raises `trash_unavailable` where the system has no
        trash for that disk; it then stays where it is and can still be undone. No system's trash takes created models:
        they are forgotten when they are named or everything is handed over, else after a month.
        """
        gone = await asyncio.to_thread(self._hand_over, keys, older_s, forever)
        if self._created is not None:
            names = [key.removeprefix(_CREATED) for key in keys if key.startswith(_CREATED)]
            if names or not keys:
                forgotten = await self._created.forget(names, max(older_s, _MONTH_S) if older_s else 0)
                gone += [_of_created(model, at) for at, model in forgotten]
        return gone

    def _remove(self, files: list[LibraryFile], title: str) -> Removed:
        by_root: dict[Path, list[LibraryFile]] = {}
        for file in files:
            by_root.setdefault(_root_of(file, self._library.folders), []).append(file)
        now = time.time()
        key = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{os.urandom(2).hex()}"
        done: list[tuple[Path, Path]] = []
        try:
            for root, there in by_root.items():
                place = root / FOLDER / key
                _take_away(there, root, place, title or files[0].id, now)
                done.append((root, place))
        except SlmDeskError:
            for root, place in done:
                _bring_back(root, place)
            raise
        for file in files:
            _remove_empty(file.home, _root_of(file, self._library.folders))
        return _joined([removed for _, place in done if (removed := _read(place))])

    def _undo(self, key: str) -> Removed:
        found = [(root, root / FOLDER / key) for root in self._library.folders]
        parts = [(root, place, removed) for root, place in found if (removed := _read(place))]
        if not parts or "/" in key or key.startswith("."):
            raise SlmDeskError(
                "undo_gone",
                "This removal cannot be undone here any more.",
                "Look into the trash of your system, and put the files back from there.",
            )
        for root, place, _ in parts:
            _bring_back(root, place)
        return _joined([removed for _, _, removed in parts])

    def _listed(self) -> list[Removed]:
        by_key: dict[str, list[Removed]] = {}
        for root in self._library.folders:
            for place in _places(root):
                if (removed := _read(place)) is not None:
                    by_key.setdefault(removed.key, []).append(removed)
        return sorted(map(_joined, by_key.values()), key=lambda removed: removed.removed_at, reverse=True)

    def _hand_over(self, keys: Sequence[str], older_s: float, forever: bool) -> list[Removed]:
        now = time.time()
        gone: list[Removed] = []
        for removed in self._listed():
            if removed.key in keys if keys else now - removed.removed_at >= older_s:
                for place in removed.folders:
                    if not forever:
                        _to_system(place.parent.parent, place, removed.title)
                    _discard(place)
                gone.append(removed)
        return gone


def _of_created(model: CreatedModel, at: float) -> Removed:
    return Removed(_CREATED + model.name, (), model.name, (model.name,), 0, at)


def _take_away(files: list[LibraryFile], root: Path, place: Path, title: str, now: float) -> None:
    """Move what these files are made of into the trash, with a note of what was where; all or nothing."""
    entries, moves, forgotten = _plan(files, root)
    moves += _leftovers(files, moves, root)
    note = {
        "title": title,
        "ids": [file.id for file in files],
        "removed_at": now,
        "forgotten": forgotten,
        "entries": [
            [folder.relative_to(root).as_posix(), name, data] for (folder, name), data in entries.items()
        ],
        "moves": [path.relative_to(root).as_posix() for path in moves],
    }
    atomic_write(place / _NOTE, json.dumps(note, indent=1))
    try:
        for path in moves:
            target = place / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        for folder, name in entries:
            sidecar.forget(folder, [name])
    except (OSError, SlmDeskError) as error:
        _bring_back(root, place)
        raise error if isinstance(error, SlmDeskError) else _moving_error(files[0].path, error) from error


def _bring_back(root: Path, place: Path) -> None:
    """Put everything back where it was; one that was cut off is finished by the next."""
    note = json.loads((place / _NOTE).read_text("utf-8"))
    pairs = [(place / relative, root / relative) for relative in note["moves"]]
    taken = next((path for there, path in pairs if there.exists() and path.exists()), None)
    if taken is not None:
        raise SlmDeskError("file_exists", f"{taken} is there again.", "Remove it first, then undo.")
    try:
        for there, path in pairs:
            if there.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                there.rename(path)
    except OSError as error:
        raise writing_error(root, error) from error
    _restore_entries(root, note["entries"])
    _discard(place)


def _refuse(file: LibraryFile) -> None:
    if file.home is None:
        if file.shipped:
            name = "Desk Guide" if file.shipped == "guide" else "The starter"
            raise SlmDeskError("built_in_stays", f"{name} is part of SLM Desk and stays.", "")
        raise SlmDeskError(
            "outside_library",
            f"{file.path} is not in a models folder; SLM Desk does not remove it.",
            "Remove it with your file manager.",
        )
    if file.problem is not None and file.problem.code == "folder_missing":
        raise file.problem


def _plan(
    files: Sequence[LibraryFile], root: Path
) -> tuple[dict[tuple[Path, str], dict[str, Any]], list[Path], int]:
    """Sidecar entries to take out (with what they say), files to move, and how many are only forgotten."""
    entries: dict[tuple[Path, str], dict[str, Any]] = {}
    moves: list[Path] = []
    forgotten = 0
    for file in files:
        forgotten += file.in_place
        for part in file.parts or (file.path,):
            where = entry_place(file, part)
            if where is not None and (origin := sidecar.read(where[0]).get(where[1])) is not None:
                entries[where] = origin.to_json()
            if not file.in_place and root in part.parents and part.exists():
                moves.append(part)
    return entries, list(dict.fromkeys(moves)), forgotten


def _leftovers(files: Sequence[LibraryFile], moves: Sequence[Path], root: Path) -> list[Path]:
    """What goes with models of which no file stays: what was downloaded with them, cards, licences, tokenizers, and
    the files that only go with a model.

    Anything else may be a person's own: a models folder can be any folder, their documents too. Of a file that lies
    in no `publisher/name` only what was downloaded with it goes.
    """
    found: list[Path] = []
    for home in {file.home for file in files if file.home is not None}:
        if not home.is_dir() or all(file.home != home or file.in_place for file in files):
            continue
        own = home.parent != root and root in home.parents
        rest = [path for path in home.rglob("*") if path.is_file() and path not in moves]
        origins = sidecar.read(home)
        downloaded = {home / name for name, origin in origins.items() if not origin.path}
        kept = any(origin.path for origin in origins.values())
        if not kept and not any(_is_model(path) for path in rest):
            found += [path for path in rest if path in downloaded or (own and _goes_along(path))]
    return found


def _is_model(path: Path) -> bool:
    """Whether the folder is kept for this file."""
    return path.suffix.lower() in {".gguf", ".safetensors", ".onnx"} and not _companion(path)


def _goes_along(path: Path) -> bool:
    return bool(_SUPPORT.match(path.name)) or _companion(path)


def _companion(path: Path) -> bool:
    """Whether it only goes with a model, as a projector does."""
    if path.suffix.lower() != ".gguf":
        return False
    try:
        return companion_kind(read_header(path)) is not None
    except SlmDeskError:
        return path.name.lower().startswith("mmproj")


def _restore_entries(root: Path, entries: Iterable[list[Any]]) -> None:
    for folder, name, data in entries:
        try:
            sidecar.record(root / folder, sidecar.parse({name: data}))
        except SlmDeskError as error:
            _log.warning("the origin of %s is not known any more: %s", name, error.message)


def _root_of(file: LibraryFile, roots: Sequence[Path]) -> Path:
    home = file.home
    assert home is not None
    return max(
        (root for root in roots if root == home or root in home.parents), key=lambda root: len(root.parts)
    )


def _remove_empty(folder: Path | None, root: Path) -> None:
    while folder is not None and folder != root and root in folder.parents:
        for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                below.rmdir()
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _places(root: Path) -> list[Path]:
    try:
        return [path for path in (root / FOLDER).iterdir() if path.is_dir()]
    except OSError:
        return []


def _read(place: Path) -> Removed | None:
    try:
        note = json.loads((place / _NOTE).read_text("utf-8"))
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and path.name != _NOTE)
        return Removed(
            place.name,
            (place,),
            str(note["title"]),
            tuple(map(str, note["ids"])),
            size,
            float(note["removed_at"]),
            int(note["forgotten"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _joined(parts: list[Removed]) -> Removed:
    """One removal that touched several models folders."""
    return replace(
        parts[0],
        folders=tuple(folder for part in parts for folder in part.folders),
        file_ids=tuple(name for part in parts for name in part.file_ids),
        size_bytes=sum(part.size_bytes for part in parts),
        forgotten=sum(part.forgotten for part in parts),
    )


def _discard(place: Path) -> None:
    """The emptied folder of a removal, and the trash's own when it was the last."""
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        place.parent.rmdir()


def _to_system(root: Path, place: Path, title: str) -> None:
    """Hand over from the place where it lay, so that the system's own "restore" puts it there again."""
    import send2trash
    from send2trash.exceptions import TrashPermissionError

    for there, path in _units(root, place):
        sent = there
        try:
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                sent = there.rename(path)
            send2trash.send2trash(str(sent))
        except (OSError, TrashPermissionError) as error:
            if sent != there and sent.exists():
                sent.rename(there)
            raise SlmDeskError(
                "trash_unavailable",
                f"The system's trash does not take {title}: {error}.",
                "Delete it for good, or undo the removal.",
            ) from error
        finally:
            _remove_empty(path.parent, root)


def _units(root: Path, place: Path) -> list[tuple[Path, Path]]:
    """What is handed over as one: a model's folder where nothing of it stayed, otherwise file by file."""
    units: dict[Path, Path] = {}
    for file in [path for path in place.rglob("*") if path.is_file() and path.name != _NOTE]:
        relative = file.relative_to(place)
        home = Path(*relative.parts[:2])
        whole = len(relative.parts) > 2 and not (root / home).exists()
        unit = home if whole else relative
        units[place / unit] = root / unit
    return list(units.items())


def _moving_error(path: Path, error: OSError) -> SlmDeskError:
    if os.name == "nt" and (error.errno in _BUSY or getattr(error, "winerror", None) == 32):
        return SlmDeskError(
            "file_in_use",
            f"{path.name} is in use.",
            "Unload the model, or close what uses it, and try again.",
        )
    return writing_error(path, error)
