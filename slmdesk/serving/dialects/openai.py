"""The OpenAI API: `/v1/chat/completions` and `/v1/completions`, whole answers and server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.serving.api_errors import error_object
from slmdesk.serving.dialects.openai_requests import read_chat, read_completion
from slmdesk.serving.fields import parse_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.serving.dialects.dialect import Asked, Writer

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class _Form:
    """What tells the two kinds of completion apart."""

    chat: bool
    id_prefix: str
    whole: str
    chunk: str
    # Around the JSON text of one piece of an answer, inside a choice.
    before: str
    after: str
    read: Callable[[Mapping[str, Any]], Asked]


class OpenAiDialect:
    """One of the two kinds of completion."""

    def __init__(self, form: _Form) -> None:
        self._form = form

    def read(self, body: bytes) -> Asked:
        return self._form.read(parse_body(body))

    def writer(self, asked: Asked) -> Writer:
        return _Events(self._form, asked)


CHAT = OpenAiDialect(
    _Form(
        chat=True,
        id_prefix="chatcmpl-",
        whole="chat.completion",
        chunk="chat.completion.chunk",
        before='"delta":{"content":',
        after='},"finish_reason":null',
        read=read_chat,
    )
)
TEXT = OpenAiDialect(
    _Form(
        chat=False,
        id_prefix="cmpl-",
        whole="text_completion",
        chunk="text_completion",
        before='"text":',
        after=',"logprobs":null,"finish_reason":null',
        read=read_completion,
    )
)


@dataclass(slots=True)
class _Events:
    """The JSON around one answer."""

    form: _Form
    asked: Asked
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = "text/event-stream; charset=utf-8"
    tells_all: bool = False

    def __post_init__(self) -> None:
        self.id = f"{self.form.id_prefix}{secrets.token_hex(12)}"

    def around_text(self) -> tuple[bytes, bytes]:
        head = json.dumps(self._head(self.form.chunk), separators=(",", ":"))[:-1]
        usage = ',"usage":null' if self.asked.include_usage else ""
        return (
            f'data: {head},"choices":[{{"index":0,{self.form.before}'.encode(),
            f"{self.form.after}}}]{usage}}}\n\n".encode(),
        )

    def opening(self, _started: Started) -> bytes:
        """The first chunk: who speaks. Text completions have none."""
        if not self.form.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])

    def event(self, _event: Delta | LoadProgress | EngineChanged) -> bytes:
        return b""

    def closing(self, stop: Stop) -> bytes:
        """The last chunk, the usage where it was asked for, and the end mark."""
        choice: dict[str, Any] = {"index": 0}
        if self.form.chat:
            choice["delta"] = {}
        else:
            choice |= {"text": "", "logprobs": None}
        choice["finish_reason"] = _reason(stop)
        chunks = self._chunk([choice], timings=stop.timings.to_json())
        if self.asked.include_usage:
            chunks += self._chunk([], usage=_usage(stop))
        return chunks + _DONE

    def failing(self, error: SlmDeskError) -> bytes:
        return _event(error_object(error))

    def whole(self, text: str, stop: Stop) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0}
        if self.form.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": _reason(stop)}
        return {
            **self._head(self.form.whole),
            "choices": [choice],
            "usage": _usage(stop),
            "timings": stop.timings.to_json(),
        }

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        if self.asked.include_usage:
            more.setdefault("usage", None)
        return _event({**self._head(self.form.chunk), "choices": choices, **more})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.ask.model}


def _event(data: Any) -> bytes:
    """One server-sent event with JSON in it."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode(
        "utf-8", "replace"
    )


def _usage(stop: Stop) -> dict[str, Any]:
    usage = stop.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _reason(stop: Stop) -> str:
    return "length" if stop.reason == "length" else "stop"
