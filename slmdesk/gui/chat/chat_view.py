"""What the Chat page shows, as its controller knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtWidgets import QWidget

    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.tools.selection import ToolSelection


class ChatView(Protocol):
    """What the controller shows."""

    @property
    def typed(self) -> str:
        """What stands in the composer."""
        ...

    def show_opened(self, draft: str | None) -> None:
        """Another conversation is shown: everything is different, the draft too; None leaves what is typed."""
        ...

    def show_changed(self) -> None:
        """The same conversation has other messages."""
        ...

    def show_item(self, item: MessageItem) -> None:
        """One message is another now."""
        ...

    def show_more(self, message_id: int) -> None:
        """The answer with that id has grown."""
        ...

    def show_running(self) -> None:
        """Answers began or ended."""
        ...

    def show_accepted(self) -> None:
        """What the composer sent is stored."""
        ...

    def show_refused(self) -> None:
        """What the composer sent could not be stored."""
        ...

    def show_conversations(
        self, found: Sequence[ConversationSummary], searched: str, *, more: bool
    ) -> None: ...

    def show_model(self) -> None:
        """Another model would answer next."""
        ...

    def show_models(self) -> None:
        """The list of models was read anew."""
        ...

    @property
    def tools_wanted(self) -> ToolSelection:
        """The tools a chat that begins now may use."""
        ...

    def focus_composer(self) -> None: ...
    def new_chat(self) -> None:
        """Show a chat that has not begun, and keep what is typed in this one."""
        ...

    def choose_model(self) -> None:
        """Open the list of models."""
        ...

    def choose_other_model(self, button: QWidget, chosen: Callable[[str], None]) -> None:
        """Open the list of models at `button`, for one answer."""
        ...
