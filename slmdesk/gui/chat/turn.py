"""One answer being written, as the window keeps it until its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.chat.growing import GrowingAnswer
from slmdesk.chat.turns import (
    CallChanged,
    CallStatus,
    MessageStored,
    StepEnded,
    ToolsStarting,
    TurnEnded,
    TurnEvent,
)
from slmdesk.gui.chat.names import short_name
from slmdesk.inference.answers import LoadProgress, ReasoningDelta, Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.chat.tree import Message

LONG_PROMPT = 500
"""From this many tokens on it is worth saying how long the prompt is."""


@dataclass(slots=True)
class RunningTurn:
    """`reconnecting` means that the service was lost before: what is waited for is its return.

    Attributes:
        answer: the row of the answer, once it is stored.
        status: what is being waited for, in words; empty once text comes.
        ended: the answer as it was saved.
        stats: what is known of it while it is written, as `Message.stats` has it.
        grown: the answer so far.
        calls: what became of the calls of this turn, by their ids.
        writing: the model writes; else it waits for its calls.
    """

    conversation_id: int
    names: Mapping[str, str]
    reconnecting: bool = False
    answer: Message | None = None
    ended: Message | None = None
    status: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    grown: GrowingAnswer = field(default_factory=GrowingAnswer)
    calls: dict[str, CallStatus] = field(default_factory=dict)
    writing: bool = True

    def __post_init__(self) -> None:
        self.status = "Reconnecting…" if self.reconnecting else "Starting…"

    def take(self, event: TurnEvent) -> None:
        """Follow what happens."""
        match event:
            case MessageStored(message=message) if message.role == "assistant":
                self.answer, self.writing = message, True
                self.grown = GrowingAnswer(message.parts, message.text)
            case LoadProgress(fraction=fraction):
                name = short_name(self.answer.model, self.names) if self.answer else "the model"
                self.status = f"Loading {name}… {fraction:.0%}".replace("%", " %")
            case Started(prompt_tokens=tokens):
                self.stats = {
                    "usage": {"prompt_tokens": tokens},
                    "context_length": event.context_length,
                    "trimmed_turns": event.trimmed_turns,
                }
                self.status = f"Reading {tokens:,} tokens…" if tokens >= LONG_PROMPT else "Thinking…"
            case str() | ReasoningDelta():
                self.grown.take(event)
                self.status = ""
            case ToolsStarting():
                self.status = "Starting the tools…"
            case StepEnded(message=message):
                self.answer, self.writing = message, False
            case CallChanged(call=call):
                self.calls[call.id] = call
            case TurnEnded(message=message):
                self.ended = message
