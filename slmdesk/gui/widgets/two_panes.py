"""A list and the detail of what is chosen in it: side by side, or the detail over the list in a narrow window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent, QResizeEvent

LIST_SHARE, DETAIL_SHARE = 9, 11


class TwoPanes(QWidget):
    """Gives both panes their room.

    Signals:
        left: the detail was put away in a narrow window.
    """

    left = Signal()

    def __init__(
        self, theme: Theme, list_: QWidget, detail: QWidget, *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._list = list_
        self._narrow = False
        self._wanted = False
        self._detail = Pane(theme, ground="surface", edge="left")
        self._back = Button(theme, "Back to the list", kind="quiet", icon="chevron-left", small=True)
        self._back.clicked.connect(self.hide_detail)
        self._back.hide()
        column = vbox(self._detail, margins=0, spacing=0)
        top = hbox(margins=(SPACE.small, 0, 0, 0))
        top.addWidget(self._back)
        top.addStretch(1)
        column.addLayout(top)
        column.addWidget(detail, 1)
        self._row = hbox(self, margins=0, spacing=0)
        self._row.addWidget(self._list, LIST_SHARE)
        self._row.addWidget(self._detail, DETAIL_SHARE)
        self._list.setMinimumWidth(MEASURE.list_least)

    @property
    def narrow(self) -> bool:
        return self._narrow

    @property
    def detail_shown(self) -> bool:
        return not self._detail.isHidden()

    def show_detail(self) -> None:
        """Something was chosen."""
        self._wanted = True
        if self._narrow:
            self._detail.setGeometry(self.rect())
            self._detail.show()
            self._detail.raise_()

    def hide_detail(self) -> None:
        """Back to the list, where it lies below."""
        self._wanted = False
        if self._narrow and not self._detail.isHidden():
            self._detail.hide()
            self._list.setFocus(Qt.FocusReason.OtherFocusReason)
            self.left.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = self.window().width() < MEASURE.narrow
        if narrow != self._narrow:
            self._narrow = narrow
            self._back.setVisible(narrow)
            if narrow:
                self._row.removeWidget(self._detail)
                self._detail.setVisible(self._wanted)
            else:
                self._row.addWidget(self._detail, DETAIL_SHARE)
                self._detail.show()
        if narrow:
            self._detail.setGeometry(self.rect())
            self._detail.raise_()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._narrow and self.detail_shown:
            self.hide_detail()
        else:
            super().keyPressEvent(event)
