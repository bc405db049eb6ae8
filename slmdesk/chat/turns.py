"""What happens while an answer is written, as one front end sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.chat.tree import Message


@dataclass(frozen=True, slots=True)
class MessageStored:
    """A message is safe in the database: first what was typed, then the empty answer that will fill."""

    message: Message


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """The model is being loaded; `fraction` runs from 0.0 to 1.0."""

    fraction: float


@dataclass(frozen=True, slots=True)
class PromptStarted:
    """The engine has taken the prompt: `tokens` long, after leaving out the `trimmed_turns` oldest turns.

    `chat_form` names what stands in for a chat template that the model's file does not have.
    """

    tokens: int
    trimmed_turns: int = 0
    chat_form: str = ""


@dataclass(frozen=True, slots=True)
class TextArrived:
    """New text at the end of an answer."""

    message_id: int
    text: str


@dataclass(frozen=True, slots=True)
class SaferEngine:
    """Native code failed, and the answer goes on by an engine that does without a part of it: a sentence.

    The message's stats keep it as `engine_change`.
    """

    text: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The answer as it was saved; always the last event. `message.error` says what went wrong."""

    message: Message


TurnEvent = MessageStored | ModelLoading | PromptStarted | TextArrived | SaferEngine | TurnEnded


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """What one turn does differently from the settings; `None` follows the settings."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    context_length: int | None = None  # to load the model with


@dataclass(frozen=True, slots=True)
class ConversationsChanged:
    """Published on the event bus whenever a list of conversations may look different."""

    conversation_id: int
