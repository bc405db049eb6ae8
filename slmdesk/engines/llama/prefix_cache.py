"""Conversations put aside: what the KV cache held of them, copied to plain memory.

Cells that nobody answers from still cost every step a look at each of them (a quarter of the speed of a 135M model
with 4000 such cells), and cells run out. Evaluating a conversation again costs a thousand times what copying does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Kept:
    """One conversation: its tokens and llama.cpp's copy of their keys and values."""

    tokens: list[int]
    conversation: str
    state: NDArray[np.uint8]


class PrefixCache:
    """Holds up to `room` bytes; what was used longest ago makes place: what is used is taken out and put back anew."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: list[Kept] = []  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def used(self) -> int:
        """Bytes it holds."""
        return self._used

    def has_room_for(self, size: int) -> bool:
        """Whether a state of this many bytes could be kept at all."""
        return 0 < size <= self._room

    def put(self, tokens: list[int], conversation: str, state: NDArray[np.uint8]) -> None:
        """Keep a conversation. An older state of the same conversation goes."""
        for kept in self._kept:
            if kept.tokens == tokens[: len(kept.tokens)]:
                self.remove(kept)
                break
        self._kept.append(Kept(tokens, conversation, state))
        self._used += len(state)
        while self._used > self._room:
            self.remove(self._kept[0])

    def remove(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self._used -= len(kept.state)

    def best(self, tokens: list[int], *, whole: bool) -> tuple[Kept | None, int]:
        """What shares the longest beginning with `tokens`, and its length (fewer than all of them).

        `whole`: a state can only be used with all of its tokens.
        """
        best, longest = None, 0
        for kept in self._kept:
            shared = common_prefix(kept.tokens, tokens, min(len(kept.tokens), len(tokens) - 1))
            if shared > longest and not (whole and shared < len(kept.tokens)):
                best, longest = kept, shared
        return best, longest


def common_prefix(first: list[int], second: list[int], limit: int) -> int:
    """How many leading tokens, at most `limit`, are the same. Bisection over slices: compared in C."""
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # the first `low` are the same, the first `high` are not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low
