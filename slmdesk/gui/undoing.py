"""What was done lately and can be undone, also when its message is gone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 20


class Undoing:
    """The latest changes. Each can be undone once, from its message or from here."""

    def __init__(self) -> None:
        self._entries: deque[tuple[str, Callable[[], object]]] = deque(maxlen=MOST)

    def add(self, text: str, undo: Callable[[], object]) -> Callable[[], object]:
        """Remember a change told as `text`; returns what undoes it and forgets it."""
        entry = (text, undo)
        self._entries.append(entry)

        def run() -> None:
            if entry in self._entries:
                self._entries.remove(entry)
                undo()

        return run

    @property
    def possible(self) -> bool:
        return bool(self._entries)

    def undo(self) -> str:
        """Undo the latest change; returns what it was told as, "" when there is none."""
        if not self._entries:
            return ""
        text, undo = self._entries.pop()
        undo()
        return text
