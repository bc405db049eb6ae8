"""The Responses API: `/v1/responses`, whole answers and its numbered events."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slmdesk.inference.answers import ReasoningDelta, ToolCallDelta
from slmdesk.inference.asks import Text, ToolCall, Turn
from slmdesk.serving.api_errors import error_object
from slmdesk.serving.dialects.bodies import read_body
from slmdesk.serving.dialects.openai import dropped
from slmdesk.serving.dialects.responses_requests import ResponsesBody, read_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.serving.dialects.dialect import Asked, Writer, Written
    from slmdesk.serving.dialects.responses_store import ResponseStore


class ResponsesDialect:
    """The API, with the responses that may be gone on from."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    def read(self, body: bytes) -> Asked:
        return read_response(read_body(body, ResponsesBody), self._store)

    def writer(self, asked: Asked) -> Writer:
        return _ResponseWriter(asked, self._store)


@dataclass(slots=True)
class _Item:
    """One item of the output while it is written."""

    kind: str  # message, reasoning, function_call
    id: str
    index: int
    text: str = ""
    name: str = ""
    call: str = ""

    def told(self, status: str) -> dict[str, Any]:
        """As it stands in the output."""
        if self.kind == "function_call":
            return {
                "id": self.id,
                "type": "function_call",
                "status": status,
                "call_id": self.call,
                "name": self.name,
                "arguments": self.text,
            }
        done = status == "completed"
        if self.kind == "reasoning":
            parts = [{"type": "reasoning_text", "text": self.text}] if done else []
            return {"id": self.id, "type": "reasoning", "summary": [], "content": parts, "status": status}
        content = [_output_text(self.text)] if done else []
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}


@dataclass(slots=True)
class _ResponseWriter:
    """The events of one response. Its items are written one after another."""

    asked: Asked
    store: ResponseStore
    id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = "text/event-stream; charset=utf-8"
    tells_all: bool = False
    number: int = 0
    items: list[_Item] = field(default_factory=list)
    open: _Item | None = None

    def __post_init__(self) -> None:
        self.id = f"resp_{secrets.token_hex(16)}"

    def around_text(self, _choice: int) -> None:
        return None

    def text(self, text: str, _choice: int) -> bytes:
        opened, item = self._begin("message")
        item.text += text
        delta = self._event("response.output_text.delta", **self._in_part(item), delta=text, logprobs=[])
        return opened + delta

    def opening(self, _started: Started, _choice: int) -> bytes:
        response = self._response("in_progress", None)
        created = self._event("response.created", response=response)
        return created + self._event("response.in_progress", response=response)

    def event(self, event: Delta | LoadProgress | EngineChanged, _choice: int) -> bytes:
        match event:
            case ReasoningDelta(text=text):
                opened, item = self._begin("reasoning")
                item.text += text
                return opened + self._event(
                    "response.reasoning_text.delta", **self._in_part(item), delta=text
                )
            case ToolCallDelta(name=name, arguments=arguments):
                opened = b""
                if name:
                    opened, item = self._begin("function_call", anew=True, name=name, call=event.id)
                else:
                    item = self.items[-1]
                item.text += arguments
                if not arguments:
                    return opened
                place = {"item_id": item.id, "output_index": item.index}
                return opened + self._event(
                    "response.function_call_arguments.delta", **place, delta=arguments
                )
        return b""

    def ending(self, stop: Stop, _choice: int) -> bytes:
        closed = self._close()
        whole = stop.reason != "length"
        response = self._response("completed" if whole else "incomplete", stop)
        self._keep(response)
        return closed + self._event(f"response.{response['status']}", response=response)

    def closing(self, _stops: Sequence[Stop]) -> bytes:
        return b""

    def failing(self, error: SlmDeskError) -> bytes:
        told = error_object(error)["error"]
        response = self._response("failed", None) | {
            "error": {"code": told["code"], "message": told["message"]}
        }
        return self._event("response.failed", response=response)

    def waiting(self) -> bytes:
        return b": waiting\n\n"

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        (answer,) = answers
        if reasoning := answer.reasoning.strip():
            self._begin("reasoning")[1].text = reasoning
        calls = answer.calls
        if answer.text or not calls:
            self._begin("message")[1].text = answer.text
        for call in calls:
            self._begin("function_call", anew=True, name=call.name, call=call.id)[1].text = call.arguments
        whole = answer.stop.reason != "length"
        response = self._response("completed" if whole else "incomplete", answer.stop)
        self._keep(response)
        return response

    def _begin(self, kind: str, *, anew: bool = False, name: str = "", call: str = "") -> tuple[bytes, _Item]:
        """The item of this kind that is being written, and the events that begin it."""
        if self.open is not None and self.open.kind == kind and not anew:
            return b"", self.open
        closed = self._close()
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        item = _Item(
            kind, f"{prefix}_{secrets.token_hex(12)}", len(self.items), name=name, call=f"call_{call}"
        )
        self.items.append(item)
        self.open = item
        begun = self._event(
            "response.output_item.added", output_index=item.index, item=item.told("in_progress")
        )
        if kind == "message":
            begun += self._event("response.content_part.added", **self._in_part(item), part=_output_text(""))
        return closed + begun, item

    def _close(self) -> bytes:
        item, self.open = self.open, None
        if item is None:
            return b""
        place = self._in_part(item)
        if item.kind == "message":
            done = self._event("response.output_text.done", **place, text=item.text, logprobs=[])
            done += self._event("response.content_part.done", **place, part=_output_text(item.text))
        elif item.kind == "reasoning":
            done = self._event("response.reasoning_text.done", **place, text=item.text)
        else:
            place = {"item_id": item.id, "output_index": item.index, "name": item.name}
            done = self._event("response.function_call_arguments.done", **place, arguments=item.text)
        return done + self._event(
            "response.output_item.done", output_index=item.index, item=item.told("completed")
        )

    @staticmethod
    def _in_part(item: _Item) -> dict[str, Any]:
        return {"item_id": item.id, "output_index": item.index, "content_index": 0}

    def _event(self, kind: str, **values: Any) -> bytes:
        data = {"type": kind, "sequence_number": self.number, **values}
        self.number += 1
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {kind}\ndata: {text}\n\n".encode("utf-8", "replace")

    def _response(self, status: str, stop: Stop | None) -> dict[str, Any]:
        body: ResponsesBody = self.asked.extra
        ended = status in {"completed", "incomplete"}
        tools = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }
            for tool in self.asked.ask.tools
        ]
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": self.asked.ask.max_tokens or None,
            "model": self.asked.ask.model,
            "output": [item.told("completed") for item in self.items] if ended else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": (body.reasoning or {}).get("effort"), "summary": None},
            "store": body.store is not False,
            "temperature": body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": tools,
            "top_p": body.top_p,
            "truncation": body.truncation or "disabled",
            "usage": _usage(stop) if stop is not None else None,
            "metadata": body.metadata or {},
            **(dropped(stop) if stop is not None else {}),
        }

    def _keep(self, response: dict[str, Any]) -> None:
        """So that a later request may go on from here. Instructions are not part of what is gone on from."""
        body: ResponsesBody = self.asked.extra
        if body.store is False:
            return
        calls = [_call(item) for item in self.items if item.kind == "function_call"]
        text = "".join(item.text for item in self.items if item.kind == "message")
        said = Turn("assistant", (*((Text(text),) if text else ()), *calls))
        turns = self.asked.ask.turns[1 if body.instructions else 0 :]
        self.store.put(response, (*turns, said))


def _call(item: _Item) -> ToolCall:
    return ToolCall(item.call, item.name, item.text)


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(stop: Stop) -> dict[str, Any]:
    usage = stop.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
