"""Cards: a ground with a thin edge that groups rows belonging together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label, Line, Pane
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from collections.abc import Sequence


class CardRow(QWidget):
    """Title and a line of help at the left, controls at the right.

    Attributes:
        title, text: the labels.
        body: the layout below the text, for controls that need the row's width.
        trailing: the layout at the right.
    """

    def __init__(
        self, theme: Theme, title: str, text: str = "", *, icon: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.title = Label(theme, title, role="strong", wrap=True)
        self.text = Label(theme, text, role="small", tone="secondary", wrap=True)
        if not text:
            # Only ever hidden here: showing a label that has no parent yet opens a window of its own.
            self.text.hide()
        row = hbox(self, margins=(SPACE.large, SPACE.medium, SPACE.large, SPACE.medium), spacing=SPACE.medium)
        if icon:
            row.addWidget(Icon(theme, icon, colour="secondary"))
        self.body = vbox(spacing=SPACE.tiny)
        self.body.addWidget(self.title)
        self.body.addWidget(self.text)
        row.addLayout(self.body, 1)
        self.trailing = hbox(spacing=SPACE.small)
        row.addLayout(self.trailing)


class GroupCard(Pane):
    """A stack of rows with lines between them."""

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, kind="card", parent=parent)
        self._layout = vbox(self, margins=0, spacing=0)
        self._rows: list[tuple[QWidget, Line | None]] = []

    def add_row(self, row: QWidget) -> None:
        """Put `row` below the others."""
        line = Line(self.theme) if self._rows else None
        if line:
            self._layout.addWidget(line)
        self._layout.addWidget(row)
        self._rows.append((row, line))

    def set_rows(self, rows: Sequence[QWidget]) -> None:
        """Hold these rows in this order. Those taken out are hidden and still belong to whoever made them."""
        if [row for row, _ in self._rows] == list(rows):
            return
        for row, line in self._rows:
            self._layout.removeWidget(row)
            if row not in rows:
                row.hide()
            if line:
                self._layout.removeWidget(line)
                line.deleteLater()
        self._rows = []
        for row in rows:
            self.add_row(row)
            row.show()

    def show_rows(self, shown: set[QWidget]) -> None:
        """Show only these rows, with lines only between rows that are shown."""
        first = True
        for row, line in self._rows:
            visible = row in shown
            row.setVisible(visible)
            if line:
                line.setVisible(visible and not first)
            first = first and not visible
        self.setVisible(not first)
