"""The page on which models of other programs, or of any folder, are taken into the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.theme import Theme
    from slmdesk.library.candidates import Candidate

MODES = (("in-place", "Use where they lie"), ("link", "Link"), ("copy", "Copy"), ("move", "Move"))
MODE_WORDS = {
    "in-place": "Nothing is copied. The files stay where they are, and other programs go on using them.",
    "link": "The files get a second name in the models folder; both share one place on the disk.",
    "copy": "The files are copied into the models folder and checked.",
    "move": "The files go into the models folder; other programs no longer find them where they were.",
}
MOST_SHOWN = 60


class ImportSheet(Sheet):
    """What was found, each with a switch, and how it is to come in.

    Signals:
        wanted(list, str): these candidates, in this way.
    """

    wanted = Signal(object, str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Import models", "Back to the library")
        self._found: list[Candidate] = []
        self._switches: list[Switch] = []
        self._mode = SegmentedSwitch(theme, MODES, name="How")
        self._mode.changed.connect(lambda _: self._told())
        self._words = Label(theme, role="small", tone="secondary", wrap=True)
        self._take = Button(theme, "Import", kind="primary", icon="import")
        self._take.clicked.connect(self._want)
        self._list = vbox(spacing=SPACE.small)
        self._foot = QWidget()
        foot = vbox(self._foot, margins=0, spacing=SPACE.small)
        foot.addWidget(self._mode)
        foot.addWidget(self._words)
        row = QHBoxLayout()
        row.addWidget(self._take)
        row.addStretch(1)
        foot.addLayout(row)
        self.body.addWidget(self._foot)
        self.body.addLayout(self._list)

    def wait(self) -> None:
        """The places are being looked at."""
        self._clear()
        self._foot.hide()
        self._list.addWidget(Spinner(self.theme, "Looking for models"))

    def show_candidates(self, found: Sequence[Candidate]) -> None:
        """Show what was found; what the library has already cannot be chosen."""
        self._clear()
        self._found = list(found)
        self._switches = []
        self._foot.setVisible(bool(found))
        if not found:
            self._list.addWidget(
                EmptyState(
                    self.theme,
                    "search",
                    "No models were found there. GGUF files, safetensors and ONNX folders can be imported.",
                )
            )
            return
        card = GroupCard(self.theme)
        for candidate in self._found[:MOST_SHOWN]:
            card.add_row(self._row(candidate))
        self._list.addWidget(card)
        left = len(self._found) - MOST_SHOWN
        if left > 0:
            words = f"{amounts.counted(left, 'more model')} of these places come with them."
            self._list.addWidget(Label(self.theme, words, role="small", tone="secondary"))
        self._told()

    def _row(self, candidate: Candidate) -> QWidget:
        parts = [amounts.size(candidate.size_bytes), amounts.counted(len(candidate.files), "file")]
        if candidate.title and candidate.title != candidate.id:
            parts.append(candidate.title)
        if candidate.inside:
            parts.append("in the library already")
        words = candidate.problem.message if candidate.problem else " · ".join(parts)
        row = CardRow(self.theme, candidate.id, words)
        able = not candidate.inside and candidate.problem is None
        switch = Switch(self.theme, f"Import {candidate.id}", on=able)
        switch.setEnabled(able)
        switch.toggled.connect(lambda _on: self._told())
        row.trailing.addWidget(switch)
        self._switches.append(switch)
        return row

    def chosen(self) -> list[Candidate]:
        """The candidates whose switch is on, and those for which there was no room on the page."""
        shown = zip(self._found, self._switches, strict=False)
        picked = [candidate for candidate, switch in shown if switch.isChecked()]
        rest = [one for one in self._found[MOST_SHOWN:] if not one.inside and one.problem is None]
        return picked + rest

    def _told(self) -> None:
        chosen = self.chosen()
        total = amounts.size(sum(candidate.size_bytes for candidate in chosen))
        self._words.setText(MODE_WORDS[self._mode.value])
        self._take.setText(f"Import {amounts.counted(len(chosen), 'model')}, {total}")
        self._take.setEnabled(bool(chosen))

    def _want(self) -> None:
        self.wanted.emit(self.chosen(), self._mode.value)

    def _clear(self) -> None:
        while (item := self._list.takeAt(0)) is not None:
            old = item.widget()
            if old is not None:
                old.hide()
                old.deleteLater()
