"""Finding the end of a JSON value in text that is still being written."""

from __future__ import annotations


class JsonScan:
    """Walks one JSON object or list. `ended` once its closing bracket was seen."""

    __slots__ = ("_depth", "_escaped", "ended", "in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._escaped = False
        self.in_string = False
        self.ended = False

    def feed(self, text: str) -> int:
        """Take the next text; returns how much of it belongs to the value."""
        for index, character in enumerate(text):
            if self.in_string:
                self._in_string(character)
            elif character == '"':
                self.in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.ended = True
                    return index + 1
        return len(text)

    def _in_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self.in_string = False
