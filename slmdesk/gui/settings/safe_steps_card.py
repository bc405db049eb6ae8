"""What engines leave out on this machine because native code failed, with a way back for each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from slmdesk.engines.safe_steps import words
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.engines.safe_steps import Remembered
    from slmdesk.gui.theme import Theme

_SEARCHED = "safe steps crash fault gpu amx flash attention processor native"


class SafeStepsCard(QWidget):
    """The group of the Settings page; `forget` is called with a step to be tried anew."""

    def __init__(self, theme: Theme, forget: Callable[[Remembered], None]) -> None:
        super().__init__()
        self._theme = theme
        self._forget = forget
        self._layout = vbox(self, margins=0, spacing=SPACE.small)
        heading = Label(theme, "Safe steps", role="emphasis")
        heading.setContentsMargins(0, SPACE.large, 0, 0)
        self._layout.addWidget(heading)
        self._card: GroupCard | None = None
        self._shown: list[Remembered] | None = None
        self.show_steps([])

    @property
    def rows(self) -> list[CardRow]:
        """One for each thing remembered; one that says so when there is none."""
        return self._card.findChildren(CardRow) if self._card is not None else []

    def found_by(self, search: Sequence[str]) -> bool:
        """Whether the group has to do with all of these words (in lower case)."""
        texts = [f"{row.title.text()} {row.text.text()}" for row in self.rows]
        return all(word in f"{_SEARCHED} {' '.join(texts)}".casefold() for word in search)

    def show_steps(self, entries: Sequence[Remembered]) -> None:
        """Show what is remembered."""
        if list(entries) == self._shown:
            return
        self._shown = list(entries)
        if self._card is not None:
            self._card.hide()
            self._card.deleteLater()
        self._card = GroupCard(self._theme, parent=self)
        for entry in entries:
            self._card.add_row(self._row(entry))
        if not entries:
            self._card.add_row(
                CardRow(
                    self._theme,
                    "None taken",
                    "Should the engine fail on this machine, it goes on without a part of what the machine offers."
                    " What helped stands here, and can be undone.",
                )
            )
        self._layout.addWidget(self._card)
        self._card.show()

    def _row(self, entry: Remembered) -> CardRow:
        theme = self._theme
        day = time.strftime("%Y-%m-%d", time.localtime(entry.when))
        row = CardRow(theme, f"{_who(entry)} runs {words(entry.step)}", f"Since {day}. {entry.why}")
        button = Button(theme, "Try again", kind="quiet")
        button.setAccessibleName(f"Try {_who(entry)} {words('all')} again")
        button.clicked.connect(lambda _checked: self._forget(entry))
        row.trailing.addWidget(button)
        return row


def _who(entry: Remembered) -> str:
    if entry.file is None:
        return "Every model"
    return Path(entry.model).name if Path(entry.model).is_absolute() else entry.model or Path(entry.key).name
