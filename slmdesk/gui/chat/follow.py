"""Whether the view of a conversation follows its end."""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 48
"""This near to the end (pixels) counts as being there."""


@dataclass(slots=True)
class Follow:
    """Follows the end until the reader scrolls up, and again once they are back at the end.

    Positions are those of a scroll bar: `value` runs from 0 to `maximum`, both in pixels.
    """

    following: bool = True

    def read(self, value: int, maximum: int) -> None:
        """The reader moved the view."""
        self.following = maximum - value <= SLACK

    def jump(self) -> None:
        """The reader wants the end: they sent something, or pressed Latest."""
        self.following = True

    def away(self, value: int, maximum: int) -> bool:
        """Whether a way back to the end should be offered."""
        return not self.following and maximum - value > SLACK
