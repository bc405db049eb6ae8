"""Which file a model's name means to whoever asks.

A name that comes from the network opens what is in the library or was given to the service, and no other file: paths
are for our own front ends, which show the token.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.registry import KINDS

if TYPE_CHECKING:
    from slmdesk.library.created import CreatedModel, CreatedModels
    from slmdesk.library.library import Library, LibraryFile

_LONGEST = 512  # characters
_HUB = re.compile(r"^(https?://)?(www\.)?(hf\.co|huggingface\.co)/", re.IGNORECASE)


class ModelNames:
    """Of one service: the library's ids, and the models given on the command line."""

    def __init__(self, library: Library, created: CreatedModels | None = None) -> None:
        self._library = library
        self._created = created
        self._given: dict[str, LibraryFile] = {}
        self._stale: set[Path] = set()  # given files that were changed on the disk

    @property
    def given(self) -> dict[str, LibraryFile]:
        """The models given, each by the name that the API lists it by: its id, or its file's own name."""
        files = self._files()
        short = Counter(path.name for path in files)
        return {
            (path.name if _outside(file) and short[path.name] == 1 else file.id): file
            for path, file in files.items()
        }

    async def give(self, name: str) -> None:
        """Make a model (id or path) known to everybody by `name`, and where it is a path by its file's name.

        Raises what `Library.resolve` raises.
        """
        self._given[name] = await self._library.resolve(name)

    def is_given(self, file: LibraryFile) -> bool:
        """Whether it was given: then it stays loaded."""
        return any(file.path == other.path for other in self._given.values())

    async def find(self, name: str, *, trusted: bool) -> LibraryFile:
        """The file that `name` means to this caller. Raises `model_not_found`, `model_ambiguous` or the file's problem.

        That of a created model is its base's. With one model given, any other name of another program means that one:
        programs send names of their own.
        """
        created = await self.created(name)
        if created is not None:
            name, trusted = created.base, True
        if self._stale:
            await self._look_again()
        if (given := self._by_given_name(name)) is not None:
            return given
        if not sendable(name) or not (trusted or not is_path(name)):
            only = self._only() if not trusted and _plain(name) else None
            if only is not None:
                return only
            raise _unknown(name)
        try:
            file = await self._in_library(name)
        except SlmDeskError as error:
            if error.code != "model_not_found" or trusted or (only := self._only()) is None:
                raise
            return only
        if not trusted and _outside(file):  # it was the path of some file after all
            raise _unknown(name)
        if file.problem is not None and file.serves is None:
            raise file.problem
        return file

    async def created(self, name: str) -> CreatedModel | None:
        """The created model of this name. One of a file outside the library is there while that is given."""
        if self._created is None or not sendable(name):
            return None
        found = await self._created.named(name)
        return found if found is not None and self._usable(found) else None

    async def all_created(self) -> list[CreatedModel]:
        if self._created is None:
            return []
        return [model for model in await self._created.models() if self._usable(model)]

    def _usable(self, created: CreatedModel) -> bool:
        base = Path(created.base)
        return not base.is_absolute() or base in self._files()

    async def exactly(self, name: str) -> LibraryFile:
        """The model of the library that another program names, sound or not. Raises as `find` does."""
        if (given := self._by_given_name(name)) is not None:
            return given
        if not sendable(name) or is_path(name):
            raise _unknown(name)
        file = await self._in_library(name)
        if _outside(file):
            raise _unknown(name)
        return file

    async def _in_library(self, name: str) -> LibraryFile:
        """The file by its id, also as other programs write that: with the hub before it, or the tag “latest” behind."""
        try:
            return await self._library.resolve(name)
        except SlmDeskError as error:
            other = _HUB.sub("", name).removesuffix(":latest")
            if error.code != "model_not_found" or other == name or is_path(other):
                raise
            return await self._library.resolve(other)

    def changed(self, path: Path) -> None:
        """The file was changed on the disk: what is known of it is out of date."""
        self._stale.add(path)

    async def _look_again(self) -> None:
        for name, file in list(self._given.items()):
            if file.path in self._stale:
                self._given[name] = await self._library.resolve(name)
        self._stale.clear()

    def _by_given_name(self, name: str) -> LibraryFile | None:
        if name in self._given:
            return self._given[name]
        asked = name.casefold()
        meant = {
            file.path: file
            for given, file in self._given.items()
            if is_path(given) and asked in {file.path.name.casefold(), file.path.stem.casefold()}
        }
        return next(iter(meant.values())) if len(meant) == 1 else None

    def _only(self) -> LibraryFile | None:
        files = self._files()
        return next(iter(files.values())) if len(files) == 1 else None

    def _files(self) -> dict[Path, LibraryFile]:
        return {file.path: file for file in self._given.values()}


def sendable(name: str) -> bool:
    """Whether this can be the name of anything; a system would fail at others."""
    return 0 < len(name) <= _LONGEST and name.isprintable()


def is_path(name: str) -> bool:
    """Whether a name looks at the disk."""
    return (
        KINDS.runs(PurePath(name))
        or name.startswith(("/", ".", "~"))
        or "\\" in name
        or name[1:2] == ":"
        or ".." in PurePath(name).parts
    )


def _plain(name: str) -> bool:
    """A name that looks like a file's and leads to no folder."""
    return (
        sendable(name)
        and PurePath(name).name == name
        and not name.startswith((".", "~"))
        and "\\" not in name
    )


def _outside(file: LibraryFile) -> bool:
    return Path(file.id).is_absolute()


def _unknown(name: str) -> SlmDeskError:
    shown = name if len(name) <= 100 else f"{name[:100]}…"
    return SlmDeskError(
        "model_not_found",
        f"There is no model {shown!r}.",
        "Over the API a model is named by its library id, or by the name that the service was started with.",
    )
