"""The models on this machine's disks, and what a person means by a model's name."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import scan
from slmdesk.library.find import find, preferred
from slmdesk.library.index import Index
from slmdesk.library.names import split_part
from slmdesk.library.records import FileState, LibraryFile, LibraryModel

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings

__all__ = ["BUILT_IN", "FileState", "Library", "LibraryFile", "LibraryModel"]

BUILT_IN = "slmdesk/desk-guide"
_FRESH_S = 2.0  # a listing this young answers `resolve` without looking at the disks again


class Library:
    """Lists and finds models. Headers are read once for each file; nothing else of a file is."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self._paths = paths
        self._settings = settings
        self._index = Index(paths.data / "library.json")
        self._lock = threading.Lock()
        self._models: list[LibraryModel] = []
        self._listed_at: float | None = None
        self._problems: list[SlmDeskError] = []
        self._built_in_state: tuple[tuple[int, int], FileState] | None = None

    @property
    def folders(self) -> list[Path]:
        """The models folders; new models go to the first one."""
        chosen: str = self._settings.get("library.folders")
        folders = [Path(part.strip()).expanduser() for part in chosen.split(os.pathsep) if part.strip()]
        return list(dict.fromkeys(folder.absolute() for folder in folders)) or [self._paths.models]

    @property
    def problems(self) -> list[SlmDeskError]:
        """What was wrong with whole folders when the models were last listed."""
        return list(self._problems)

    async def models(self) -> list[LibraryModel]:
        """All models, the built-in one first. A damaged file is listed with its problem; nothing raises."""
        return await asyncio.to_thread(self._list)

    async def resolve(self, ref: str) -> LibraryFile:
        """The file that `publisher/name`, `publisher/name:QUANT`, a model's name alone or a path means.

        Of several quants the healthy one that suits most people is taken. The file may have a `problem`.
        Raises `model_not_found` (close matches in the hint) or `model_ambiguous`.
        """
        return await asyncio.to_thread(self._resolve, ref.strip())

    def _resolve(self, ref: str) -> LibraryFile:
        if ref == BUILT_IN or ref.startswith(BUILT_IN + ":"):
            # Without the other folders: one on a sleeping share must not keep the built-in model waiting.
            built_in = self._built_in()
            if built_in is not None and ref in {BUILT_IN, built_in.files[0].id}:
                return built_in.files[0]
        path = _existing(ref)
        models, fresh = self._listing()
        try:
            return find(models, ref) if path is None else self._at(models, path)
        except SlmDeskError:
            if fresh or path is not None:
                raise
        return find(self._list(), ref)

    def _listing(self) -> tuple[list[LibraryModel], bool]:
        """The models, and whether they were listed just now."""
        with self._lock:
            young = self._listed_at is not None and time.monotonic() - self._listed_at < _FRESH_S
            if young:
                return self._models, False
        return self._list(), True

    def _at(self, models: list[LibraryModel], path: Path) -> LibraryFile:
        """The file at a path: the library's own where it is one, otherwise by itself."""
        real = path.resolve()
        for model in models:
            for file in model.files:
                if any(part == path or part.resolve() == real for part in file.parts):
                    return file
        if path.is_dir():
            below = scan.models_below(path, scan.gguf_files(path, depth=0), self._index)
            files = [file for model in below for file in model.files]
            if not files:
                raise SlmDeskError(
                    "model_not_found", f"There is no GGUF file in {path}.", "Name a GGUF file."
                )
            file = preferred(files)
            return replace(file, id=str(file.path))
        together = [p for p in _siblings(path) if p.is_file()] or [path]
        whole = {part: self._index.facts(part, whole=number == 0) for number, part in enumerate(together)}
        return scan.make_file(str(path), whole, {})

    def _list(self) -> list[LibraryModel]:
        with self._lock:
            problems: list[SlmDeskError] = []
            seen: set[Path] = set()  # one models folder may lie inside another
            merged: dict[str, list[LibraryFile]] = {}
            publishers: dict[str, tuple[str, str]] = {}
            for folder in self.folders:
                for model in self._below(folder, problems):
                    files = [file for file in model.files if file.path not in seen]
                    seen.update(file.path for file in files)
                    if files:
                        publishers[model.id] = (model.publisher, model.name)
                        merged.setdefault(model.id, []).extend(files)
            listed = [
                scan.model_with(*publishers[model_id], merged[model_id])
                for model_id in sorted(merged, key=str.casefold)
                if model_id != BUILT_IN
            ]
            built_in = self._built_in()
            if built_in is None:
                problems.append(
                    SlmDeskError(
                        "built_in_missing",
                        "The built-in model Desk Guide is not where it should be.",
                        "Install SLM Desk again.",
                        details=str(self._paths.builtin_model),
                    )
                )
            self._index.save()
            self._problems = problems
            self._models = [*([built_in] if built_in else []), *listed]
            self._listed_at = time.monotonic()
            return self._models

    def _below(self, folder: Path, problems: list[SlmDeskError]) -> list[LibraryModel]:
        try:
            paths = scan.gguf_files(folder)
        except FileNotFoundError:
            if folder == self._paths.models and not self._index.below(folder):
                return []  # made with the first download
            return self._remembered(folder, "is not there", problems)
        except OSError as error:
            return self._remembered(folder, f"cannot be read ({error.strerror or error})", problems)
        self._index.keep_only(set(paths), folder)
        return scan.models_below(folder, paths, self._index)

    def _remembered(self, folder: Path, what: str, problems: list[SlmDeskError]) -> list[LibraryModel]:
        problem = SlmDeskError(
            "folder_missing",
            f"The models folder {folder} {what}.",
            "Connect its disk or network share, or take the folder out of the settings.",
        )
        problems.append(problem)
        return scan.group(folder, self._index.below(folder), problem)

    def _built_in(self) -> LibraryModel | None:
        path = self._paths.builtin_model
        try:
            facts = self._index.facts(path, whole=True)
        except OSError:
            return None
        made = scan.make_file("", {path: facts}, {})
        if made.problem is None:
            made = replace(made, state=self._checked(path, (facts.size, facts.time_ns)))
        publisher = BUILT_IN.partition("/")[0]
        return LibraryModel(BUILT_IN, "Desk Guide", publisher, tuple(scan.with_ids(BUILT_IN, [made])), True)

    def _checked(self, path: Path, version: tuple[int, int]) -> FileState:
        """Whether the built-in file is the one that was shipped, by the checksum beside it."""
        if self._built_in_state is None or self._built_in_state[0] != version:
            state: FileState = "verified" if _matches_checksum(path) else "unverified"
            self._built_in_state = (version, state)
        return self._built_in_state[1]


def _existing(ref: str) -> Path | None:
    """`ref` as a path, where it can only be one or there is a file of that name."""
    if not ref or "\0" in ref:
        return None
    path = Path(ref).expanduser()
    certain = path.is_absolute() or ref.startswith((".", "~")) or "\\" in ref
    try:
        there = path.is_file() or (certain and path.is_dir())
    except OSError:
        there = False
    if there:
        return path.absolute()
    if certain:
        raise SlmDeskError("model_not_found", f"There is no file {path}.", "Check the path.")
    return None


def _siblings(path: Path) -> list[Path]:
    """All parts of the split file that `path` is the first part of; none for an ordinary file."""
    split = split_part(path.stem)
    if split is None:
        return []
    stem, _, count = split
    return [
        path.with_name(f"{stem}-{n:05}-of-{count:05}{path.suffix}") for n in range(1, min(count, 9999) + 1)
    ]


def _matches_checksum(path: Path) -> bool:
    try:
        lines = (path.parent / "SHA256SUMS").read_text("utf-8").splitlines()
        wanted = {
            name.lstrip(" *"): digest.lower() for digest, _, name in (line.partition(" ") for line in lines)
        }
        with path.open("rb") as file:
            return wanted.get(path.name) == hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, UnicodeDecodeError):
        return False
