"""Long lists of strings that many files share."""

from __future__ import annotations

_KEPT = 4
_MANY = 64  # strings; shorter lists are walked as quickly as compared


class Vocabularies:
    """Lists of strings met in the files read before: the same ones in the next file are compared, not walked.

    The quants of one model, and most models of one family, hold the same vocabulary. It keeps the last few, some
    megabytes each; let go of it when the files are read. For one thread.
    """

    def __init__(self) -> None:
        self._known: list[tuple[int, bytes]] = []

    def length_at(self, data: bytes, at: int, count: int) -> int:
        """Bytes of the list of `count` strings at this position, where it is a known one; otherwise 0."""
        for known, content in self._known:
            if known == count and data.startswith(content, at):
                return len(content)
        return 0

    def add(self, count: int, content: bytes) -> None:
        """Take note of a list that was walked."""
        if count >= _MANY:
            self._known = [(count, content), *self._known[: _KEPT - 1]]
