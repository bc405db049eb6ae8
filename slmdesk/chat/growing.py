"""An answer while it is written: the one buffer in which it grows, in the chat as in the window."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slmdesk.inference.answers import ReasoningDelta, ToolCallDelta
from slmdesk.inference.asks import Reasoning, Text, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.inference.asks import Part


class GrowingAnswer:
    """What a model thought aloud, behind it the visible text, and the tools it calls; each grows at its end.

    `begun`: the parts, or the `text` alone, that an answer which is gone on with holds already. `thought_s`: seconds it
    was thought before; `clock` counts them.
    """

    def __init__(
        self,
        begun: Iterable[Part] = (),
        text: str = "",
        thought_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        begun = tuple(begun)
        self._thought = ["".join(part.text for part in begun if isinstance(part, Reasoning))]
        self._said = [text]
        self._calls = dict(enumerate(part for part in begun if isinstance(part, ToolCall)))
        self.size = len(self._thought[0]) + len(text)
        """Characters so far."""
        self._clock = clock
        self._thought_s = thought_s
        self._since: float | None = None  # it has been thinking, by the clock

    def take(self, delta: str | ReasoningDelta | ToolCallDelta) -> None:
        """The next piece came."""
        if isinstance(delta, ToolCallDelta):
            self._call(delta)
            return
        if isinstance(delta, ReasoningDelta):
            self._thought.append(delta.text)
            self.size += len(delta.text)
            self._since = self._clock() if self._since is None else self._since
            return
        self._said.append(delta)
        self.size += len(delta)
        self._thought_s, self._since = self.thought_s, None

    def _call(self, delta: ToolCallDelta) -> None:
        known = self._calls.get(delta.index, ToolCall("", "", ""))
        self._calls[delta.index] = ToolCall(
            known.id or delta.id, known.name or delta.name, known.arguments + delta.arguments
        )
        self.size += len(delta.name) + len(delta.arguments)
        self._thought_s, self._since = self.thought_s, None

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools that are called, as far as that is written."""
        return tuple(self._calls[index] for index in sorted(self._calls))

    @property
    def text(self) -> str:
        """What a reader sees."""
        return _whole(self._said)

    @property
    def reasoning(self) -> str:
        """What was thought aloud, as the model wrote it."""
        return _whole(self._thought)

    @property
    def thinking(self) -> bool:
        """Whether nothing of the answer itself is there yet, but thoughts are."""
        return bool(self.reasoning) and not self.text

    @property
    def thought_s(self) -> float:
        """Seconds that were thought, so far."""
        return self._thought_s + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """As a message keeps them: none where there is text alone."""
        calls = self.calls
        return (*(self.said or ((Text(self.text),) if self.text else ())), *calls) if calls else self.said

    @property
    def said(self) -> tuple[Part, ...]:
        """`parts` without the calls."""
        if not self.reasoning.strip():
            return ()
        return (Reasoning(self.reasoning), *((Text(self.text),) if self.text else ()))


def _whole(pieces: list[str]) -> str:
    """The pieces as one, which stays in their place."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0]
