"""Putting conversations in order: pinned, in folders, copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.chat.arranging import ChatArranging
    from slmdesk.chat.tree import Conversation
    from slmdesk.gui.page import WindowServices


class OrderController:
    """`opened` shows a conversation, `put_away` deletes one."""

    def __init__(
        self, services: WindowServices, opened: Callable[[int], None], put_away: Callable[[int], None]
    ) -> None:
        self._services = services
        self._opened = opened
        self._put_away = put_away

    @property
    def _arranging(self) -> ChatArranging:
        return self._services.application.arranging

    def pin(self, conversation_id: int, on: bool) -> None:
        """Let a conversation stand before the others, or no longer."""
        self._services.run(self._pin(conversation_id, on=on), "chat: pin")

    async def _pin(self, conversation_id: int, *, on: bool) -> None:
        await self._arranging.pin(conversation_id, on=on)

    def move(self, conversation_id: int, folder: str) -> None:
        """Put a conversation into a folder; "" takes it out of its own."""
        self._services.run(self._move(conversation_id, folder), "chat: folder")

    async def _move(self, conversation_id: int, folder: str) -> None:
        before = await self._arranging.folder_of(conversation_id)
        await self._arranging.move(conversation_id, folder)
        words = f"Moved to “{folder}”." if folder else f"Taken out of “{before}”."
        self._services.toast(
            words, lambda: self._services.run(self._arranging.move(conversation_id, before), "chat: undo")
        )

    def duplicate(self, conversation_id: int) -> None:
        """Make a copy and show it."""
        self._services.run(self._duplicate(conversation_id), "chat: duplicate")

    async def _duplicate(self, conversation_id: int) -> None:
        self._show(await self._arranging.duplicate(conversation_id), "Duplicated the conversation.")

    def fork(self, message_id: int) -> None:
        """Begin another conversation with the messages up to this one, and show it."""
        self._services.run(self._fork(message_id), "chat: fork")

    async def _fork(self, message_id: int) -> None:
        self._show(await self._arranging.fork(message_id), "This is a new conversation from there.")

    def bring_in(self) -> None:
        """Ask for a file and add the conversations in it."""
        self._services.run(self._bring_in(), "chat: import")

    async def _bring_in(self) -> None:
        from slmdesk.core import amounts
        from slmdesk.gui import dialogs
        from slmdesk.gui.chat.exporting import IMPORTED

        path = await dialogs.open_file(self._services.window(), "Import conversations", kinds=IMPORTED)
        if path is None:
            return
        importing = self._services.application.chat_importing
        ids = await importing.import_file(path)
        self._opened(ids[0])
        self._services.toast(
            f"Imported {amounts.counted(len(ids), 'conversation')} from {path.name}.",
            lambda: self._services.run(importing.take_back(ids), "chat: undo"),
        )

    def _show(self, made: Conversation, words: str) -> None:
        self._opened(made.id)
        self._services.toast(words, lambda: self._put_away(made.id))
