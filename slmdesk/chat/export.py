"""A conversation as Markdown for people, and as JSON that can be read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from slmdesk.chat import store
from slmdesk.chat.export_forms import to_html, to_openai, to_sharegpt
from slmdesk.chat.rules import AnswerRules
from slmdesk.chat.tree import ConversationTree, Message, MessageRole, MessageState
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.reasoning import split
from slmdesk.inference.wire import converted

if TYPE_CHECKING:
    import sqlite3

    from slmdesk.inference.asks import Part

ExportFormat = Literal["markdown", "json", "html", "openai", "sharegpt"]

_FORMAT = "slmdesk-conversation"
_VERSION = 2
_MARKS_IN_TEXT = 1  # the last version in which reasoning stood in the text, in the model's own marks


def written(tree: ConversationTree, form: ExportFormat) -> str:
    """A conversation in this form: all of it as JSON, else its active path."""
    writers = {
        "markdown": to_markdown,
        "json": to_json,
        "html": to_html,
        "openai": to_openai,
        "sharegpt": to_sharegpt,
    }
    return writers[form](tree)


def is_own(document: dict[str, Any]) -> bool:
    """Whether parsed JSON is an export of our own."""
    return document.get("format") == _FORMAT


def to_markdown(tree: ConversationTree) -> str:
    """The active path as a Markdown document, without what models thought aloud."""
    conversation = tree.conversation
    when = datetime.fromtimestamp(conversation.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"# {conversation.title or 'Conversation'}", f"*{when}*"]
    if conversation.system_prompt:
        quoted = "\n".join(f"> {line}" for line in conversation.system_prompt.splitlines())
        parts.append(f"**System prompt**\n\n{quoted}")
    for message in tree.path():
        who = "You" if message.role == "user" else message.model or "Answer"
        mark = "" if message.state == "complete" else f" ({message.state})"
        parts.append(f"## {who}{mark}\n\n{message.text}".rstrip())
    return "\n\n".join(parts) + "\n"


def to_json(tree: ConversationTree) -> str:
    """All branches, losslessly; ids are only meaningful inside the document."""
    conversation = tree.conversation
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "title": conversation.title,
        "model": conversation.model,
        "system_prompt": conversation.system_prompt,
        "rules": conversation.rules.to_json(),
        "created_at": conversation.created_at,
        "active_leaf": conversation.active_leaf,
        "messages": [_as_json(message) for message in tree.messages.values()],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _as_json(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "text": message.text,
        "state": message.state,
        "model": message.model,
        "created_at": message.created_at,
        "finished_at": message.finished_at,
        "stats": message.stats,
        "error": message.error,
        **({"parts": [part.to_json() for part in message.parts]} if message.parts else {}),
    }


def from_json(connection: sqlite3.Connection, text: str) -> int:
    """Add an exported conversation and return its id. Raises `import_invalid` and then adds nothing."""
    document = _document(text)
    created_at = _number(document.get("created_at"), "created_at")
    conversation = store.create_conversation(
        connection, _text(document, "model", ""), _text(document, "system_prompt", ""), _rules(document)
    )
    ids: dict[int, int] = {}
    for position, entry in enumerate(document["messages"]):
        if not isinstance(entry, dict):
            raise _invalid(f"message {position} is not an object")
        known_id = entry.get("id")
        if not isinstance(known_id, int) or known_id in ids:
            raise _invalid(f"message {position} has no id of its own")
        marked = document["version"] <= _MARKS_IN_TEXT
        ids[known_id] = _add(connection, conversation.id, entry, ids, position, marked=marked)
    store.update_conversation(
        connection,
        conversation.id,
        title=_text(document, "title", ""),
        created_at=created_at,
        active_leaf=ids.get(document.get("active_leaf") or -1, next(reversed(ids.values()), None)),
    )
    return conversation.id


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _invalid("it is not a conversation exported by SLM Desk")
    version = document.get("version")
    if not isinstance(version, int):
        raise _invalid("it does not say its version")
    if version > _VERSION:
        raise SlmDeskError(
            "import_newer",
            "This conversation was exported by a newer version of SLM Desk.",
            "Update SLM Desk, then import it again.",
        )
    if not isinstance(document.get("messages"), list):
        raise _invalid("it holds no list of messages")
    return document


def _add(
    connection: sqlite3.Connection,
    conversation_id: int,
    entry: dict[str, Any],
    ids: dict[int, int],
    position: int,
    *,
    marked: bool,
) -> int:
    """`marked`: an answer's reasoning stands in its text."""
    parent = entry.get("parent_id")
    role: Any = entry.get("role")
    state: Any = entry.get("state", "complete")
    # A parent must come before its children, which also rules out circles.
    if parent is not None and (not isinstance(parent, int) or parent not in ids):
        raise _invalid(f"message {position} answers a message that is not before it")
    if role not in get_args(MessageRole) or state not in get_args(MessageState):
        raise _invalid(f"message {position} has an unknown role or state")
    stats, error = entry.get("stats") or {}, entry.get("error")
    if not isinstance(stats, dict) or not isinstance(error, dict | None):
        raise _invalid(f"message {position} has details of the wrong kind")
    body, parts = _text(entry, "text", None), _parts(entry, position)
    if marked and role == "assistant" and not parts:
        told = split(body)
        body, parts = told.visible, told.parts
    settled: MessageState = "interrupted" if state == "streaming" else state
    message = store.add_message(
        connection,
        conversation_id,
        None if parent is None else ids[parent],
        role,
        body,
        state=settled,
        model=_text(entry, "model", ""),
        parts=parts,
    )
    finished = entry.get("finished_at")
    store.set_imported(
        connection,
        message.id,
        created_at=_number(entry.get("created_at"), "created_at"),
        finished_at=None if finished is None else _number(finished, "finished_at"),
        stats=stats,
        error=error,
    )
    return message.id


def _rules(document: dict[str, Any]) -> AnswerRules:
    try:
        rules = AnswerRules.from_json(document.get("rules", {}))
        rules.check()
    except SlmDeskError as error:
        raise _invalid("how its answers are made is of the wrong kind") from error
    return rules


def _parts(entry: dict[str, Any], position: int) -> tuple[Part, ...]:
    try:
        return converted(entry.get("parts", []), store.PARTS)
    except SlmDeskError as error:
        raise _invalid(f"message {position} has a part of the wrong kind") from error


def _text(entry: dict[str, Any], key: str, default: str | None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str):
        raise _invalid(f"{key!r} is not text")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{key!r} is not a time")
    return float(value)


def _invalid(reason: str) -> SlmDeskError:
    return SlmDeskError(
        "import_invalid",
        f"This file cannot be imported: {reason}.",
        "Choose a file that was exported as JSON.",
    )
