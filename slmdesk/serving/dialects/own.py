"""The program's own API: `POST /slmdesk/v1/ask` takes an `Ask` and answers with one JSON line an event.

A line is a string (new text) or an object whose `type` names the event; see `inference.answers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import Ask
from slmdesk.inference.wire import decoded, encoded
from slmdesk.serving.dialects.dialect import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started
    from slmdesk.serving.dialects.dialect import Writer, Written


class OwnDialect:
    """Everything that the contract of inference has, as it is. Always streamed."""

    def read(self, body: bytes) -> Asked:
        ask = decoded(body, Ask)
        ask.check()
        return Asked(ask, stream=True)

    def writer(self, _asked: Asked) -> Writer:
        return _EventLines()


class _EventLines:
    content_type = "application/x-ndjson"
    tells_all = True

    def around_text(self, _choice: int) -> tuple[bytes, bytes]:
        return b"", b"\n"

    def text(self, text: str, _choice: int) -> bytes:
        return _line(text)

    def opening(self, started: Started, _choice: int) -> bytes:
        return _line(started)

    def event(self, event: Delta | LoadProgress | EngineChanged, _choice: int) -> bytes:
        return _line(event)

    def ending(self, stop: Stop, _choice: int) -> bytes:
        return _line(stop)

    def closing(self, _stops: Sequence[Stop]) -> bytes:
        return b""

    def failing(self, error: SlmDeskError) -> bytes:
        return _line(Stop("error", error=error.to_json()))

    def waiting(self) -> bytes:
        return b""

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        return {"text": answers[0].text, **answers[0].stop.to_json()}


def _line(value: object) -> bytes:
    return encoded(value) + b"\n"
