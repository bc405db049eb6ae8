"""Messages of more than text: kept, migrated to, sent, exported."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from slmdesk.application import Application
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
    return without(path, "chat-3-message-parts", "chat-4-reasoning-apart", "chat-5-answer-rules")


def without(path: Path, *later: str) -> Database:
    """A database as it was before these migrations."""
    return Database(path, [migration for migration in MIGRATIONS if migration.name not in later])


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
    assert after["conversations"] == [{**row, "rules": "{}"} for row in before["conversations"]]
    assert after["drafts"] == before["drafts"]
    assert after["messages"] == [{**row, "parts": "[]"} for row in before["messages"]]
    stopped = new.run_sync(lambda c: store.get_message(c, 9))
    assert (stopped.text, stopped.reasoning) == ("It is…", "Hm.")
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


KEPT = [  # the text as it was kept, then what is read of it and what was thought
    ("<think>\nIt is Lyon?\n</think>\n\nIt is Paris.", "It is Paris.", "It is Lyon?"),
    ("<think>\nStill thin", "", "Still thin"),
    ("[THINK]Hm.[/THINK]Done.", "Done.", "Hm."),
    ("<|channel|>final<|message|>Just that.<|end|>", "Just that.", ""),
    ("A plain answer about <think>.", "A plain answer about <think>.", ""),
    ("<think>\n\n</think>\n\nAt once.", "At once.", ""),
]


def test_answers_kept_with_their_reasoning_are_told_apart(tmp_path: Path) -> None:
    """Bit by bit, and each is read as it should be from the first moment on; a stop in between loses nothing."""
    path = tmp_path / "slmdesk.db"
    old = without(path, "chat-4-reasoning-apart")

    def fill(connection: sqlite3.Connection) -> int:
        made = store.create_conversation(connection, "m", "").id
        asked = store.add_message(connection, made, None, "user", "<think>Where is it?</think>")
        for number in range(60):
            for text, _, _ in KEPT:
                connection.execute(
                    "INSERT INTO messages (conversation_id, parent_id, role, text, state, created_at)"
                    " VALUES (?, ?, 'assistant', ?, ?, 1.0)",
                    (made, asked.id, text, "streaming" if number == 59 else "complete"),
                )
        # The index as the present code fills it, and one row as older ones did.
        for row in connection.execute("SELECT id, text FROM messages WHERE state = 'complete'").fetchall():
            shown = {kept: visible for kept, visible, _ in KEPT}.get(row["text"], row["text"])
            connection.execute("DELETE FROM message_index WHERE rowid = ?", (row["id"],))
            connection.execute(
                "INSERT INTO message_index (rowid, text) VALUES (?, ?)",
                (row["id"], row["text"] if row["id"] == 2 else shown),
            )
        return made

    made = old.run_sync(fill)
    old.close()
    wanted = [(visible, thought) for _, visible, thought in KEPT] * 60

    def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
        tree = store.load_tree(connection, made)
        return [(message.text, message.reasoning) for message in tree.children(tree.path()[0].id)]

    def found(connection: sqlite3.Connection, words: str) -> int:
        return len(search.list_conversations(connection, words, 10))

    new = Database(path, MIGRATIONS)
    new.run_sync(lambda c: store.update_conversation(c, made, active_leaf=1))
    assert new.run_sync(read) == wanted
    rounds = 0
    while new.run_sync(lambda c: store.split_stored(c, 50)):
        rounds += 1
        assert new.run_sync(read) == wanted
        if rounds == 3:  # a process ends here, and the next goes on
            new.close()
            new = Database(path, MIGRATIONS)
    assert rounds == 8  # of 360 answers
    assert new.run_sync(store.marked_below) == 0
    assert new.run_sync(read) == wanted
    assert [row["text"] for row in new.run_sync(lambda c: rows(c, "messages"))[1:]] == [
        visible for visible, _ in wanted
    ]
    assert new.run_sync(lambda c: found(c, "Paris")) == 1
    assert new.run_sync(lambda c: found(c, "Lyon")) == 0
    assert new.run_sync(lambda c: store.get_message(c, 1)).text == "<think>Where is it?</think>"
    # Those that were being written are interrupted as ever, with what they had.
    assert new.run_sync(lambda c: store.interrupt_dead(c, lambda _id, _owner: False)) == len(KEPT)
    assert new.run_sync(read) == wanted
    # What is kept from here on is what it says.
    later = new.run_sync(lambda c: store.add_message(c, made, 1, "assistant", "<think> is a mark."))
    assert new.run_sync(lambda c: store.get_message(c, later.id)).text == "<think> is a mark."
    assert new.run_sync(store.split_stored) is False
    new.close()


async def test_the_chat_tells_them_apart_when_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "slmdesk.db"
    old = without(path, "chat-4-reasoning-apart")
    old.run_sync(lambda c: c.execute("INSERT INTO conversations (created_at, updated_at) VALUES (1, 1)"))
    old.run_sync(
        lambda c: c.executemany(
            "INSERT INTO messages (conversation_id, role, text, state, created_at)"
            " VALUES (1, 'assistant', ?, 'complete', 1)",
            [(text,) for text, _, _ in KEPT] * 50,
        )
    )
    old.close()
    application = Application.build({"SLMDESK_HOME": str(tmp_path)})
    try:
        await asyncio.to_thread(application.paths.database.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(path.rename, application.paths.database)
        await application.chats.open()
        while await application.database.read(store.marked_below):
            await asyncio.sleep(0)
        texts = await application.database.read(lambda c: [row["text"] for row in rows(c, "messages")])
        assert texts == [visible for _, visible, _ in KEPT] * 50
    finally:
        await application.close()


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
