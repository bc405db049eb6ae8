"""A line in which something new gets its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.buttons import IconButton
from slmdesk.gui.widgets.fields import TextField
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent

    from slmdesk.gui.theme import Theme


class NameLine(QWidget):
    """Hidden until `ask`.

    Attributes:
        field: the name.

    Signals:
        named(str): Enter, or the tick.
        left: it was given up; the focus may go back.
    """

    named = Signal(str)
    left = Signal()

    def __init__(self, theme: Theme, what: str) -> None:
        """`what`: "Name of the preset", say."""
        super().__init__()
        self.field = TextField(theme)
        self.field.setPlaceholderText(what)
        self.field.setAccessibleName(what)
        self.field.returnPressed.connect(self._take)
        take = IconButton(theme, "check", "Take this name", small=True)
        take.clicked.connect(self._take)
        close = IconButton(theme, "close", "Give up", small=True)
        close.clicked.connect(self._leave)
        line = hbox(self, margins=0, spacing=SPACE.tiny)
        line.addWidget(self.field, 1)
        line.addWidget(take)
        line.addWidget(close)
        self.hide()

    def ask(self) -> None:
        """Show the line, with the focus in it."""
        self.field.clear()
        self.show()
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _take(self) -> None:
        if name := " ".join(self.field.text().split()):
            self._leave()
            self.named.emit(name)

    def _leave(self) -> None:
        self.hide()
        self.left.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self._leave()
        else:
            super().keyPressEvent(event)
