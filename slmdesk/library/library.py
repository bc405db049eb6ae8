"""The models on this machine's disks, and what a person means by a model's name."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.library import scan
from slmdesk.library.find import find, preferred, with_id
from slmdesk.library.index import Index
from slmdesk.library.kept import KeptSettings
from slmdesk.library.names import split_part
from slmdesk.library.records import FileState, LibraryFile, LibraryModel
from slmdesk.library.shipped import BUILT_IN, STARTER, Shipped, with_starter

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings
    from slmdesk.library.index import HeaderFacts

__all__ = ["BUILT_IN", "STARTER", "FileState", "Library", "LibraryFile", "LibraryModel"]

_FRESH_S = 2.0  # a listing this young answers `resolve` without looking at the disks again


class Library:
    """Lists and finds models. Headers are read once for each file; nothing else of a file is.

    Attributes:
        kept: what a person wants of each model.
    """

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self._paths = paths
        self._settings = settings
        self._index = Index(paths.data / "library.json")
        self._lock = threading.Lock()
        self._models: list[LibraryModel] = []
        self._listed_at: float | None = None
        self._problems: list[SlmDeskError] = []
        self._shipped = Shipped(paths, self._index)
        self.kept = KeptSettings(paths.data)

    @property
    def own_folder(self) -> Path:
        """The program's own models folder, which need not be there yet, nor be among `folders`."""
        return self._paths.models

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

    @property
    def usual_model(self) -> str:
        """The id of the model that new chats begin with: the setting's, else the starter, else Desk Guide."""
        chosen: str = self._settings.get("chat.model").strip()
        return chosen or (STARTER if self._shipped.starter_usable() else BUILT_IN)

    async def check_starter(self) -> bool:
        """Check the starter's content unless that was done before; whether something new is known of it now."""
        found = await asyncio.to_thread(self._shipped.check_starter)
        if found:
            self.forget_listing()
        return found

    def keep_starter(self, file: LibraryFile, digest: str) -> None:
        """Remember the SHA-256 that the starter was found to have; blocking."""
        self._shipped.keep_starter(file.path, digest)

    async def missing_folders(self) -> list[SlmDeskError]:
        """A problem for each models folder that is not there now; their models are not looked at."""
        return await asyncio.to_thread(self._missing)

    async def models(self, *, every_format: bool = False) -> list[LibraryModel]:
        """The models an engine runs, the built-in one first; `every_format` adds safetensors and ONNX folders.

        A damaged file is listed with its problem; nothing raises.
        """
        models = await asyncio.to_thread(self._list)
        return models if every_format else _running(models)

    async def resolve(self, ref: str, *, every_format: bool = False) -> LibraryFile:
        """The file that `publisher/name`, `publisher/name:QUANT`, a model's name alone or a path means.

        Of several quants the healthy one that suits most people is taken; a safetensors or ONNX folder only
        with `every_format` and when there is nothing else or it is named (`publisher/name:safetensors`). The
        file may have a `problem`. Raises `model_not_found` (close matches in the hint), `model_ambiguous`, or
        `model_not_runnable` for a folder without `every_format`.
        """
        file = await asyncio.to_thread(self._resolve, ref.strip())
        if not every_format and not file.runs:
            raise SlmDeskError(
                "model_not_runnable",
                f"{file.id} is here as {file.format} only, which is not run directly.",
                "Make a GGUF of it: slmdesk quantize, or the Quantize tab.",
            )
        return file

    async def model(self, ref: str) -> LibraryModel:
        """The model `ref` names, with all its files. Raises as `resolve` does."""
        file = await self.resolve(ref, every_format=True)
        for model in await self.models(every_format=True):
            if any(known.id == file.id for known in model.files):
                return model
        return LibraryModel(file.id, file.name, "", (file,))

    async def files(self, ref: str) -> list[LibraryFile]:
        """All files of a model, or the one file that `ref` names (`publisher/name:QUANT`, a path), of any format.

        Raises as `resolve` does.
        """
        file = await self.resolve(ref, every_format=True)
        wanted = ref.strip().casefold()
        for model in await self.models(every_format=True):
            names = {model.id.casefold(), model.name.casefold(), model.id.partition("/")[2].casefold()}
            if wanted in names and any(known.id == file.id for known in model.files):
                return list(model.files)
        return [file]

    def facts(self, path: Path, *, whole: bool = True) -> HeaderFacts:
        """What the header of any GGUF file says; blocking. Raises `OSError` when it is not there."""
        return self._index.facts(path, whole=whole)

    def forget_listing(self) -> None:
        """The next question looks at the disks again: something was just changed there."""
        with self._lock:
            self._listed_at = None

    def _resolve(self, ref: str) -> LibraryFile:
        if ref == BUILT_IN or ref.startswith(BUILT_IN + ":"):
            # Without the other folders: one on a sleeping share must not keep the built-in model waiting.
            built_in = self._shipped.guide()
            if built_in is not None and ref in {BUILT_IN, built_in.files[0].id}:
                return built_in.files[0]
        if ref == STARTER or ref.startswith(STARTER + ":"):
            starter = self._shipped.starter()
            if starter is not None and starter.problem is None and ref in {STARTER, starter.id}:
                return starter
        models, fresh = self._listing()
        if (listed := with_id(models, ref)) is not None:
            return listed  # before a path of that name: a listed id means its file from wherever it is said
        path = _existing(ref)
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
            files = [file for model in scan.below(path, self._index, depth=0) for file in model.files]
            if not files:
                raise SlmDeskError(
                    "model_not_found", f"There is no model in {path}.", "Name a GGUF file or its folder."
                )
            file = preferred(files)
            return replace(file, id=str(file.path))
        together = [p for p in _siblings(path) if p.is_file()] or [path]
        items = [
            scan.Item(part.name, part, self._index.facts(part, whole=number == 0))
            for number, part in enumerate(together)
        ]
        return replace(scan.make_file(items), id=str(path))

    def _list(self) -> list[LibraryModel]:
        with self._lock:
            problems: list[SlmDeskError] = []
            seen: set[Path] = set()  # one models folder may lie inside another
            merged: dict[str, LibraryModel] = {}
            folders = self.folders
            for folder in folders:
                for model in self._below(folder, problems):
                    kept = model
                    if len(folders) > 1:
                        files = [file for file in model.files if file.in_place or file.path not in seen]
                        seen.update(file.path for file in files)
                        files = [*(merged[model.id].files if model.id in merged else ()), *files]
                        kept = scan.model_with(model.publisher, model.name, files)
                    if kept.files and kept.id != BUILT_IN:
                        merged[kept.id] = kept
            starter = self._shipped.starter()
            if starter is not None:
                merged[STARTER] = with_starter(merged, starter)
            listed = [merged[model_id] for model_id in sorted(merged, key=str.casefold)]
            built_in = self._shipped.guide()
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
            return scan.below(folder, self._index)
        except FileNotFoundError:
            if folder == self._paths.models and not any(self._index.below(folder)):
                return []  # made with the first download
            return self._remembered(folder, "is not there", problems)
        except OSError as error:
            return self._remembered(folder, f"cannot be read ({error.strerror or error})", problems)

    def _missing(self) -> list[SlmDeskError]:
        found: list[SlmDeskError] = []
        for folder in self.folders:
            try:
                with os.scandir(folder):
                    continue
            except FileNotFoundError:
                if folder != self._paths.models:
                    found.append(_folder_missing(folder, "is not there"))
            except OSError as error:
                found.append(_folder_missing(folder, f"cannot be read ({error.strerror or error})"))
        return found

    def _remembered(self, folder: Path, what: str, problems: list[SlmDeskError]) -> list[LibraryModel]:
        problem = _folder_missing(folder, what)
        problems.append(problem)
        return scan.remembered(folder, self._index, problem)


def _folder_missing(folder: Path, what: str) -> SlmDeskError:
    return SlmDeskError(
        "folder_missing",
        f"The models folder {folder} {what}.",
        "Connect its disk or network share, or take the folder out of the settings.",
    )


def _running(models: list[LibraryModel]) -> list[LibraryModel]:
    kept: list[LibraryModel] = []
    for model in models:
        files = tuple(file for file in model.files if file.runs)
        if files:
            kept.append(model if len(files) == len(model.files) else replace(model, files=files))
    return kept


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
