"""The service as front ends see it: one method an action."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.serving.entries import LoadedModel, ModelEntry, ServiceStatus
from slmdesk.serving.http_client import LocalHttp, decoded, error_in, lost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from slmdesk.core.errors import SlmDeskError

__all__ = [
    "AnswerFinished",
    "AnswerStarted",
    "ChatEvent",
    "ChatRequest",
    "EngineChanged",
    "LoadProgress",
    "LoadedModel",
    "ModelEntry",
    "ServiceClient",
    "ServiceStatus",
    "TextDelta",
]

_HEALTH_S = 5.0


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One answer asked for. `sampling` holds fields of the API (temperature, top_p, …); 0 tokens: no limit.

    With another `context_length` than the model has it is loaded anew (0: as the settings say). What is left open
    is filled by the model's kept settings, then the program's; the conversation alone knows its instructions.
    """

    model: str
    messages: list[dict[str, Any]]
    sampling: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 0
    stop: list[str] = field(default_factory=list)
    conversation: str = ""
    context_length: int = 0


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The model is being loaded: 0 to 1."""

    fraction: float


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The engine took the request. `chat_form`: what stands in for a chat template that the file does not have."""

    prompt_tokens: int
    chat_form: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text; several pieces that waited come as one."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The whole answer was there. `reason` is stop or length; `usage` and `timings` as the API gives them."""

    reason: str
    usage: dict[str, Any]
    timings: dict[str, float]
    context_length: int


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """Native code failed and the engine runs in a safer way now: a sentence for a person. The answer goes on."""

    text: str


ChatEvent = LoadProgress | AnswerStarted | TextDelta | EngineChanged | AnswerFinished


class ServiceClient:
    """Speaks to one service. Used on one event loop.

    Every method may raise `service_unreachable` (nobody answers), `service_lost` (the connection broke) and the
    errors the service answers with.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = LocalHttp(url, token)

    async def health(self) -> dict[str, Any]:
        """`status`, `version` and `pid`."""
        answer = await self._http.ask("GET", "/health", timeout=_HEALTH_S)
        if not isinstance(answer, dict) or answer.get("name") != "slmdesk":
            raise lost()
        return answer

    async def models(self) -> list[ModelEntry]:
        """All models that can be asked for."""
        answer = await self._http.ask("GET", "/v1/models")
        return [ModelEntry.from_json(entry) for entry in answer["data"]]

    async def status(self) -> ServiceStatus:
        """What is loaded, and how busy it is."""
        return ServiceStatus.from_json(await self._http.ask("GET", "/slmdesk/v1/status"))

    async def load(self, model: str, *, context_length: int = 0) -> AsyncGenerator[float, None]:
        """Load a model, telling how far it is (0 to 1); ends when it is ready."""
        body = _about(model, context_length)
        exchange = await self._http.begin("POST", "/slmdesk/v1/load", body)
        try:
            status = await exchange.head()
            if status != 200:
                decoded(status, await exchange.body())
            while lines := await exchange.lines():
                for line in lines:
                    step = json.loads(line)
                    if "ready" in step:
                        return
                    if "error" in step:
                        raise error_in(step)
                    yield float(step["progress"])
            raise lost()
        finally:
            self._http.end(exchange)

    async def unload(self, model: str) -> bool:
        """End a model's engine. Whether it was loaded. Raises `model_busy` while it answers."""
        answer = await self._http.ask("POST", "/slmdesk/v1/unload", {"model": _reference(model)})
        return bool(answer["unloaded"])

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """One answer as it is written. Closing the generator ends it: its slot is free within one step."""
        body: dict[str, Any] = {
            **request.sampling,
            **_about(request.model, request.context_length),
            "messages": request.messages,
            "kept_instructions": False,
            "stream": True,
        }
        if request.max_tokens > 0:
            body["max_tokens"] = request.max_tokens
        if request.stop:
            body["stop"] = request.stop
        if request.conversation:
            body["conversation"] = request.conversation
        exchange = await self._http.begin("POST", "/v1/chat/completions", body, {"X-SlmDesk-Events": "1"})
        try:
            status = await exchange.head()
            if status != 200:
                decoded(status, await exchange.body())
            reader = _EventReader()
            while not reader.finished:
                lines = await exchange.lines()
                if not lines:
                    raise lost()
                for event in reader.read(lines):
                    yield event
                if reader.error is not None:
                    raise reader.error
        finally:
            self._http.end(exchange)

    async def count_tokens(
        self, model: str, messages: list[dict[str, Any]], *, context_length: int = 0
    ) -> int:
        """How many tokens a chat has with the model's template applied; loads the model where needed."""
        body = _about(model, context_length) | {"messages": messages, "kept_instructions": False}
        # Without a limit: the model may have to be loaded first.
        answer = await self._http.ask("POST", "/slmdesk/v1/tokenize", body, timeout=None)
        return int(answer["tokens"])

    async def shutdown(self, *, if_idle: bool = False) -> None:
        """Ask the service to end. Raises `service_busy` with `if_idle` while other requests run."""
        await self._http.ask("POST", "/slmdesk/v1/shutdown", {"if_idle": if_idle})

    async def close(self) -> None:
        """Cut what is still open. The service itself goes on."""
        self._http.close()


class _EventReader:
    """Reads the lines of a stream; neighbouring pieces of text become one event."""

    def __init__(self) -> None:
        self.finished = False
        self.error: SlmDeskError | None = None
        self._name = b""
        self._form = ""

    def read(self, lines: list[bytes]) -> list[ChatEvent]:
        """The events in these lines. `error` holds the one the stream ended with, if it did."""
        events: list[ChatEvent] = []
        texts: list[str] = []
        for line in lines:
            if line.startswith(b"data: "):
                if not self._name and not self.finished:
                    self._take(line[6:], texts)
                elif (event := self._named(line[6:])) is not None:
                    _flush(texts, events)
                    events.append(event)
            elif line.startswith(b"event: "):
                self._name = line[7:]
            elif not line:
                self._name = b""
        _flush(texts, events)
        return events

    def _take(self, data: bytes, texts: list[str]) -> None:
        """One chunk of the API."""
        chunk = json.loads(data)
        if "error" in chunk:
            self.error = error_in(chunk)
        elif choices := chunk["choices"]:
            texts.append(choices[0]["delta"].get("content", ""))

    def _named(self, data: bytes) -> ChatEvent | None:
        match self._name:
            case b"progress":
                return LoadProgress(float(json.loads(data)))
            case b"started":
                return AnswerStarted(int(json.loads(data)), self._form)
            case b"form":
                self._form = str(json.loads(data))
            case b"changed":
                return EngineChanged(str(json.loads(data)["text"]))
            case b"finished":
                self.finished = True
                end = json.loads(data)
                return AnswerFinished(end["reason"], end["usage"], end["timings"], end["context_length"])
        return None


def _flush(texts: list[str], events: list[ChatEvent]) -> None:
    text = "".join(texts)
    texts.clear()
    if text:
        events.append(TextDelta(text))


def _about(model: str, context_length: int) -> dict[str, Any]:
    """What a request says about the model it is for."""
    limit = {"context_length": context_length} if context_length > 0 else {}
    return {"model": _reference(model), **limit}


def _reference(model: str) -> str:
    """The service runs in a folder of its own, so a path is sent whole."""
    return str(Path(model).expanduser().absolute()) if model.lower().endswith(".gguf") else model


def service_gone(error: SlmDeskError) -> bool:
    """Whether the service itself is away, as opposed to a model of it."""
    return error.code in {"service_unreachable", "service_lost"}
