"""Models that a person made of others by saying how they are to be run: a name, the model it stands for, and what is
done otherwise with it. Kept in the database; no weights are copied.

A removed one stays in its row until it is brought back, or another one takes its name.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slmdesk.core.database import Database, Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.loading import ScaledAdapter
from slmdesk.inference.model_settings import NOTHING, ModelSettings
from slmdesk.inference.wire import converted, plain

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from slmdesk.inference.asks import Role
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile

_log = logging.getLogger(__name__)

LATEST = ":latest"
"""The tag of a name that is said without one, as Ollama has it."""
_NAME = re.compile(r"[a-z0-9][\w.-]{0,79}(/[a-z0-9][\w.-]{0,79}){0,2}(:\w[\w.-]{0,79})?", re.ASCII)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "library.created.1",
        """
        CREATE TABLE created_models (
            key TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            base TEXT NOT NULL,
            facts TEXT NOT NULL,
            created_at REAL NOT NULL,
            removed_at REAL
        );
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class CreatedModel:
    """A model made of another one. Times are seconds since 1970.

    Attributes:
        name: with its tag, as in “pirate:latest”.
        base: the library id of the file that answers, or its path where it lies outside.
        settings: what it is loaded and asked with; goes before what is kept for the file.
        template: its chat template in Go's form, "" for the file's own.
        messages: what each conversation begins with: role (system, user, assistant) and text.
        adapters: files (LoRA) that change what the model computes.
        unused: what was said of it that has no counterpart here, by name.
    """

    name: str
    base: str
    settings: ModelSettings = NOTHING
    template: str = ""
    messages: tuple[tuple[Role, str], ...] = ()
    adapters: tuple[ScaledAdapter, ...] = ()
    licence: str = ""
    unused: tuple[str, ...] = ()
    created_at: float = 0.0

    @property
    def loaded_otherwise(self) -> bool:
        """Whether it needs an engine of its own, as the file's would not do."""
        return bool(self.template or self.adapters or self.settings.loading)


class CreatedModels:
    """All of one user. Methods that change something raise what `Database.run` raises."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library
        self._models: dict[str, CreatedModel] = {}
        self._stamp: tuple[tuple[int, int], ...] = ()

    async def named(self, name: str) -> CreatedModel | None:
        """The one of this name, which capitals and “:latest” make no other one. Mostly two looks at the disk."""
        await self._look()
        return self._models.get(_key(name))

    async def models(self) -> list[CreatedModel]:
        """All of them, by name."""
        await self._look()
        return [self._models[key] for key in sorted(self._models)]

    async def create(self, model: CreatedModel, *, given: bool = False) -> CreatedModel:
        """Keep a model under its name, in place of one that was created under it before.

        `given`: its base may lie outside the library, as a person gave it to the service that asks.

        Raises `name_invalid`; `duplicate` where a model of the library has that name; `model_not_found` and
        `outside_library` for its base.
        """
        name = checked_name(model.name)
        await self._refuse_taken(name)
        base = await self._library.resolve(model.base)
        if not given:
            _refuse_outside(base)
        kept = replace(model, name=name, base=base.id, created_at=time.time())
        facts = json.dumps(_to_json(kept))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO created_models VALUES (?, ?, ?, ?, ?, NULL)",
                (_key(name), name, kept.base, facts, kept.created_at),
            )

        await self._database.run(write)
        self._models = {**self._models, _key(name): kept}
        return kept

    async def copy(self, source: str, name: str, *, given: bool = False) -> CreatedModel:
        """The same under another name; of a model of the library one that stands for it. Raises as `create` does."""
        known = await self.named(source)
        if known is not None:
            return await self.create(replace(known, name=name), given=given)
        file = await self._library.resolve(source)
        return await self.create(CreatedModel(name, file.id), given=given)

    async def remove(self, name: str) -> CreatedModel:
        """Take one away; `bring_back` undoes that. Raises `model_not_found`."""
        known = await self.named(name)
        if known is None:
            raise _unknown(name)
        await self._mark(known.name, time.time())
        self._models = {key: model for key, model in self._models.items() if key != _key(name)}
        return known

    async def bring_back(self, name: str) -> CreatedModel:
        """Undo a removal. Raises `undo_gone` where there is none of this name, and `duplicate`."""
        await self._refuse_taken(checked_name(name))
        if not await self._mark(name, None):
            raise SlmDeskError(
                "undo_gone",
                f"No created model {name!r} was removed.",
                "Create it anew.",
            )
        self._stamp = ()
        found = await self.named(name)
        if found is None:
            raise _unknown(name)
        return found

    async def forget(self, names: Sequence[str], older_s: float) -> list[tuple[float, CreatedModel]]:
        """Give up removed ones: these, or without names all that were removed so long ago; what was given up."""
        keys = {_key(name) for name in names}
        gone = [
            (at, model)
            for at, model in await self.removed()
            if (_key(model.name) in keys if names else time.time() - at >= older_s)
        ]

        def write(connection: sqlite3.Connection) -> None:
            for _, model in gone:
                connection.execute(
                    "DELETE FROM created_models WHERE key = ? AND removed_at IS NOT NULL", (_key(model.name),)
                )

        if gone:
            await self._database.run(write)
        return gone

    async def removed(self) -> list[tuple[float, CreatedModel]]:
        """What can be brought back, the latest first, with the time of its removal."""
        if not self._seen():
            return []  # there is no database yet

        def read(connection: sqlite3.Connection) -> list[tuple[float, CreatedModel]]:
            rows = connection.execute(
                "SELECT * FROM created_models WHERE removed_at IS NOT NULL ORDER BY removed_at DESC"
            )
            return [(row["removed_at"], _from_row(row)) for row in rows]

        try:
            return await self._database.read(read)
        except SlmDeskError as error:
            _log.warning("removed models are not looked up: %s", error)
            return []

    async def _mark(self, name: str, removed_at: float | None) -> bool:
        """Whether there was such a row in the other state."""
        was = "NOT NULL" if removed_at is None else "NULL"

        def write(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(
                f"UPDATE created_models SET removed_at = ? WHERE key = ? AND removed_at IS {was}",  # noqa: S608
                (removed_at, _key(name)),
            )
            return changed.rowcount > 0

        return await self._database.run(write)

    async def _refuse_taken(self, name: str) -> None:
        asked = {name.casefold(), name.casefold().removesuffix(LATEST)}
        for model in await self._library.models(every_format=True):
            taken = {model.id.casefold(), *(file.id.casefold() for file in model.files)} & asked
            if taken:
                raise SlmDeskError(
                    "duplicate",
                    f"There is a model {model.id} in the library already.",
                    "Choose another name, as in my-" + model.id.rpartition("/")[2] + ".",
                )

    async def _look(self) -> None:
        """Read the rows where the database was written to since."""
        stamp = self._seen()
        if stamp == self._stamp:
            return
        if not stamp:
            self._models, self._stamp = {}, stamp
            return

        def read(connection: sqlite3.Connection) -> dict[str, CreatedModel]:
            rows = connection.execute("SELECT * FROM created_models WHERE removed_at IS NULL")
            return {row["key"]: _from_row(row) for row in rows}

        try:
            self._models = await self._database.read(read)
        except SlmDeskError as error:  # models of the library answer without it
            _log.warning("created models are not looked up: %s", error)
        self._stamp = stamp

    def _seen(self) -> tuple[tuple[int, int], ...]:
        """Sizes and times of the database's files; empty where there is none yet."""
        found = []
        for path in (self._database.path, self._database.path.with_name(f"{self._database.path.name}-wal")):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_size))
        return tuple(found)


def checked_name(text: str) -> str:
    """A name with its tag. Raises `SlmDeskError("name_invalid")`."""
    name = text.strip()
    if not _NAME.fullmatch(name.casefold()) or name.casefold().endswith(".gguf") or ".." in name:
        raise SlmDeskError(
            "name_invalid",
            f"{text[:100]!r} is no name for a model.",
            "Names look like name, name:tag or publisher/name:tag: letters, digits, - _ and .",
        )
    return name if ":" in name else name + LATEST


def _key(name: str) -> str:
    key = name.strip().casefold()
    return key if ":" in key.rpartition("/")[2] else key + LATEST


def _refuse_outside(file: LibraryFile) -> None:
    if file.home is None and not file.shipped:
        raise SlmDeskError(
            "outside_library",
            f"{file.path.name} lies in no models folder.",
            "Import it first, with “slmdesk import” or the Library tab.",
        )


def _unknown(name: str) -> SlmDeskError:
    return SlmDeskError(
        "model_not_found", f"No model {name!r} was created.", "The list of models shows them."
    )


def _to_json(model: CreatedModel) -> dict[str, Any]:
    return {
        "settings": model.settings.to_json(),
        "template": model.template,
        "messages": [list(message) for message in model.messages],
        "adapters": [plain(adapter) for adapter in model.adapters],
        "licence": model.licence,
        "unused": list(model.unused),
    }


def _from_row(row: sqlite3.Row) -> CreatedModel:
    facts: Mapping[str, Any] = json.loads(row["facts"])
    return CreatedModel(
        name=row["name"],
        base=row["base"],
        settings=ModelSettings.from_json(facts.get("settings")),
        template=str(facts.get("template", "")),
        messages=tuple((role, str(text)) for role, text in facts.get("messages", ())),
        adapters=tuple(converted(entry, ScaledAdapter) for entry in facts.get("adapters", ())),
        licence=str(facts.get("licence", "")),
        unused=tuple(map(str, facts.get("unused", ()))),
        created_at=row["created_at"],
    )
