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
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started
    from slmdesk.serving.dialects.dialect import Writer


class OwnDialect:
    """Everything that the contract of inference has, as it is."""

    def read(self, body: bytes) -> Asked:
        ask = decoded(body, Ask)
        ask.check()
        return Asked(ask, stream=True)

    def writer(self, _asked: Asked) -> Writer:
        return _Lines()


class _Lines:
    content_type = "application/x-ndjson"
    tells_all = True

    def around_text(self) -> tuple[bytes, bytes]:
        return b"", b"\n"

    def opening(self, started: Started) -> bytes:
        return _line(started)

    def event(self, event: Delta | LoadProgress | EngineChanged) -> bytes:
        return _line(event)

    def closing(self, stop: Stop) -> bytes:
        return _line(stop)

    def failing(self, error: SlmDeskError) -> bytes:
        return _line(Stop("error", error=error.to_json()))

    def whole(self, text: str, stop: Stop) -> dict[str, Any]:
        return {"text": text, **stop.to_json()}


def _line(value: object) -> bytes:
    return encoded(value) + b"\n"
