"""What a person can do with a message, as its widget knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.chat.calling import Decision
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.page import Remedy


class MessageDeeds(Protocol):
    """What can be done with a message, by its id."""

    def regenerate(self, message_id: int) -> None: ...
    def regenerate_with(self, message_id: int, button: QWidget) -> None:
        """Let another model answer, which is chosen at `button`."""
        ...

    def fork(self, message_id: int) -> None: ...
    def continue_from(self, message_id: int) -> None: ...
    def edit(self, message_id: int, text: str) -> None: ...
    def select_branch(self, message_id: int, branch: int) -> None: ...
    def decide(self, call_id: str, decision: Decision) -> None: ...
    def mend(self, error: SlmDeskError) -> Remedy | None:
        """A better button for an error than "Try again"."""
        ...
