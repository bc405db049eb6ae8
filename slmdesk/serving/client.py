"""The service as front ends see it: one method an action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from slmdesk.engines.registry import KINDS
from slmdesk.inference.answers import AnswerEvent, Stop
from slmdesk.serving.entries import ModelEntry, ServiceStatus
from slmdesk.serving.http_client import LocalHttp, decoded, error_in, lost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.asks import Ask

_HEALTH_S = 5.0


_EVENT = msgspec.json.Decoder(AnswerEvent)


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

    async def ask(self, ask: Ask) -> AsyncGenerator[AnswerEvent, None]:
        """One answer as it is written, its `Stop` last. Closing the generator ends it: its slot is free within one
        step. Pieces of text that waited come as one."""
        exchange = await self._http.begin("POST", "/slmdesk/v1/ask", _named(ask))
        try:
            status = await exchange.head()
            if status != 200:
                decoded(status, await exchange.body())
            while lines := await exchange.lines():
                for event in _joined(lines):
                    if isinstance(event, Stop):
                        event.raise_error()
                        yield event
                        return
                    yield event
            raise lost()
        finally:
            self._http.end(exchange)

    async def count(self, ask: Ask) -> int:
        """How many tokens a prompt has with the model's template applied; loads the model where needed."""
        # Without a limit: the model may have to be loaded first.
        answer = await self._http.ask("POST", "/slmdesk/v1/count", _named(ask), timeout=None)
        return int(answer["tokens"])

    async def shutdown(self, *, if_idle: bool = False) -> None:
        """Ask the service to end. Raises `service_busy` with `if_idle` while other requests run."""
        await self._http.ask("POST", "/slmdesk/v1/shutdown", {"if_idle": if_idle})

    async def close(self) -> None:
        """Cut what is still open. The service itself goes on."""
        self._http.close()


def _joined(lines: list[bytes]) -> list[AnswerEvent]:
    """The events in these lines, neighbouring pieces of text as one."""
    events: list[AnswerEvent] = []
    texts: list[str] = []
    for line in lines:
        event = _EVENT.decode(line) if line else ""
        if isinstance(event, str):
            texts.append(event)
            continue
        if text := "".join(texts):
            events.append(text)
        texts.clear()
        events.append(event)
    if text := "".join(texts):
        events.append(text)
    return events


def _named(ask: Ask) -> Ask:
    return replace(ask, model=_reference(ask.model))


def _about(model: str, context_length: int) -> dict[str, Any]:
    """What a request says about the model it is for."""
    limit = {"context_length": context_length} if context_length > 0 else {}
    return {"model": _reference(model), **limit}


def _reference(model: str) -> str:
    """The service runs in a folder of its own, so a path is sent whole."""
    return str(Path(model).expanduser().absolute()) if KINDS.runs(Path(model)) else model


def service_gone(error: SlmDeskError) -> bool:
    """Whether the service itself is away, as opposed to a model of it."""
    return error.code in {"service_unreachable", "service_lost"}
