"""What an API is to the service: two pure halves, one that reads and one that writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from slmdesk.inference.answers import ReasoningDelta, TokenLogprobs, ToolCallDelta
from slmdesk.inference.asks import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started, Stop
    from slmdesk.inference.asks import Ask


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what is asked, and how the answers are to come.

    `more`: asks beyond the first, of the same model; `each` answers in turn belong to one prompt. `notes`: what was
    done otherwise than asked, said in a header. `echo`: the prompt comes before the answer. `keep_s`: seconds that the
    model stays loaded without use from then on. `extra`: what only the dialect itself understands.
    """

    ask: Ask
    stream: bool
    include_usage: bool = False
    more: tuple[Ask, ...] = ()
    each: int = 1
    notes: tuple[str, ...] = ()
    echo: bool = False
    tells_logprobs: bool = False
    keep_s: float | None = None
    extra: Any = None

    @property
    def asks(self) -> tuple[Ask, ...]:
        """All of them, in the order of their choices."""
        return (self.ask, *self.more)


@dataclass(slots=True)
class Written:
    """One whole answer."""

    stop: Stop
    pieces: Sequence[Delta] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The answer alone."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def reasoning(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, ReasoningDelta))

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls, put together."""
        found: dict[int, list[str]] = {}
        for piece in self.pieces:
            if isinstance(piece, ToolCallDelta):
                call = found.setdefault(piece.index, ["", "", ""])
                for at, value in enumerate((piece.id, piece.name, piece.arguments)):
                    call[at] += value
        return [ToolCall(*call) for call in found.values()]

    @property
    def logprobs(self) -> list[TokenLogprobs]:
        return [piece for piece in self.pieces if isinstance(piece, TokenLogprobs)]


class Writer(Protocol):
    """Writes the answers to one request; `choice` counts them from 0. What there is nothing to say for is b""."""

    content_type: str  # of a stream
    tells_all: bool  # hears of the load and of changes too, so its stream begins at once

    def around_text(self, choice: int) -> tuple[bytes, bytes] | None:
        """What stands before and behind the JSON text of one piece, where that is the same for all pieces."""
        ...

    def text(self, text: str, choice: int) -> bytes:
        """One piece of text."""
        ...

    def opening(self, started: Started, choice: int) -> bytes:
        """The prompt was taken."""
        ...

    def event(self, event: Delta | LoadProgress | EngineChanged, choice: int) -> bytes:
        """Anything else that is no text."""
        ...

    def ending(self, stop: Stop, choice: int) -> bytes:
        """The end of one answer."""
        ...

    def closing(self, stops: Sequence[Stop]) -> bytes:
        """The end of a stream, when all answers ended."""
        ...

    def failing(self, error: SlmDeskError) -> bytes:
        """The end of a stream that was opened already."""
        ...

    def waiting(self) -> bytes:
        """A sign of life while nothing is written."""
        ...

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        """The body of answers that are not streamed."""
        ...


class Dialect(Protocol):
    """One API. What is refused before anything was sent has its form by the path, see `api_errors.form_of`."""

    def read(self, body: bytes) -> Asked:
        """Raises `RequestError`, or `SlmDeskError("bad_request")`."""
        ...

    def writer(self, asked: Asked, /) -> Writer:
        """For the answers to one request."""
        ...
