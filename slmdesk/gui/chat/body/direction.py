"""Which way a text is read."""

from __future__ import annotations

import unicodedata

_LOOK = 200  # letters; what begins later does not decide


def right_to_left(text: str) -> bool:
    """Whether the first letter with a direction of its own belongs to a script written from the right.

    Unicode's bidirectional algorithm, rules P2 and P3 (UAX #9), without its isolates.
    """
    if text.isascii():
        return False
    for letter in text[:_LOOK]:
        kind = unicodedata.bidirectional(letter)
        if kind == "L":
            return False
        if kind in {"R", "AL"}:
            return True
    return False
