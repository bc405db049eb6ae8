"""Conversations in SQLite: every function takes a connection that is inside a transaction.

What was typed is committed before anything is done with it. An answer is a row in state `streaming` that names
the process writing it, so that the next start can tell a crash from an answer still running.
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from slmdesk.chat.rules import NO_RULES, AnswerRules
from slmdesk.chat.tree import Conversation, ConversationTree, Message, MessageRole, MessageState
from slmdesk.core.database import Migration
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.reasoning import split
from slmdesk.inference.asks import Part
from slmdesk.inference.wire import decoded, encoded
from slmdesk.tools.selection import NO_TOOLS, ToolSelection

if TYPE_CHECKING:
    from collections.abc import Callable

_TABLES = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    system_prompt TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    active_leaf INTEGER,
    deleted_at REAL
);
CREATE INDEX conversations_by_date ON conversations (updated_at DESC);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent_id INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    text TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('complete', 'streaming', 'stopped', 'interrupted', 'failed')),
    model TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    finished_at REAL,
    stats TEXT NOT NULL DEFAULT '{}',
    error TEXT,
    owner TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_by_conversation ON messages (conversation_id);
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming';
CREATE TABLE drafts (
    conversation_id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    saved_at REAL NOT NULL
);
"""

PARTS = tuple[Part, ...]
"""What the column `parts` holds, as JSON."""

_CONVERSATION = "id, title, model, system_prompt, created_at, updated_at, active_leaf, rules, tools"
_MESSAGE = (
    "id, conversation_id, parent_id, role, text, state, model, created_at, finished_at, stats, error, parts"
)


def _create_index(connection: sqlite3.Connection) -> None:
    # Trigrams find any part of a word in any script. A SQLite without FTS5 searches with LIKE instead.
    try:
        connection.execute("CREATE VIRTUAL TABLE message_index USING fts5 (text, tokenize = 'trigram')")
    except sqlite3.OperationalError:
        return


# A constraint cannot be changed in place. Nothing but messages themselves refers to messages by a foreign key.
_PARTS = """
CREATE TABLE messages_with_parts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent_id INTEGER REFERENCES messages_with_parts (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'tool')),
    text TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('complete', 'streaming', 'stopped', 'interrupted', 'failed')),
    model TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    finished_at REAL,
    stats TEXT NOT NULL DEFAULT '{}',
    error TEXT,
    owner TEXT NOT NULL DEFAULT '',
    parts TEXT NOT NULL DEFAULT '[]'
);
INSERT INTO messages_with_parts
    (id, conversation_id, parent_id, role, text, state, model, created_at, finished_at, stats, error, owner)
    SELECT id, conversation_id, parent_id, role, text, state, model, created_at, finished_at, stats, error, owner
    FROM messages ORDER BY id;
DROP TABLE messages;
ALTER TABLE messages_with_parts RENAME TO messages;
CREATE INDEX messages_by_conversation ON messages (conversation_id);
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming';
"""

# Answers kept before hold their reasoning in the text, in the model's own marks. Telling it apart takes a large
# database long, so it is done afterwards and bit by bit (`split_stored`); until then each is told apart when read.
_TO_SPLIT = """
CREATE TABLE answers_to_split (below INTEGER NOT NULL);
INSERT INTO answers_to_split SELECT id + 1 FROM messages WHERE role = 'assistant' ORDER BY id DESC LIMIT 1;
"""

_RULES = "ALTER TABLE conversations ADD COLUMN rules TEXT NOT NULL DEFAULT '{}'"

_ORDER = """
ALTER TABLE conversations ADD COLUMN pinned_at REAL;
ALTER TABLE conversations ADD COLUMN folder TEXT NOT NULL DEFAULT '';
"""

MIGRATIONS: tuple[Migration, ...] = (
    Migration("chat-1-conversations", _TABLES),
    Migration("chat-2-message-index", _create_index),
    Migration("chat-3-message-parts", _PARTS),
    Migration("chat-4-reasoning-apart", _TO_SPLIT),
    Migration("chat-5-answer-rules", _RULES),
    Migration("chat-6-tools", "ALTER TABLE conversations ADD COLUMN tools TEXT NOT NULL DEFAULT '{}'"),
    Migration("chat-7-order", _ORDER),
)


def index_available(connection: sqlite3.Connection) -> bool:
    """Whether the full-text index is there and this SQLite can use it."""
    (present,) = connection.execute(
        "SELECT sqlite_compileoption_used('ENABLE_FTS5') AND EXISTS"
        " (SELECT 1 FROM sqlite_master WHERE name = 'message_index')"
    ).fetchone()
    return bool(present)


def _index(connection: sqlite3.Connection, message_id: int, text: str) -> None:
    if index_available(connection):
        known = connection.execute("SELECT text FROM message_index WHERE rowid = ?", (message_id,)).fetchone()
        if known is not None and known[0] == text:
            return
        connection.execute("DELETE FROM message_index WHERE rowid = ?", (message_id,))
        connection.execute("INSERT INTO message_index (rowid, text) VALUES (?, ?)", (message_id, text))


def _conversation(row: sqlite3.Row) -> Conversation:
    values = dict(row)
    values["rules"] = decoded(row["rules"], AnswerRules)
    values["tools"] = decoded(row["tools"], ToolSelection)
    return Conversation(**values)


def _message(row: sqlite3.Row, marked_below: int) -> Message:
    values = dict(row)
    values["stats"] = json.loads(row["stats"])
    values["error"] = json.loads(row["error"]) if row["error"] else None
    values["parts"] = decoded(row["parts"], PARTS)
    if row["id"] < marked_below and row["role"] == "assistant" and not values["parts"]:
        told = split(row["text"])
        values["text"], values["parts"] = told.visible, told.parts
    return Message(**values)


def marked_below(connection: sqlite3.Connection) -> int:
    """Answers with an id below this may hold reasoning in their text; 0: none does."""
    row = connection.execute("SELECT below FROM answers_to_split").fetchone()
    return row[0] if row else 0


def split_stored(connection: sqlite3.Connection, most: int = 100) -> bool:
    """Tell reasoning and text apart in some of the answers that are kept with both in one. False: none is left."""
    rows = connection.execute(
        "SELECT id, text, state, parts FROM messages WHERE role = 'assistant' AND id < ? ORDER BY id DESC LIMIT ?",
        (marked_below(connection), most),
    ).fetchall()
    connection.execute("DELETE FROM answers_to_split")
    if not rows:
        return False
    for message_id, text, state, parts in rows:
        told = split(text)
        if parts != "[]" or (told.visible == text and not told.parts):
            continue
        save_answer(connection, message_id, told.visible, told.parts)
        if state != "streaming":
            _index(connection, message_id, told.visible)
    connection.execute("INSERT INTO answers_to_split VALUES (?)", (rows[-1]["id"],))
    return True


def create_conversation(
    connection: sqlite3.Connection,
    model: str,
    system_prompt: str,
    rules: AnswerRules = NO_RULES,
    tools: ToolSelection = NO_TOOLS,
) -> Conversation:
    """A new, empty conversation."""
    now = time.time()
    cursor = connection.execute(
        "INSERT INTO conversations (model, system_prompt, created_at, updated_at, rules, tools)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (model, system_prompt, now, now, encoded(rules).decode(), encoded(tools).decode()),
    )
    assert cursor.lastrowid is not None
    return Conversation(cursor.lastrowid, "", model, system_prompt, now, now, None, rules, tools)


def set_tools(connection: sqlite3.Connection, conversation_id: int, tools: ToolSelection) -> None:
    """Change what a conversation may use. Raises `conversation_not_found`."""
    update_conversation(connection, conversation_id, tools=encoded(tools).decode())


def get_conversation(connection: sqlite3.Connection, conversation_id: int) -> Conversation:
    """One conversation, deleted or not. Raises `conversation_not_found`."""
    row = connection.execute(
        f"SELECT {_CONVERSATION} FROM conversations WHERE id = ?",  # noqa: S608  (our own column list)
        (conversation_id,),
    ).fetchone()
    if row is None:
        raise SlmDeskError(
            "conversation_not_found",
            f"There is no conversation {conversation_id}.",
            "It may have been deleted in another window; choose another one.",
        )
    return _conversation(row)


def update_conversation(connection: sqlite3.Connection, conversation_id: int, **changes: Any) -> None:
    """Set columns of a conversation. Raises `conversation_not_found`."""
    get_conversation(connection, conversation_id)
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(
        f"UPDATE conversations SET {columns} WHERE id = ?",  # noqa: S608  (names are keyword arguments)
        (*changes.values(), conversation_id),
    )


def get_message(connection: sqlite3.Connection, message_id: int) -> Message:
    """One message. Raises `message_not_found`."""
    row = connection.execute(
        f"SELECT {_MESSAGE} FROM messages WHERE id = ?",  # noqa: S608  (our own column list)
        (message_id,),
    ).fetchone()
    if row is None:
        raise SlmDeskError(
            "message_not_found",
            f"There is no message {message_id}.",
            "Its conversation may have been deleted in another window; open it again.",
        )
    return _message(row, marked_below(connection))


def load_tree(connection: sqlite3.Connection, conversation_id: int) -> ConversationTree:
    """A conversation with all its messages. Raises `conversation_not_found`."""
    conversation = get_conversation(connection, conversation_id)
    rows = connection.execute(
        f"SELECT {_MESSAGE} FROM messages WHERE conversation_id = ? ORDER BY id",  # noqa: S608
        (conversation_id,),
    )
    below = marked_below(connection)
    return ConversationTree(conversation, (_message(row, below) for row in rows))


def add_message(
    connection: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    role: MessageRole,
    text: str,
    *,
    state: MessageState = "complete",
    model: str = "",
    owner: str = "",
    parts: tuple[Part, ...] = (),
    stats: dict[str, Any] | None = None,
) -> Message:
    """Append a message and make it the end of the active path."""
    now = time.time()
    finished = None if state == "streaming" else now
    cursor = connection.execute(
        "INSERT INTO messages (conversation_id, parent_id, role, text, state, model, created_at, finished_at,"
        " owner, parts, stats) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(conversation_id, parent_id, role, text, state, model, now, finished, owner),
            encoded(parts).decode(),
            json.dumps(stats or {}),
        ),
    )
    message_id = cursor.lastrowid
    assert message_id is not None
    if state != "streaming":
        _index(connection, message_id, text)
    connection.execute(
        "UPDATE conversations SET active_leaf = ?, updated_at = ? WHERE id = ?",
        (message_id, now, conversation_id),
    )
    return Message(
        *(message_id, conversation_id, parent_id, role, text, state, model, now, finished),
        stats=stats or {},
        parts=parts,
    )


def save_answer(
    connection: sqlite3.Connection, message_id: int, text: str, parts: tuple[Part, ...] = ()
) -> None:
    """Keep what an answer holds so far."""
    connection.execute(
        "UPDATE messages SET text = ?, parts = ? WHERE id = ?",
        (text, encoded(parts).decode(), message_id),
    )


def reopen_message(connection: sqlite3.Connection, message_id: int, owner: str) -> Message:
    """Put a finished answer back into state `streaming`, to be continued."""
    connection.execute(
        "UPDATE messages SET state = 'streaming', owner = ?, finished_at = NULL, error = NULL WHERE id = ?",
        (owner, message_id),
    )
    return get_message(connection, message_id)


def finish_message(
    connection: sqlite3.Connection,
    message_id: int,
    text: str,
    state: MessageState,
    *,
    parts: tuple[Part, ...] = (),
    stats: dict[str, Any],
    error: dict[str, str] | None,
) -> Message:
    """Write the end of an answer."""
    save_answer(connection, message_id, text, parts)
    connection.execute(
        "UPDATE messages SET state = ?, stats = ?, error = ?, finished_at = ?, owner = '' WHERE id = ?",
        (state, json.dumps(stats), json.dumps(error) if error else None, time.time(), message_id),
    )
    _index(connection, message_id, text)
    return get_message(connection, message_id)


def set_imported(
    connection: sqlite3.Connection,
    message_id: int,
    *,
    created_at: float,
    finished_at: float | None,
    stats: dict[str, Any],
    error: dict[str, str] | None,
) -> None:
    """Give a message that came from a file the times and details it had there."""
    connection.execute(
        "UPDATE messages SET created_at = ?, finished_at = ?, stats = ?, error = ? WHERE id = ?",
        (created_at, finished_at, json.dumps(stats), json.dumps(error) if error else None, message_id),
    )


def interrupt_dead(connection: sqlite3.Connection, alive: Callable[[int, str], bool]) -> int:
    """Mark answers `interrupted` where `alive(message id, owner)` says that nobody writes them any more.

    Returns how many there were.
    """
    rows = connection.execute("SELECT id, owner FROM messages WHERE state = 'streaming'").fetchall()
    error = SlmDeskError(
        "answer_interrupted",
        "The program ended while this answer was being written.",
        "Continue the answer, or regenerate it.",
    ).to_json()
    dead = [get_message(connection, message_id) for message_id, owner in rows if not alive(message_id, owner)]
    for answer in dead:
        finish_message(
            connection,
            answer.id,
            answer.text,
            "interrupted",
            parts=answer.parts,
            stats=answer.stats,
            error=error,
        )
    return len(dead)


def purge(connection: sqlite3.Connection, deleted_before: float, empty_before: float) -> int:
    """Remove for good what was deleted before one moment, and what stayed empty since before another."""
    doomed = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM conversations WHERE deleted_at < ? OR (created_at < ?"
            " AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation_id = conversations.id)"
            " AND NOT EXISTS (SELECT 1 FROM drafts WHERE conversation_id = conversations.id))",
            (deleted_before, empty_before),
        )
    ]
    indexed = index_available(connection)
    for conversation_id in doomed:
        if indexed:
            connection.execute(
                "DELETE FROM message_index WHERE rowid IN"
                " (SELECT id FROM messages WHERE conversation_id = ?)",
                (conversation_id,),
            )
        connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))
        connection.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,))
    return len(doomed)


def save_draft(connection: sqlite3.Connection, conversation_id: int, text: str) -> None:
    """Keep text that is typed but not sent; empty text removes the draft."""
    if text:
        connection.execute(
            "INSERT INTO drafts (conversation_id, text, saved_at) VALUES (?, ?, ?)"
            " ON CONFLICT (conversation_id) DO UPDATE SET text = excluded.text, saved_at = excluded.saved_at",
            (conversation_id, text, time.time()),
        )
    else:
        connection.execute("DELETE FROM drafts WHERE conversation_id = ?", (conversation_id,))


def load_draft(connection: sqlite3.Connection, conversation_id: int) -> str:
    """The text typed but not sent in a conversation, or ""."""
    row = connection.execute(
        "SELECT text FROM drafts WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    return str(row[0]) if row else ""
