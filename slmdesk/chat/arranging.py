"""Putting conversations in order: pinned, in folders, copied whole or up to one message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slmdesk.chat import export, store
from slmdesk.chat.tree import ConversationTree
from slmdesk.chat.turns import ConversationsChanged
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from slmdesk.chat.chats import Chats
    from slmdesk.chat.tree import Conversation
    from slmdesk.core.database import Database
    from slmdesk.core.events import EventBus

LONGEST_FOLDER = 60  # characters


class ChatArranging:
    """Of this user's conversations. Methods raise `conversation_not_found` and what `Database.run` raises."""

    def __init__(self, database: Database, chats: Chats, events: EventBus | None = None) -> None:
        self._database = database
        self._chats = chats
        self._bus = events

    async def pin(self, conversation_id: int, *, on: bool) -> None:
        """Let a conversation stand before the others, or no longer."""
        await self._update(conversation_id, pinned_at=time.time() if on else None)

    async def move(self, conversation_id: int, folder: str) -> None:
        """Put a conversation into a folder, which is there while it holds one; "" takes it out.

        Raises `folder_invalid`.
        """
        name = " ".join(folder.split())
        if len(name) > LONGEST_FOLDER:
            raise SlmDeskError(
                "folder_invalid",
                "The folder's name is too long.",
                f"Use up to {LONGEST_FOLDER} characters.",
            )
        await self._update(conversation_id, folder=name)

    async def folder_of(self, conversation_id: int) -> str:
        """The folder a conversation is in, or ""."""
        await self._chats.open()
        row = await self._database.read(
            lambda c: c.execute(
                "SELECT folder FROM conversations WHERE id = ?", (conversation_id,)
            ).fetchone()
        )
        return str(row[0]) if row else ""

    async def folders(self) -> list[str]:
        """The folders there are, by name."""
        await self._chats.open()

        def read(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "SELECT DISTINCT folder FROM conversations WHERE folder != '' AND deleted_at IS NULL"
            )
            return sorted((str(row[0]) for row in rows), key=str.casefold)

        return await self._database.read(read)

    async def duplicate(self, conversation_id: int) -> Conversation:
        """A copy with all branches, beside the original. An answer that is being written is cut off in it."""

        def copy(connection: sqlite3.Connection) -> Conversation:
            return _copied(connection, store.load_tree(connection, conversation_id))

        return await self._made(copy)

    async def fork(self, message_id: int) -> Conversation:
        """A new conversation of the messages from the first one to this one. Raises `message_not_found`."""

        def copy(connection: sqlite3.Connection) -> Conversation:
            conversation_id = store.get_message(connection, message_id).conversation_id
            tree = store.load_tree(connection, conversation_id)
            return _copied(connection, ConversationTree(tree.conversation, tree.path(message_id)))

        return await self._made(copy)

    async def _made(self, copy: Callable[[sqlite3.Connection], Conversation]) -> Conversation:
        await self._chats.open()
        made = await self._database.run(copy)
        self._changed(made.id)
        return made

    async def _update(self, conversation_id: int, **changes: object) -> None:
        await self._chats.open()
        await self._database.run(lambda c: store.update_conversation(c, conversation_id, **changes))
        self._changed(conversation_id)

    def _changed(self, conversation_id: int) -> None:
        if self._bus is not None:
            self._bus.publish(ConversationsChanged(conversation_id))


def _copied(connection: sqlite3.Connection, tree: ConversationTree) -> Conversation:
    """The conversation of this tree once more, with what was chosen for it."""
    made = export.from_json(connection, export.to_json(tree))
    connection.execute(
        "UPDATE conversations SET created_at = ?, (tools, folder) ="
        " (SELECT tools, folder FROM conversations WHERE id = ?) WHERE id = ?",
        (time.time(), tree.conversation.id, made),
    )
    return store.get_conversation(connection, made)
