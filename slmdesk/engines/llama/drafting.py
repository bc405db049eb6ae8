"""Drafting without a second model: what followed the last few tokens when they stood in the text before is guessed to
follow again, and evaluated together with the next token. The sampler decides about each as ever, so the answer is the
same; a guess that was right costs a row of a batch instead of a step. (Prompt lookup decoding, A. Saxena 2023.)

How much is guessed follows from what a row more costs here and how often guesses were right, so that it ends by
itself where it does not pay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CONTEXT = 3  # tokens that must have stood there before
_FIRST_RATE = 0.5  # of guesses that are right, before any was seen
_RATE_MEMORY = 0.15  # weight of the newest guess
_FIRST_COST = 0.3  # of a row more, as part of a step
_COST_MEMORY = 0.2
_CLEAR = 0.1  # difference of two logits; rounding makes up less than a tenth of it on the models tried
_REMEASURE = 32  # steps with guesses after which one goes without, to see what a step costs


class Lookup:
    """Guesses for one answer. `tokens` is the answer's own list, which grows."""

    __slots__ = ("_read", "_seen", "_tokens", "doubtful", "guess", "rate")

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._seen: dict[
            tuple[int, ...], int
        ] = {}  # tokens -> where the text went on behind them, the last time
        self._read = _CONTEXT
        self.rate = _FIRST_RATE
        self.guess: list[int] = []
        self.doubtful = False  # the next token is too near to another one to be chosen among guesses

    def look(self, most: int) -> list[int]:
        """Guess up to `most` tokens that come next; kept as `guess`."""
        tokens, seen = self._tokens, self._seen
        for at in range(self._read, len(tokens)):
            seen[tuple(tokens[at - _CONTEXT : at])] = at
        self._read = max(self._read, len(tokens))
        if self.doubtful:
            self.doubtful, self.guess = False, []
            return self.guess
        found = seen.get(tuple(tokens[-_CONTEXT:])) if len(tokens) >= _CONTEXT else None
        self.guess = tokens[found : found + most] if found is not None else []
        return self.guess

    def learn(self, *, right: bool) -> None:
        """A guess was right or wrong."""
        self.rate += (float(right) - self.rate) * _RATE_MEMORY


def is_clear(row: NDArray[np.float32]) -> bool:
    """Whether the largest logit (of one row, shape: vocabulary) is so far before the next that it is the largest
    whichever way the row is computed: several tokens at once round otherwise than one."""
    first, second = np.partition(row, len(row) - 2)[-2:][::-1]
    return bool(first - second > _CLEAR)


class Drafting:
    """How many guessed tokens each answer of a step gets."""

    def __init__(self) -> None:
        self._cost = _FIRST_COST
        self._steps = 0

    def share(self, lookups: Sequence[Lookup], room: int) -> list[int]:
        """Tokens to draft for each of these answers, `room` in all: one after another where it pays the most.

        A row pays while the chance that it is right, tokens it brings, is more than the tokens that its cost would
        bring otherwise.
        """
        counts = [0] * len(lookups)
        self._steps += 1
        if self._steps % _REMEASURE == 0:
            return counts
        chances = [lookup.rate if lookup.guess else 0.0 for lookup in lookups]
        tokens, cost = float(len(lookups)), 1.0
        while room > 0:
            best = max(range(len(chances)), key=chances.__getitem__)
            if chances[best] <= self._cost * tokens / cost:
                return counts
            counts[best] += 1
            tokens, cost, room = tokens + chances[best], cost + self._cost, room - 1
            more = counts[best] < len(lookups[best].guess)
            chances[best] = chances[best] * lookups[best].rate if more else 0.0
        return counts

    def measured(self, seconds: float, step_s: float, rows: int) -> None:
        """A step with `rows` guessed tokens took so long; one without takes `step_s`."""
        if step_s > 0:
            cost = max(seconds / step_s - 1.0, 0.0) / rows
            self._cost += (min(cost, 2.0) - self._cost) * _COST_MEMORY
