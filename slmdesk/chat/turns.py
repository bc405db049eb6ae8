"""What happens while an answer is written, as one front end sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.inference.answers import AnswerEvent
from slmdesk.inference.asks import Overflow, Sampling, Shape

if TYPE_CHECKING:
    from slmdesk.chat.tree import Message


@dataclass(frozen=True, slots=True)
class MessageStored:
    """A message is safe in the database: first what was typed, then the empty answer that will fill."""

    message: Message


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The answer as it was saved; always the last event. `message.error` says what went wrong."""

    message: Message


TurnEvent = MessageStored | AnswerEvent | TurnEnded


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """What one turn does differently from the settings; `None` follows the conversation and the settings."""

    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    context_length: int | None = None  # to load the model with
    overflow: Overflow | None = None
    shape: Shape | None = None
    model: str = ""  # library id or path of the one that answers this once; "": the conversation's


@dataclass(frozen=True, slots=True)
class ConversationsChanged:
    """Published on the event bus whenever a list of conversations may look different."""

    conversation_id: int
