"""The OpenAI API: `/v1/chat/completions` and `/v1/completions`, whole answers and server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from slmdesk.inference.answers import ReasoningDelta, TokenLogprobs, ToolCallDelta
from slmdesk.serving.api_errors import error_object
from slmdesk.serving.dialects.bodies import read_body
from slmdesk.serving.dialects.openai_bodies import ChatBody, CompletionBody
from slmdesk.serving.dialects.openai_logprobs import chat_logprobs, text_logprobs
from slmdesk.serving.dialects.openai_requests import read_chat, read_completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.inference.asks import ToolCall
    from slmdesk.serving.dialects.dialect import Asked, Writer, Written

_DONE = b"data: [DONE]\n\n"
_ALIVE = b": waiting\n\n"


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


_CHAT = _Form(
    chat=True,
    id_prefix="chatcmpl-",
    whole="chat.completion",
    chunk="chat.completion.chunk",
    before='"delta":{"content":',
    after='},"finish_reason":null',
)
_TEXT = _Form(
    chat=False,
    id_prefix="cmpl-",
    whole="text_completion",
    chunk="text_completion",
    before='"text":',
    after=',"logprobs":null,"finish_reason":null',
)


class OpenAiDialect:
    """One of the two kinds of completion."""

    def __init__(self, form: _Form) -> None:
        self._form = form

    def read(self, body: bytes) -> Asked:
        if self._form.chat:
            return read_chat(read_body(body, ChatBody))
        return read_completion(read_body(body, CompletionBody))

    def writer(self, asked: Asked) -> Writer:
        return _ChunkWriter(self._form, asked)


CHAT = OpenAiDialect(_CHAT)
TEXT = OpenAiDialect(_TEXT)


@dataclass(slots=True)
class _ChunkWriter:
    """The JSON around the answers to one request."""

    form: _Form
    asked: Asked
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = "text/event-stream; charset=utf-8"
    tells_all: bool = False
    offsets: dict[int, int] = field(default_factory=dict)  # characters told so far, of each text completion

    def __post_init__(self) -> None:
        self.id = f"{self.form.id_prefix}{secrets.token_hex(12)}"

    def around_text(self, choice: int) -> tuple[bytes, bytes]:
        head = json.dumps(self._head(self.form.chunk), separators=(",", ":"))[:-1]
        usage = ',"usage":null' if self.asked.include_usage else ""
        return (
            f'data: {head},"choices":[{{"index":{choice},{self.form.before}'.encode(),
            f"{self.form.after}}}]{usage}}}\n\n".encode(),
        )

    def text(self, text: str, choice: int) -> bytes:
        before, after = self.around_text(choice)
        return before + encode_basestring(text).encode("utf-8", "replace") + after

    def opening(self, _started: Started, choice: int) -> bytes:
        """The first chunk: who speaks. Text completions begin with the prompt where they repeat it."""
        if self.form.chat:
            delta = {"role": "assistant", "content": ""}
            return self._chunk([{"index": choice, "delta": delta, "finish_reason": None}])
        prompt = self._echoed(choice)
        return self.text(prompt, choice) if prompt else b""

    def event(self, event: Delta | LoadProgress | EngineChanged, choice: int) -> bytes:
        match event:
            case ReasoningDelta(text=text) if self.form.chat:
                return self._delta(choice, {"reasoning_content": text})
            case ToolCallDelta() if self.form.chat:
                return self._delta(choice, {"tool_calls": [_call_delta(event)]})
            case TokenLogprobs():
                return self._token(event, choice)
        return b""

    def ending(self, stop: Stop, choice: int) -> bytes:
        """The last chunk of one answer."""
        last: dict[str, Any] = {"index": choice}
        if self.form.chat:
            last["delta"] = {}
        else:
            last |= {"text": "", "logprobs": None}
        last["finish_reason"] = _reason(stop)
        return self._chunk([last], timings=stop.timings.to_json(), **dropped(stop))

    def closing(self, stops: Sequence[Stop]) -> bytes:
        """The usage where it was asked for, and the end mark."""
        usage = self._chunk([], usage=self._usage(stops)) if self.asked.include_usage else b""
        return usage + _DONE

    def failing(self, error: SlmDeskError) -> bytes:
        return _event(error_object(error))

    def waiting(self) -> bytes:
        return _ALIVE

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        stops = [answer.stop for answer in answers]
        return {
            **self._head(self.form.whole),
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": self._usage(stops),
            "timings": stops[0].timings.to_json(),
            **dropped(stops[0]),
        }

    def _choice(self, index: int, answer: Written) -> dict[str, Any]:
        scores = answer.logprobs if self.asked.tells_logprobs else None
        choice: dict[str, Any] = {"index": index}
        if self.form.chat:
            choice["message"] = _message(answer)
            choice["logprobs"] = chat_logprobs(scores) if scores is not None else None
        else:
            echoed = self._echoed(index) or "".join(one.chosen.text for one in answer.logprobs if one.prompt)
            choice["text"] = (echoed if self.asked.echo else "") + answer.text
            choice["logprobs"] = text_logprobs(scores)[0] if scores is not None else None
        return {**choice, "finish_reason": _reason(answer.stop)}

    def _echoed(self, choice: int) -> str:
        """The prompt, where it is repeated and is known as text."""
        ask = self.asked.asks[choice]
        known = self.asked.echo and isinstance(ask.prompt, str) and not ask.prompt_logprobs
        return str(ask.prompt) if known else ""

    def _token(self, token: TokenLogprobs, choice: int) -> bytes:
        """One token's log probability; the text of a prompt's token comes with it."""
        if self.form.chat:
            entry: dict[str, Any] = {
                "index": choice,
                "delta": {"content": ""},
                "logprobs": chat_logprobs([token]),
            }
        else:
            scores, offset = text_logprobs([token], self.offsets.get(choice, 0))
            self.offsets[choice] = offset
            entry = {
                "index": choice,
                "text": token.chosen.text if token.prompt else "",
                "logprobs": scores if self.asked.tells_logprobs else None,
            }
        return self._chunk([{**entry, "finish_reason": None}])

    def _delta(self, choice: int, delta: dict[str, Any]) -> bytes:
        return self._chunk([{"index": choice, "delta": delta, "finish_reason": None}])

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        if self.asked.include_usage:
            more.setdefault("usage", None)
        return _event({**self._head(self.form.chunk), "choices": choices, **more})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.ask.model}

    def _usage(self, stops: Sequence[Stop]) -> dict[str, Any]:
        """Of all answers; a prompt that several share counts once."""
        prompts = stops[:: self.asked.each]
        prompt_tokens = sum(stop.usage.prompt_tokens for stop in prompts)
        completion_tokens = sum(stop.usage.completion_tokens for stop in stops)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(stop.usage.cached_tokens for stop in prompts)},
        }


def _event(data: Any) -> bytes:
    """One server-sent event with JSON in it."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode(
        "utf-8", "replace"
    )


def _message(answer: Written) -> dict[str, Any]:
    calls, text, reasoning = answer.calls, answer.text, answer.reasoning
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if reasoning:
        message["reasoning_content"] = reasoning.strip()
    if calls:
        message["tool_calls"] = [tool_call(call) for call in calls]
    return message


def tool_call(call: ToolCall) -> dict[str, Any]:
    """A whole call as this API has it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_delta(event: ToolCallDelta) -> dict[str, Any]:
    """The first part of a call has its id and name."""
    if not event.name:
        return {"index": event.index, "function": {"arguments": event.arguments}}
    function = {"name": event.name, "arguments": event.arguments}
    return {"index": event.index, "id": event.id, "type": "function", "function": function}


def dropped(stop: Stop) -> dict[str, Any]:
    """What was left out of the prompt, and the window it was too long for; nothing where nothing was."""
    if not stop.dropped_turns and not stop.dropped_tokens:
        return {}
    told = {
        "length": stop.context_length,
        "dropped_turns": stop.dropped_turns,
        "dropped_tokens": stop.dropped_tokens,
    }
    return {"context": told}


def _reason(stop: Stop) -> str:
    return stop.reason if stop.reason in {"length", "tool_calls"} else "stop"
