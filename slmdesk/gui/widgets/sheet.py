"""A page that takes the place of another one for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent

    from slmdesk.gui.theme import Theme


class Sheet(QWidget):
    """A page with a way back; `back` says where to.

    Attributes:
        body: the layout below the title.

    Signals:
        closed: the person is done with it.
    """

    closed = Signal()

    def __init__(self, theme: Theme, title: str, back: str) -> None:
        super().__init__()
        self.theme = theme
        self.body = vbox(spacing=SPACE.large)
        self._title = Label(theme, title, role="title")
        area = ScrollingColumn(widest=MEASURE.list_page, top=SPACE.small, spacing=SPACE.large)
        area.column.addWidget(self._title)
        area.column.addLayout(self.body)
        area.column.addStretch(1)
        leave = Button(theme, back, kind="quiet", icon="chevron-left", small=True)
        leave.clicked.connect(self.closed)
        top = hbox(margins=(SPACE.small, SPACE.small, SPACE.small, 0))
        top.addWidget(leave)
        top.addStretch(1)
        layout = vbox(self, margins=0, spacing=0)
        layout.addLayout(top)
        layout.addWidget(area, 1)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.closed.emit()
        else:
            super().keyPressEvent(event)
