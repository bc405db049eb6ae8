"""Messages of more than text: kept, migrated to, sent, exported."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from slmdesk.chat import export, search, store
from slmdesk.chat.request import build_turns
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Media, Reasoning, Text, ToolCall, ToolResult, Turn
from slmdesk.schema import MIGRATIONS

CALL = ToolCall("c1", "weather", '{"city": "Paris"}')
RESULT = ToolResult("c1", "21 °C")
THOUGHT = Reasoning("They want the weather.")


def rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]


def before_parts(path: Path) -> Database:
    """A database as versions without parts left it."""
    names = [migration.name for migration in MIGRATIONS]
    known = MIGRATIONS[: names.index("chat-3-message-parts")]
    return Database(path, (*known, *MIGRATIONS[len(known) + 1 :]))


async def test_a_stored_database_becomes_one_with_parts_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "slmdesk.db"
    old = before_parts(path)
    old.open()

    def fill(connection: sqlite3.Connection) -> dict[str, list[dict[str, Any]]]:
        connection.execute(
            "INSERT INTO conversations (id, title, model, created_at, updated_at, active_leaf, deleted_at)"
            " VALUES (4, 'A title', 'p/m', 1.5, 2.5, 9, NULL), (7, 'Gone', '', 1.0, 2.0, NULL, 3.0)"
        )
        columns = (
            "id, conversation_id, parent_id, role, text, state, model, created_at, finished_at, stats, error,"
        )
        columns += " owner"
        thought = "<think>Hm.</think>It is…"
        connection.executemany(
            f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (2, 4, None, "user", "What is a quant?", "complete", "", 1.0, 1.0, "{}", None, ""),
                (
                    9,
                    4,
                    2,
                    "assistant",
                    thought,
                    "stopped",
                    "p/m",
                    2.0,
                    3.0,
                    '{"a": 1}',
                    '{"code": "x"}',
                    "",
                ),
                (5, 4, 2, "assistant", "Another", "streaming", "p/m", 2.0, None, "{}", None, "12:3.5"),
                (11, 7, None, "user", "…", "complete", "", 1.0, 1.0, "{}", None, ""),
            ],
        )
        connection.execute("INSERT INTO message_index (rowid, text) VALUES (2, 'What is a quant?')")
        connection.execute("INSERT INTO drafts VALUES (0, 'half a thou', 1.0)")
        return {table: rows(connection, table) for table in ("conversations", "messages", "drafts")}

    before = old.run_sync(fill)
    old.close()
    new = Database(path, MIGRATIONS)
    new.open()
    after = new.run_sync(lambda c: {table: rows(c, table) for table in before})
    assert after["conversations"] == before["conversations"]
    assert after["drafts"] == before["drafts"]
    assert after["messages"] == [{**row, "parts": "[]"} for row in before["messages"]]
    assert await new.check() == []
    assert [row.id for row in new.run_sync(lambda c: search.list_conversations(c, "quant", 10))] == [4]
    tree = new.run_sync(lambda c: store.load_tree(c, 4))
    assert [message.id for message in tree.children(2)] == [5, 9]

    def go_on(connection: sqlite3.Connection) -> list[int]:
        """Ids go on behind the largest; what belongs to a conversation still goes with it."""
        added = store.add_message(connection, 4, 9, "tool", "21 °C", parts=(RESULT,))
        connection.execute("DELETE FROM conversations WHERE id = 7")
        return [added.id, *(row["id"] for row in rows(connection, "messages"))]

    assert new.run_sync(go_on) == [12, 2, 5, 9, 12]
    with pytest.raises(sqlite3.IntegrityError):
        new.run_sync(lambda c: c.execute("UPDATE messages SET role = 'nobody'"))
    new.close()


def conversation(connection: sqlite3.Connection) -> int:
    """A question with a picture, a call with its result, an answer."""
    made = store.create_conversation(connection, "m", "").id
    picture = Media("image", "image/png", b"\x89PNG")
    asked = store.add_message(connection, made, None, "user", "Where?", parts=(Text("Where?"), picture))
    called = store.add_message(connection, made, asked.id, "assistant", "", parts=(THOUGHT, CALL))
    told = store.add_message(connection, made, called.id, "tool", "21 °C", parts=(RESULT,))
    store.add_message(connection, made, told.id, "assistant", "It is 21 °C.")
    return made


def test_what_a_message_consists_of_is_kept_and_sent_without_the_thoughts(database: Database) -> None:
    made = database.run_sync(conversation)
    path = database.run_sync(lambda c: store.load_tree(c, made)).path()
    assert path[0].parts == (Text("Where?"), Media("image", "image/png", b"\x89PNG"))
    assert path[1].parts == (THOUGHT, CALL)
    assert build_turns("", path) == [
        Turn("user", path[0].parts),
        Turn("assistant", (CALL,)),
        Turn("tool", (RESULT,)),
        Turn.of("assistant", "It is 21 °C."),
    ]


def test_an_export_brings_the_parts_along(database: Database) -> None:
    made = database.run_sync(conversation)
    tree = database.run_sync(lambda c: store.load_tree(c, made))
    text = export.to_json(tree)
    again = database.run_sync(lambda c: store.load_tree(c, export.from_json(c, text)))
    assert [message.parts for message in again.path()] == [message.parts for message in tree.path()]
    spoiled = json.loads(text)
    spoiled["messages"][1]["parts"][1] = {"type": "tool_call", "id": 3}
    with pytest.raises(SlmDeskError) as caught:
        database.run_sync(lambda c: export.from_json(c, json.dumps(spoiled)))
    assert caught.value.code == "import_invalid"
