"""Everything a person can do, by name: for shortcuts and for the palette."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QKeySequence, QShortcut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from PySide6.QtWidgets import QWidget


@dataclass(frozen=True)
class Action:
    """One thing to do. `shortcut` is in Qt's portable form ("Ctrl+N", where Ctrl means Cmd on a Mac)."""

    id: str
    title: str
    run: Callable[[], object]
    shortcut: str = ""
    icon: str = ""
    enabled: Callable[[], bool] | None = None
    also: str = ""
    """A second shortcut."""
    listed: bool = True
    """Whether the palette shows it."""

    @property
    def available(self) -> bool:
        return self.enabled is None or self.enabled()

    @property
    def keys(self) -> str:
        """The shortcut as this system writes it."""
        return QKeySequence(self.shortcut).toString(QKeySequence.SequenceFormat.NativeText)


class Actions(QObject):
    """The actions known so far, each id once; a later one with the same id takes the place of the first.

    Signals:
        changed: actions came or went.
    """

    changed = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._actions: dict[str, Action] = {}
        self._shortcuts: dict[str, list[QShortcut]] = {}

    def add(self, actions: Iterable[Action]) -> None:
        """Make actions known, and their shortcuts work in the whole window."""
        for action in actions:
            self._actions[action.id] = action
            self._bind(action)
        self.changed.emit()

    def get(self, action_id: str) -> Action | None:
        return self._actions.get(action_id)

    def run(self, action_id: str) -> bool:
        """Do it; False when it is not known or not possible now."""
        action = self._actions.get(action_id)
        if action is None or not action.available:
            return False
        action.run()
        return True

    def matching(self, words: str) -> list[Action]:
        """The actions possible now whose titles hold the letters of `words` in order, best first."""
        scored = [
            (score, place, action)
            for place, action in enumerate(self._actions.values())
            if action.listed and action.available and (score := match_score(words, action.title)) is not None
        ]
        return [action for _, _, action in sorted(scored, key=lambda found: (-found[0], found[1]))]

    def _bind(self, action: Action) -> None:
        for old in self._shortcuts.pop(action.id, []):
            old.setEnabled(False)
            old.deleteLater()
        action_id = action.id
        for keys in filter(None, (action.shortcut, action.also)):
            shortcut = QShortcut(QKeySequence(keys), self._window)
            shortcut.activated.connect(lambda: self.run(action_id))
            self._shortcuts.setdefault(action_id, []).append(shortcut)


def match_score(words: str, title: str) -> int | None:
    """How well `title` holds the letters of `words` in order; None when it does not.

    Letters that begin a word or follow one another count more, so "nc" finds "New chat" before "Enclosing".
    """
    target = title.casefold()
    score, at, previous = 0, 0, -2
    for letter in words.casefold():
        if letter.isspace():
            continue
        found = _best_place(target, letter, at)
        if found < 0:
            return None
        begins = found == 0 or not target[found - 1].isalnum()
        score += 1 + (8 if begins else 0) + (5 if found == previous + 1 else 0)
        previous, at = found, found + 1
    whole = target.find(words.strip().casefold()) if words.strip() else -1
    if whole >= 0:
        score += 20 if whole == 0 or not target[whole - 1].isalnum() else 4
    return score


def _best_place(target: str, letter: str, at: int) -> int:
    """Where `letter` comes next from `at` on: at once, or at the beginning of a word, or anywhere."""
    first = target.find(letter, at)
    if first in {-1, at}:
        return first
    begin = first
    while begin >= 0:
        if begin == 0 or not target[begin - 1].isalnum():
            return begin
        begin = target.find(letter, begin + 1)
    return first
