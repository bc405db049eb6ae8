"""The list of conversations, and finding one by words in its title or its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.chat import store
from slmdesk.chat.tree import ConversationSummary

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_TRIGRAM = 3  # shorter words are not in the index
_SNIPPET = 80
_ARRANGED = (
    "pinned_at IS NULL, pinned_at DESC, folder = '', folder COLLATE NOCASE, folder,"  # what stands where
)


def list_conversations(connection: sqlite3.Connection, search: str, limit: int) -> list[ConversationSummary]:
    """Conversations that hold every word of `search`, the one changed last first.

    Without a search those that are pinned come first, then folders by name, then the others. A word counts wherever it
    stands inside another word, in the title or in any message, whatever its case. Deleted conversations and those
    nothing was ever typed in are left out.
    """
    connection.create_function("folded", 1, _folded, deterministic=True)
    words = search.split()
    found: set[int] | None = None
    for word in words:
        matching = _with_word(connection, word)
        found = matching if found is None else found & matching
    where = ""
    chosen: tuple[str, ...] = ()
    if found is not None:
        if not found:
            return []
        # Bound values are limited in number, so a big match goes through a JSON list.
        where = "AND id IN (SELECT value FROM json_each(?))"
        chosen = (_json_list(found),)
    rows = connection.execute(
        "SELECT id, title, model, created_at, updated_at, pinned_at IS NOT NULL AS pinned, folder,"  # noqa: S608
        " (SELECT COUNT(*) FROM messages WHERE conversation_id = conversations.id) AS messages"
        " FROM conversations WHERE deleted_at IS NULL AND (messages > 0 OR EXISTS"
        f" (SELECT 1 FROM drafts WHERE conversation_id = conversations.id)) {where}"
        f" ORDER BY {_ARRANGED if found is None else ''} updated_at DESC, id DESC LIMIT ?",
        (*chosen, limit),
    ).fetchall()
    snippet_word = words[0] if words else ""
    return [
        ConversationSummary(
            **{**dict(row), "pinned": bool(row["pinned"])},
            snippet=_snippet(connection, row["id"], snippet_word),
        )
        for row in rows
    ]


def list_deleted(connection: sqlite3.Connection) -> list[ConversationSummary]:
    """Deleted conversations that can still be restored, the latest first."""
    rows = connection.execute(
        "SELECT id, title, model, created_at, updated_at, deleted_at,"
        " (SELECT COUNT(*) FROM messages WHERE conversation_id = conversations.id) AS messages"
        " FROM conversations WHERE deleted_at IS NOT NULL ORDER BY deleted_at DESC, id DESC"
    ).fetchall()
    return [ConversationSummary(**dict(row)) for row in rows]


def _json_list(ids: Iterable[int]) -> str:
    return f"[{','.join(map(str, ids))}]"


def _with_word(connection: sqlite3.Connection, word: str) -> set[int]:
    # SQLite's own LIKE knows capital letters of ASCII alone.
    titles = connection.execute(
        "SELECT id FROM conversations WHERE instr(folded(title), ?)", (_folded(word),)
    )
    found = {row[0] for row in titles}
    if len(word) >= _TRIGRAM and store.index_available(connection):
        quoted = '"' + word.replace('"', '""') + '"'
        rows = connection.execute(
            "SELECT DISTINCT conversation_id FROM messages WHERE id IN"
            " (SELECT rowid FROM message_index WHERE message_index MATCH ?)",
            (quoted,),
        )
    else:
        where, values = _anywhere(word)
        rows = connection.execute(
            f"SELECT DISTINCT conversation_id FROM messages WHERE {where}",  # noqa: S608  (constants)
            values,
        )
    return found | {row[0] for row in rows}


def _folded(text: str) -> str:
    return text.casefold()


def _anywhere(word: str) -> tuple[str, list[str]]:
    """A condition on messages that hold this word, without the index, and its values."""
    if word.isascii() or word.lower() == word.upper():
        return "text LIKE ? ESCAPE '\\'", [_like(word)]
    if len(word) >= _TRIGRAM:
        return "instr(folded(text), ?)", [_folded(word)]
    # LIKE for each mixture of capital and small letters is many times as fast as folding all there is.
    cases = [""]
    for letter in word:
        cases = [begun + form for begun in cases for form in dict.fromkeys((letter.lower(), letter.upper()))]
    return " OR ".join(["text LIKE ? ESCAPE '\\'"] * len(cases)), [_like(case) for case in cases]


def _like(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _snippet(connection: sqlite3.Connection, conversation_id: int, word: str) -> str:
    """The words around the first place where a message holds `word`."""
    if not word:
        return ""
    row = connection.execute(
        "SELECT text FROM messages WHERE conversation_id = ? AND instr(folded(text), ?) ORDER BY id LIMIT 1",
        (conversation_id, _folded(word)),
    ).fetchone()
    if row is None:
        return ""
    text = " ".join(str(row[0]).split())
    start = max(0, text.casefold().find(word.casefold()) - _SNIPPET // 3)
    piece = text[start : start + _SNIPPET].strip()
    return f"{'…' if start else ''}{piece}{'…' if start + _SNIPPET < len(text) else ''}"
