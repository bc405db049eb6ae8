"""An answer while it is written: the one buffer in which it grows, in the chat as in the window."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slmdesk.inference.answers import ReasoningDelta
from slmdesk.inference.asks import Reasoning, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.inference.asks import Part


class GrowingAnswer:
    """What a model thought aloud, and behind it the visible text; each grows at its end.

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
        self.size = len(self._thought[0]) + len(text)
        """Characters so far."""
        self._clock = clock
        self._thought_s = thought_s
        self._since: float | None = None  # it has been thinking, by the clock

    def take(self, delta: str | ReasoningDelta) -> None:
        """The next piece came."""
        if isinstance(delta, ReasoningDelta):
            self._thought.append(delta.text)
            self.size += len(delta.text)
            self._since = self._clock() if self._since is None else self._since
            return
        self._said.append(delta)
        self.size += len(delta)
        self._thought_s, self._since = self.thought_s, None

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
        if not self.reasoning.strip():
            return ()
        return (Reasoning(self.reasoning), *((Text(self.text),) if self.text else ()))


def _whole(pieces: list[str]) -> str:
    """The pieces as one, which stays in their place."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0]
