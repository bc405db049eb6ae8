"""What an API is to the service: two pure halves, one that reads and one that writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.inference.asks import Ask


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what is asked, and how the answer is to come."""

    ask: Ask
    stream: bool
    include_usage: bool = False


class Writer(Protocol):
    """Writes one answer. What a method has nothing to say for is b""."""

    content_type: str  # of a stream
    tells_all: bool  # hears of the load and of changes too, so its stream begins at once

    def around_text(self) -> tuple[bytes, bytes]:
        """What stands before and behind the JSON text of one piece."""
        ...

    def opening(self, started: Started, /) -> bytes:
        """The prompt was taken."""
        ...

    def event(self, event: Delta | LoadProgress | EngineChanged, /) -> bytes:
        """Anything else that is no text."""
        ...

    def closing(self, stop: Stop) -> bytes:
        """The end of a stream."""
        ...

    def failing(self, error: SlmDeskError) -> bytes:
        """The end of a stream that was opened already."""
        ...

    def whole(self, text: str, stop: Stop) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        ...


class Dialect(Protocol):
    """One API."""

    def read(self, body: bytes) -> Asked:
        """Raises `RequestError`, or `SlmDeskError("bad_request")`."""
        ...

    def writer(self, asked: Asked, /) -> Writer:
        """For the answer to one request."""
        ...
