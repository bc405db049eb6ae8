"""What the list of messages shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from slmdesk.chat.turns import CallState, CallStatus
from slmdesk.gui.chat.names import short_name
from slmdesk.inference.asks import ToolResult
from slmdesk.inference.wire import converted
from slmdesk.tools.tool import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.chat.growing import GrowingAnswer
    from slmdesk.chat.tree import ConversationTree, Message


@dataclass(frozen=True, slots=True)
class CallItem:
    """A call of a tool. `state` is "" where the call was never made; `server` "" for a built-in tool."""

    id: str
    name: str
    arguments: str
    server: str = ""
    state: CallState | Literal[""] = ""
    result: str = ""
    seconds: float = 0.0
    left_out: int = 0

    @property
    def ended_early(self) -> bool:
        """Whether it has a result that the tool did not make."""
        return self.state in {"refused", "stopped"}

    def as_now(self, status: CallStatus) -> CallItem:
        """The same call as it is now."""
        server = status.key.partition("/")[0]
        return replace(
            self,
            server="" if server == BUILT_IN else server,
            state=status.state,
            result=status.result or self.result,
            seconds=status.seconds,
            left_out=status.left_out,
        )


@dataclass(frozen=True, slots=True)
class MessageItem:
    """One message as the list shows it.

    `branch` counts from 0 among the `branches` that stand in its place. `status` says what an answer waits for
    ("Loading Qwen3-4B Q4_K_M… 43 %"). `grown` is the answer so far, where this program is writing it now. `chat_form`
    is set on the first answer of a model that was spoken to in a form that stands in for a chat template. `results` is
    the row with what the `calls` gave, 0 where there is none. `goes_on`: it stands behind results, in one answer with
    what is above.
    """

    message: Message
    name: str
    branch: int = 0
    branches: int = 1
    last: bool = False
    grown: GrowingAnswer | None = None
    status: str = ""
    chat_form: str = ""
    calls: tuple[CallItem, ...] = ()
    results: int = 0
    goes_on: bool = False

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

    @property
    def tools_left(self) -> bool:
        """Whether the conversation ends here, in the middle of tools."""
        return self.last and bool(self.calls) and self.grown is None

    @property
    def asking(self) -> bool:
        """Whether its calls are under way."""
        return any(call.state in {"asked", "running"} for call in self.calls)

    @property
    def settled(self) -> bool:
        """Whether nothing is done for it any more."""
        return not self.live and not self.asking

    def with_calls(self, statuses: Mapping[str, CallStatus]) -> MessageItem:
        """The same item with its calls as they are now."""
        calls = (call.as_now(statuses[call.id]) if call.id in statuses else call for call in self.calls)
        return replace(self, calls=tuple(calls))

    def as_live(self, grown: GrowingAnswer, status: str) -> MessageItem:
        """The same item while it is being written."""
        return replace(self, grown=grown, status=status)


def items_of(tree: ConversationTree, names: Mapping[str, str]) -> list[MessageItem]:
    """The active path of a conversation."""
    path = tree.path()
    items: list[MessageItem] = []
    told: set[tuple[str, str]] = set()
    results = {message.parent_id: message for message in path if message.role == "tool"}
    for number, message in enumerate(path):
        if message.role == "tool":
            continue
        form = str(message.stats.get("chat_form", "")) if message.state == "complete" else ""
        told_before = (message.model, form) in told
        told.add((message.model, form))
        siblings = tree.siblings(message.id)
        at = next(index for index, one in enumerate(siblings) if one.id == message.id)
        gave = results.get(message.id)
        name = "You" if message.role == "user" else short_name(message.model, names) or "Answer"
        items.append(
            MessageItem(
                message,
                name,
                at,
                len(siblings),
                last=message is path[-1] or gave is path[-1],
                chat_form="" if told_before else form,
                calls=_calls(message, gave),
                results=gave.id if gave is not None else 0,
                goes_on=number > 0 and path[number - 1].role == "tool",
            )
        )
    return items


def _calls(message: Message, gave: Message | None) -> tuple[CallItem, ...]:
    """The calls of an answer with what is kept of them."""
    calls = [CallItem(call.id, call.name, call.arguments) for call in message.calls]
    if gave is None or not calls:
        return tuple(calls)
    kept = [converted(status, CallStatus) for status in gave.stats.get("calls", [])]
    statuses = {status.id: status for status in kept}
    told = {part.id: part for part in gave.parts if isinstance(part, ToolResult)}
    found: list[CallItem] = []
    for call in calls:
        result = told.get(call.id)
        if result is not None:  # the program may have ended before more was kept of it
            call = replace(call, result=result.text, state="failed" if result.failed else "done")  # noqa: PLW2901
        found.append(call.as_now(statuses[call.id]) if call.id in statuses else call)
    return tuple(found)
