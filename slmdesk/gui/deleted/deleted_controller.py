"""What happens between the page of deleted things and the rooms that still have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.gui.page import WindowServices
    from slmdesk.library.trash import Removed


class DeletedView(Protocol):
    """What the controller shows."""

    def show_deleted(self, chats: Sequence[ConversationSummary], removed: Sequence[Removed]) -> None: ...


class DeletedController:
    """Reads what can be brought back, and brings it back."""

    def __init__(self, services: WindowServices, view: DeletedView) -> None:
        self._services = services
        self._view = view

    def refresh(self) -> None:
        """Read what can be brought back."""
        self._services.run(self._read(), "reading what was deleted")

    async def _read(self) -> None:
        application = self._services.application
        chats = await application.chats.deleted()
        try:
            removed = await application.trash.removed()
        except SlmDeskError as error:
            removed = []
            self._services.show_error(error)
        self._view.show_deleted(chats, removed)

    def restore_chat(self, conversation_id: int) -> None:
        """Bring a conversation back."""
        self._services.run(self._restore_chat(conversation_id), "bringing something back")

    async def _restore_chat(self, conversation_id: int) -> None:
        await self._services.application.chats.restore(conversation_id)
        self._services.toast(
            "The conversation is back.",
            lambda: self._services.visit.conversation(conversation_id),
            "Open",
        )
        await self._read()

    def restore_model(self, key: str) -> None:
        """Bring back the files that were removed under this key."""
        self._services.run(self._restore_model(key), "bringing something back")

    async def _restore_model(self, key: str) -> None:
        removed = await self._services.application.trash.undo(key)
        self._services.toast(f"{removed.title} is back in the library.")
        await self._read()
