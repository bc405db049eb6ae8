"""Where two answers part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Parting:
    """The first token in which two answers differ: from `start` to `ends` (one end for each), in characters.

    `token` counts from 1.
    """

    start: int
    ends: tuple[int, int]
    token: int


def parting(first: Sequence[str], second: Sequence[str], *, ended: bool) -> Parting | None:
    """Compare two answers that come in pieces (tokens); None while they agree.

    One that only stops earlier differs too, once both have `ended`.
    """
    left, right = "".join(first), "".join(second)
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    if at is None:
        if len(left) == len(right) or not ended:
            return None
        at = min(len(left), len(right))
    starts = [0, *accumulate(map(len, first))]
    others = [0, *accumulate(map(len, second))]
    start = max(*(s for s in starts if s <= at), *(s for s in others if s <= at))
    token = max(sum(s <= start for s in starts), sum(s <= start for s in others))
    return Parting(start, (_end(starts, start, len(left)), _end(others, start, len(right))), token)


def _end(starts: Sequence[int], start: int, length: int) -> int:
    """The end of the piece that begins at `start`, or goes over it."""
    return min((s for s in starts if s > start), default=length)
