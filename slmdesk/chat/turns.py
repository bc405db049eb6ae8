"""What happens while an answer is written, as one front end sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.inference.answers import AnswerEvent
from slmdesk.inference.asks import Overflow, Sampling, Shape, ToolChoice
from slmdesk.inference.wire import Wire

if TYPE_CHECKING:
    from slmdesk.chat.tree import Message
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.tools.selection import ToolSelection

CallState = Literal["asked", "running", "done", "failed", "refused", "stopped"]


class CallStatus(Wire, frozen=True, omit_defaults=True):
    """How one call of a tool is. `name`: as the model called it; `key`: the tool's own, "server/tool", "" for none.

    In state "asked" a person is asked whether it may be made. `seconds` it took; `left_out`: characters of the result
    that were not kept; `result`: what the model is told.
    """

    id: str
    name: str
    key: str = ""
    state: CallState = "asked"
    seconds: float = 0.0
    left_out: int = 0
    result: str = ""


@dataclass(frozen=True, slots=True)
class MessageStored:
    """A message is safe in the database: first what was typed, then the empty answer that will fill."""

    message: Message


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The answer as it was saved; always the last event. `message.error` says what went wrong."""

    message: Message


@dataclass(frozen=True, slots=True)
class ToolsStarting:
    """The sources of the turn's tools are asked what they offer; a server that has to start takes a while."""

    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolsMissing:
    """Some of the turn's tools cannot be had; it goes on without them."""

    problem: SlmDeskError


@dataclass(frozen=True, slots=True)
class StepEnded:
    """An answer that calls tools, as it was saved. The calls follow, and another answer."""

    message: Message


@dataclass(frozen=True, slots=True)
class CallChanged:
    """Something happened to a call that the message makes."""

    message_id: int
    call: CallStatus


TurnEvent = MessageStored | AnswerEvent | ToolsStarting | ToolsMissing | StepEnded | CallChanged | TurnEnded


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
    tools: ToolSelection | None = None  # None: those of the conversation
    tool_choice: ToolChoice = ToolChoice()  # whether the first answer has to call one


def tool_limit_words(steps: int) -> str:
    """What is said of an answer that was made without tools, because they were called so often before it."""
    times = "once" if steps == 1 else f"{steps} times in a row"
    return f"Tools were called {times}, the most the setting “Steps with tools” allows; then the model had to answer."


@dataclass(frozen=True, slots=True)
class ConversationsChanged:
    """Published on the event bus whenever a list of conversations may look different."""

    conversation_id: int
