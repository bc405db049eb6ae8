"""What the list of messages shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slmdesk.gui.chat.names import short_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.chat.growing import GrowingAnswer
    from slmdesk.chat.tree import ConversationTree, Message


@dataclass(frozen=True, slots=True)
class MessageItem:
    """One message as the list shows it.

    `branch` counts from 0 among the `branches` that stand in its place. `status` says what an answer waits for
    ("Loading Qwen3-4B Q4_K_M… 43 %"). `grown` is the answer so far, where this program is writing it now. `chat_form`
    is set on the first answer of a model that was spoken to in a form that stands in for a chat template.
    """

    message: Message
    name: str
    branch: int = 0
    branches: int = 1
    last: bool = False
    grown: GrowingAnswer | None = None
    status: str = ""
    chat_form: str = ""

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def answer(self) -> bool:
        return self.message.role == "assistant"

    @property
    def live(self) -> bool:
        """Whether it is being written."""
        return self.grown is not None

    @property
    def cut_short(self) -> bool:
        """Whether the model stopped because it may write no more."""
        return self.message.state == "complete" and self.message.stats.get("reason") == "length"

    @property
    def engine_change(self) -> str:
        """What was changed so that this answer could be completed, in a sentence; mostly empty."""
        return str(self.message.stats.get("engine_change") or "")

    @property
    def text(self) -> str:
        """What is read of it, as far as it is written."""
        return self.message.text if self.grown is None else self.grown.text

    @property
    def reasoning(self) -> str:
        """What a model thought aloud, as far as it is written."""
        return self.message.reasoning if self.grown is None else self.grown.reasoning.strip()

    @property
    def thinking(self) -> bool:
        """Whether it is being thought now."""
        return self.grown is not None and self.grown.thinking

    def as_live(self, grown: GrowingAnswer, status: str) -> MessageItem:
        """The same item while it is being written."""
        return replace(self, grown=grown, status=status)


def items_of(tree: ConversationTree, names: Mapping[str, str]) -> list[MessageItem]:
    """The active path of a conversation."""
    path = tree.path()
    items: list[MessageItem] = []
    told: set[tuple[str, str]] = set()
    for message in path:
        form = str(message.stats.get("chat_form", "")) if message.state == "complete" else ""
        told_before = (message.model, form) in told
        told.add((message.model, form))
        siblings = tree.siblings(message.id)
        at = next(number for number, one in enumerate(siblings) if one.id == message.id)
        name = "You" if message.role == "user" else short_name(message.model, names) or "Answer"
        items.append(
            MessageItem(
                message,
                name,
                at,
                len(siblings),
                last=message is path[-1],
                chat_form="" if told_before else form,
            )
        )
    return items
