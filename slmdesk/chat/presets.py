"""Named presets: instructions, and ways of answering, to be taken in any conversation."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.core.database import Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.limits import SAMPLING
from slmdesk.inference.model_settings import ModelSettings

if TYPE_CHECKING:
    import sqlite3

    from slmdesk.core.database import Database

LONGEST_NAME = 80  # characters
ANSWER_VALUES = (*(setting.key for setting in SAMPLING), "max_tokens", "stop")
"""The settings of a model that a way of answering consists of."""

MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "chat-presets-1",
        """
        CREATE TABLE chat_presets (
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            kept_at REAL NOT NULL,
            PRIMARY KEY (kind, name)
        );
        """,
    ),
)

_Kind = Literal["instructions", "answers"]


@dataclass(frozen=True, slots=True)
class InstructionPreset:
    """Instructions by name."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerPreset:
    """A way of answering by name; what it leaves open is let go of where it is taken."""

    name: str
    values: ModelSettings

    @property
    def changes(self) -> dict[str, object]:
        """What it makes of a model's own settings; None lets go of one."""
        return {key: self.values.get(key) for key in ANSWER_VALUES}


class ChatPresets:
    """All of this user. Methods raise what `Database.run` raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def instructions(self) -> list[InstructionPreset]:
        """By name."""
        return [InstructionPreset(name, value) for name, value in await self._all("instructions")]

    async def answers(self) -> list[AnswerPreset]:
        """By name."""
        return [
            AnswerPreset(name, ModelSettings.from_json(json.loads(value)))
            for name, value in await self._all("answers")
        ]

    async def keep_instructions(self, name: str, text: str) -> InstructionPreset | None:
        """Keep these under a name. Returns those that had it before. Raises `preset_invalid`."""
        if not text.strip():
            raise SlmDeskError("preset_invalid", "There are no instructions to keep.", "Write some first.")
        before = await self._keep("instructions", name, text)
        return None if before is None else InstructionPreset(name, before)

    async def keep_answers(self, name: str, values: ModelSettings) -> AnswerPreset | None:
        """Keep a way of answering under a name; of `values` those that belong to one. Returns the one before.

        Raises `preset_invalid`.
        """
        kept = {key: value for key, value in values.to_json().items() if key in ANSWER_VALUES}
        if not kept:
            raise SlmDeskError(
                "preset_invalid",
                "Nothing is chosen for this model, so there is nothing to keep.",
                "Change a value first.",
            )
        before = await self._keep("answers", name, json.dumps(kept))
        return None if before is None else AnswerPreset(name, ModelSettings.from_json(json.loads(before)))

    async def remove_instructions(self, name: str) -> None:
        """Forget these; harmless where there are none of that name."""
        await self._remove("instructions", name)

    async def remove_answers(self, name: str) -> None:
        """Forget this one; harmless where there is none of that name."""
        await self._remove("answers", name)

    async def _all(self, kind: _Kind) -> list[tuple[str, str]]:
        def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            rows = connection.execute("SELECT name, value FROM chat_presets WHERE kind = ?", (kind,))
            return sorted(((row[0], row[1]) for row in rows), key=lambda one: one[0].casefold())

        return await self._database.read(read)

    async def _keep(self, kind: _Kind, name: str, value: str) -> str | None:
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME:
            raise SlmDeskError(
                "preset_invalid", "A preset needs a name.", f"Give it one of up to {LONGEST_NAME} characters."
            )

        def keep(connection: sqlite3.Connection) -> str | None:
            before = connection.execute(
                "SELECT value FROM chat_presets WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO chat_presets VALUES (?, ?, ?, ?)", (kind, name, value, time.time())
            )
            return str(before[0]) if before else None

        return await self._database.run(keep)

    async def _remove(self, kind: _Kind, name: str) -> None:
        await self._database.run(
            lambda c: c.execute("DELETE FROM chat_presets WHERE kind = ? AND name = ?", (kind, name))
        )
