"""Ollama's API: `/api/chat` and `/api/generate`, whole answers and lines of JSON."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.inference.answers import ReasoningDelta, TokenLogprobs, ToolCallDelta
from slmdesk.serving.api_errors import error_body
from slmdesk.serving.dialects.bodies import read_body
from slmdesk.serving.dialects.dialect import Written
from slmdesk.serving.dialects.ollama_requests import (
    OllamaChatBody,
    OllamaGenerateBody,
    read_chat,
    read_generate,
)
from slmdesk.serving.dialects.openai_logprobs import chat_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.inference.asks import ToolCall
    from slmdesk.serving.dialects.dialect import Asked, Writer

_NANO = 1_000_000_000


class OllamaDialect:
    """One of its two ways to ask."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat

    def read(self, body: bytes) -> Asked:
        return (
            read_chat(read_body(body, OllamaChatBody))
            if self._chat
            else read_generate(read_body(body, OllamaGenerateBody))
        )

    def writer(self, asked: Asked) -> Writer:
        return _OllamaLines(asked.ask.model, self._chat)


CHAT = OllamaDialect(chat=True)
GENERATE = OllamaDialect(chat=False)


@dataclass(slots=True)
class _OllamaLines:
    """One line of JSON an event. Calls have their arguments as an object, so they come once they are whole."""

    model: str
    chat: bool
    content_type: str = "application/x-ndjson"
    tells_all: bool = False
    calls: list[ToolCallDelta] = field(default_factory=list)

    def around_text(self, _choice: int) -> None:
        return None  # each line has its own time

    def text(self, text: str, _choice: int) -> bytes:
        return self._line({"content": text} if self.chat else {"response": text})

    def opening(self, _started: Started, _choice: int) -> bytes:
        return b""

    def event(self, event: Delta | LoadProgress | EngineChanged, _choice: int) -> bytes:
        match event:
            case ReasoningDelta(text=text):
                return self._line(
                    {"content": "", "thinking": text} if self.chat else {"response": "", "thinking": text}
                )
            case ToolCallDelta():
                self.calls.append(event)
            case TokenLogprobs():
                empty = {"content": ""} if self.chat else {"response": ""}
                return self._line(empty, logprobs=chat_logprobs([event])["content"])
        return b""

    def ending(self, stop: Stop, _choice: int) -> bytes:
        calls = Written(stop, self.calls).calls
        told = self._line({"content": "", "tool_calls": [_call(call) for call in calls]}) if calls else b""
        empty = {"content": ""} if self.chat else {"response": ""}
        return told + self._line(empty, done=True, **_figures(stop))

    def closing(self, _stops: Sequence[Stop]) -> bytes:
        return b""

    def failing(self, error: SlmDeskError) -> bytes:
        return _json(error_body(error, "ollama"))

    def waiting(self) -> bytes:
        return b""

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        (answer,) = answers
        said: dict[str, Any] = {"content" if self.chat else "response": answer.text}
        if reasoning := answer.reasoning.strip():
            said["thinking"] = reasoning
        if calls := answer.calls:
            said["tool_calls"] = [_call(call) for call in calls]
        more = {"logprobs": chat_logprobs(answer.logprobs)["content"]} if answer.logprobs else {}
        return self._body(said, done=True, **more, **_figures(answer.stop))

    def _line(self, said: dict[str, Any], *, done: bool = False, **more: Any) -> bytes:
        return _json(self._body(said, done=done, **more))

    def _body(self, said: dict[str, Any], *, done: bool, **more: Any) -> dict[str, Any]:
        told = {"message": {"role": "assistant", **said}} if self.chat else said
        return {"model": self.model, "created_at": now(), **told, "done": done, **more}


def now() -> str:
    """The time as this API writes it."""
    return dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _figures(stop: Stop) -> dict[str, Any]:
    """Durations in nanoseconds."""
    times, usage = stop.timings, stop.usage
    total = times.queue_s + times.prompt_s + times.generate_s
    return {
        "done_reason": "length" if stop.reason == "length" else "stop",
        "total_duration": int(total * _NANO),
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": int(times.prompt_s * _NANO),
        "eval_count": usage.completion_tokens,
        "eval_duration": int(times.generate_s * _NANO),
    }


def _call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:  # cut off by the limit
        arguments = {}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}
