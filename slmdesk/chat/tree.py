"""What a conversation is: a tree of messages in which one path is the active one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.chat.rules import NO_RULES, AnswerRules
from slmdesk.inference.asks import Part, Reasoning, ToolCall, Turn
from slmdesk.tools.selection import NO_TOOLS, ToolSelection

if TYPE_CHECKING:
    from collections.abc import Iterable

MessageRole = Literal["user", "assistant", "tool"]
MessageState = Literal["complete", "streaming", "stopped", "interrupted", "failed"]

OTHER_MODEL = "other_model"
"""In the stats of an answer that another model than the conversation's wrote: which."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. Times are seconds since 1970; `active_leaf` is the last message of the path shown."""

    id: int
    title: str
    model: str  # library id, or "" for the model of the settings
    system_prompt: str
    created_at: float
    updated_at: float
    active_leaf: int | None
    rules: AnswerRules = NO_RULES
    tools: ToolSelection = NO_TOOLS


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A row of the conversation list; `snippet` shows where a search found its words, else it is empty."""

    id: int
    title: str
    model: str
    created_at: float
    updated_at: float
    messages: int
    snippet: str = ""
    deleted_at: float = 0.0  # seconds since 1970; 0: it is not deleted
    pinned: bool = False
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `stats` holds usage, timings and the like; `error` is a `SlmDeskError.to_json()`.

    `text` is what is read, searched and titled. `parts` holds what it consists of where that is more than this text:
    what was thought aloud, a tool call, its result, a picture.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: MessageRole
    text: str
    state: MessageState
    model: str
    created_at: float
    finished_at: float | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    parts: tuple[Part, ...] = ()

    @property
    def turn(self) -> Turn:
        """As a model is asked with it: without what was thought aloud."""
        if not self.parts:
            return Turn.of(self.role, self.text)
        return Turn(self.role, tuple(part for part in self.parts if not isinstance(part, Reasoning)))

    @property
    def reasoning(self) -> str:
        """What was thought aloud before the text, for a reader."""
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning)).strip()

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools it calls."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class ConversationTree:
    """All messages of one conversation, with the active path picked out of them."""

    def __init__(self, conversation: Conversation, messages: Iterable[Message]) -> None:
        self.conversation = conversation
        self.messages: dict[int, Message] = {message.id: message for message in messages}
        self._children: dict[int | None, list[int]] = {}
        for message in sorted(self.messages.values(), key=lambda m: m.id):
            self._children.setdefault(message.parent_id, []).append(message.id)

    def path(self, leaf: int | None = None) -> list[Message]:
        """The messages from the root to `leaf` (default: the active leaf), oldest first."""
        step = self.conversation.active_leaf if leaf is None else leaf
        found: list[Message] = []
        while step is not None and step in self.messages:
            found.append(self.messages[step])
            step = found[-1].parent_id
        found.reverse()
        return found

    def siblings(self, message_id: int) -> list[Message]:
        """The branches that start where this message stands, oldest first, itself among them."""
        return self.children(self.messages[message_id].parent_id)

    def children(self, message_id: int | None) -> list[Message]:
        """The messages that answer this one, oldest first; `None` gives the first messages."""
        return [self.messages[child] for child in self._children.get(message_id, ())]

    def newest_leaf(self, message_id: int) -> int:
        """The end of the branch below a message, following the newest message at every fork."""
        step = message_id
        while below := self._children.get(step):
            step = below[-1]
        return step
