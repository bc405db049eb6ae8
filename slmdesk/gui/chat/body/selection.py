"""One selection across the blocks of a message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.gui.chat.body.units import cut, units
from slmdesk.gui.chat.markdown.blocks import TextBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.chat.body.laid import Laid, Range

_WORD = re.compile(r"\w+|\s+|[^\w\s]", re.UNICODE)


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A place in a message: which block, and how far into its text (UTF-16 units)."""

    block: int
    position: int


@dataclass(frozen=True, slots=True)
class Selection:
    """From where the person began to where they are now."""

    anchor: Spot
    head: Spot

    @property
    def first(self) -> Spot:
        return min(self.anchor, self.head)

    @property
    def last(self) -> Spot:
        return max(self.anchor, self.head)

    @property
    def empty(self) -> bool:
        return self.anchor == self.head

    def within(self, number: int, length: int) -> Range | None:
        """What is selected of block `number`, whose text has `length` units."""
        first, last = self.first, self.last
        if self.empty or not first.block <= number <= last.block:
            return None
        start = first.position if number == first.block else 0
        end = last.position if number == last.block else length
        return (start, end) if start < end else None


def selected_text(selection: Selection, laid: Sequence[Laid]) -> str:
    """The words selected, blocks parted by line breaks; markers of list items come along with their first word."""
    parts: list[str] = []
    for number in range(selection.first.block, min(selection.last.block + 1, len(laid))):
        one = laid[number]
        chosen = selection.within(number, units(one.text))
        words = cut(one.text, *chosen) if chosen else ""
        block = one.block
        if chosen and chosen[0] == 0 and isinstance(block, TextBlock) and block.marker:
            words = f"{block.marker} {words}"
        parts.append(words)
    return "\n".join(parts)


def word_around(text: str, position: int) -> Range:
    """The word (or run of blanks, or sign) at a position, for a double click."""
    plain = cut(text, 0, position)
    at = min(len(plain), max(len(text) - 1, 0))
    for found in _WORD.finditer(text):
        if found.start() <= at < found.end():
            start = units(text[: found.start()])
            return start, start + units(found.group())
    return position, position
