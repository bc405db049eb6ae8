"""Bringing conversations in from files: our own, and those of other programs."""

from __future__ import annotations

import asyncio
import json
import time
import zipfile
from typing import TYPE_CHECKING

from slmdesk.chat import export, store
from slmdesk.chat.import_forms import read_conversations
from slmdesk.chat.titles import title_of
from slmdesk.chat.turns import ConversationsChanged
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from slmdesk.chat.chats import Chats
    from slmdesk.chat.import_forms import ReadConversation
    from slmdesk.core.database import Database
    from slmdesk.core.events import EventBus

LARGEST = 1024 * 1024 * 1024  # bytes of a file's text
_IN_ZIP = "conversations.json"  # of ChatGPT's export
_AT_ONCE = 20  # conversations in one transaction


class ChatImporting:
    """Adds what a file holds to this user's conversations."""

    def __init__(self, database: Database, chats: Chats, events: EventBus | None = None) -> None:
        self._database = database
        self._chats = chats
        self._bus = events

    async def import_file(self, path: Path) -> list[int]:
        """Add the conversations of a file and return their ids, in the file's order.

        Taken are: our own JSON; ChatGPT's export (the archive, or its conversations.json); LM Studio's and Open
        WebUI's; lines as OpenAI's fine-tuning and ShareGPT have them. Raises `file_not_found`, `import_invalid` and
        `import_newer` before anything is added; where the database fails midway, what was added is put away again.
        """
        await self._chats.open()
        text = await asyncio.to_thread(_text_of, path)
        found, own = await asyncio.to_thread(_read, text)
        if own:
            return [(await self._chats.import_json(text)).id]
        if not found:
            raise _invalid(path, "it holds no conversation of a kind that is known here")
        ids: list[int] = []
        try:
            for first in range(0, len(found), _AT_ONCE):
                some = found[first : first + _AT_ONCE]
                ids += await self._database.run(lambda c, some=some: [_add(c, one) for one in some])  # type: ignore[misc]
        except BaseException:
            await self.take_back(ids)
            raise
        self._changed(ids)
        return ids

    async def take_back(self, ids: list[int]) -> None:
        """Undo an import: as if each of these were deleted."""
        now = time.time()

        def put_away(connection: sqlite3.Connection) -> None:
            for conversation_id in ids:
                store.update_conversation(connection, conversation_id, deleted_at=now)

        await self._database.run(put_away)
        self._changed(ids)

    def _changed(self, ids: list[int]) -> None:
        if self._bus is not None and ids:
            self._bus.publish(ConversationsChanged(ids[-1]))


def _text_of(path: Path) -> str:
    try:
        if zipfile.is_zipfile(path):
            return _text_in_zip(path)
        if path.stat().st_size > LARGEST:
            raise _invalid(path, "it is larger than 1 GB")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(path, "it is no text in UTF-8") from error
    except OSError as error:
        raise SlmDeskError(
            "file_not_found", f"{path} cannot be read: {error.strerror or error}.", "Choose another file."
        ) from error


def _text_in_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            member = next((one for one in archive.infolist() if one.filename.endswith(_IN_ZIP)), None)
            if member is None:
                raise _invalid(path, f"the archive holds no {_IN_ZIP}")
            with archive.open(member) as file:
                data = file.read(LARGEST + 1)  # what the archive says of its size may be wrong
    except (
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:  # damaged, encrypted, unknown method
        raise _invalid(path, f"the archive cannot be opened ({error})") from error
    if len(data) > LARGEST:
        raise _invalid(path, "it is larger than 1 GB")
    return data.decode("utf-8-sig")


def _read(text: str) -> tuple[list[ReadConversation], bool]:
    """The conversations of a text, or that it is an export of our own."""
    try:
        data = json.loads(text)
    except RecursionError:
        return [], False
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return read_conversations([json.loads(line) for line in lines]), False
        except (ValueError, RecursionError):
            return [], False
    own = isinstance(data, dict) and export.is_own(data)
    return ([] if own else read_conversations(data)), own


def _add(connection: sqlite3.Connection, read: ReadConversation) -> int:
    now = time.time()
    made = store.create_conversation(connection, "", read.system_prompt).id
    ids: list[int] = []
    for message in read.messages:
        parent = None if message.parent is None else ids[message.parent]
        added = store.add_message(
            connection, made, parent, message.role, message.text, model=message.model, parts=message.parts
        )
        ids.append(added.id)
        at = message.created_at or read.created_at or now
        store.set_imported(connection, added.id, created_at=at, finished_at=at, stats={}, error=None)
    first = next((message.text for message in read.messages if message.role == "user"), "")
    times = [message.created_at for message in read.messages if message.created_at]
    store.update_conversation(
        connection,
        made,
        title=" ".join(read.title.split()) or title_of(first),
        created_at=read.created_at or min(times, default=now),
        updated_at=max(times, default=read.created_at or now),
        active_leaf=ids[read.leaf],
    )
    return made


def _invalid(path: Path, reason: str) -> SlmDeskError:
    return SlmDeskError(
        "import_invalid",
        f"{path.name} cannot be imported: {reason}.",
        "Choose an export of SLM Desk, ChatGPT, LM Studio or Open WebUI, or JSON lines in OpenAI's or ShareGPT's form.",
    )
