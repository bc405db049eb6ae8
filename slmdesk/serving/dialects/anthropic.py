"""The Anthropic API: `/v1/messages`, whole answers and its server-sent events."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.inference.answers import ReasoningDelta, ToolCallDelta
from slmdesk.serving.api_errors import error_body
from slmdesk.serving.dialects.anthropic_requests import MessagesBody, read_messages
from slmdesk.serving.dialects.bodies import read_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.inference.asks import ToolCall
    from slmdesk.serving.dialects.dialect import Asked, Writer, Written

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


class AnthropicDialect:
    """The Messages API."""

    def read(self, body: bytes) -> Asked:
        return read_messages(read_body(body, MessagesBody))

    def writer(self, asked: Asked) -> Writer:
        return _MessageWriter(asked.ask.model)


MESSAGES = AnthropicDialect()


@dataclass(slots=True)
class _MessageWriter:
    """The events of one message. A message is a list of blocks, of which one is open at a time."""

    model: str
    id: str = ""
    content_type: str = "text/event-stream; charset=utf-8"
    tells_all: bool = False
    block: int = -1
    kind: str = ""  # of the block that is open

    def __post_init__(self) -> None:
        self.id = f"msg_{secrets.token_hex(12)}"

    def around_text(self, _choice: int) -> None:
        return None

    def text(self, text: str, _choice: int) -> bytes:
        opened = self._open("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "text_delta", "text": text})

    def opening(self, started: Started, _choice: int) -> bytes:
        usage = {"input_tokens": started.prompt_tokens, "output_tokens": 0}
        message = self._message([], None, None, usage)
        return _event({"type": "message_start", "message": message})

    def event(self, event: Delta | LoadProgress | EngineChanged, _choice: int) -> bytes:
        match event:
            case ReasoningDelta(text=text):
                opened = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                return opened + self._delta({"type": "thinking_delta", "thinking": text})
            case ToolCallDelta(name=name, arguments=arguments):
                opened = b""
                if name:
                    start = {"type": "tool_use", "id": _call_id(event.id), "name": name, "input": {}}
                    opened = self._open(f"call {event.index}", start)
                if not arguments:
                    return opened
                return opened + self._delta({"type": "input_json_delta", "partial_json": arguments})
        return b""

    def ending(self, stop: Stop, _choice: int) -> bytes:
        delta = {"stop_reason": _reason(stop), "stop_sequence": stop.matched or None}
        return self._closed() + _event({"type": "message_delta", "delta": delta, "usage": _usage(stop)})

    def closing(self, _stops: Sequence[Stop]) -> bytes:
        return _event({"type": "message_stop"})

    def failing(self, error: SlmDeskError) -> bytes:
        return _event(error_body(error, "anthropic"))

    def waiting(self) -> bytes:
        return _event({"type": "ping"})

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        (answer,) = answers
        blocks: list[dict[str, Any]] = []
        if reasoning := answer.reasoning.strip():
            blocks.append({"type": "thinking", "thinking": reasoning, "signature": ""})
        if answer.text:
            blocks.append({"type": "text", "text": answer.text})
        blocks += [_tool_use(call) for call in answer.calls]
        stop = answer.stop
        return self._message(blocks, _reason(stop), stop.matched or None, _usage(stop))

    def _message(
        self, blocks: list[dict[str, Any]], reason: str | None, matched: str | None, usage: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": matched,
            "usage": usage,
        }

    def _open(self, kind: str, start: dict[str, Any]) -> bytes:
        """Let a block of this kind be open."""
        if kind == self.kind:
            return b""
        closed = self._closed()
        self.kind = kind
        self.block += 1
        return closed + _event({"type": "content_block_start", "index": self.block, "content_block": start})

    def _closed(self) -> bytes:
        if not self.kind:
            return b""
        self.kind = ""
        return _event({"type": "content_block_stop", "index": self.block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self.block, "delta": delta})


def _event(data: dict[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {data['type']}\ndata: {text}\n\n".encode("utf-8", "replace")


def _reason(stop: Stop) -> str:
    return "stop_sequence" if stop.matched else _REASONS.get(stop.reason, "end_turn")


def _usage(stop: Stop) -> dict[str, int]:
    """Tokens found in the cache are counted apart from the others."""
    usage = stop.usage
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }


def _call_id(given: str) -> str:
    return f"toolu_{given}"


def _tool_use(call: ToolCall) -> dict[str, Any]:
    try:
        given = json.loads(call.arguments or "{}")
    except ValueError:  # cut off by the limit
        given = {}
    return {"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": given}
