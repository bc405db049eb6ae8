"""The rail at the left: one button a page, settings at the foot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QWidget

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.base import Pane, Pressed
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from PySide6.QtGui import QEnterEvent, QFocusEvent


class RailButton(Pressed, QAbstractButton):
    """Icon over label; the current page has an accent bar and the filled icon.

    Signals:
        near: the pointer or the focus came: it may be pressed soon.
    """

    near = Signal()

    def __init__(self, theme: Theme, title: str, icon: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._icon_name = icon
        self._narrow = False
        self.setText(title)
        self.setAccessibleName(title)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)

    def set_narrow(self, narrow: bool) -> None:
        """Show the icon alone; the title becomes the tooltip."""
        self._narrow = narrow
        self.setToolTip(self.text() if narrow else "")
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        if self._narrow:
            return QSize(MEASURE.rail_narrow, MEASURE.rail_narrow - SPACE.small)
        return QSize(MEASURE.rail, MEASURE.rail_item)

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self.update()
        self.near.emit()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.near.emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        theme, current = self.theme, self.isChecked()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        inner = QRectF(self.rect()).adjusted(SPACE.small, 2, -SPACE.small, -2)
        painter.setPen(Qt.PenStyle.NoPen)
        if self.isDown() or self.underMouse():
            painter.setBrush(theme.colour("pressed" if self.isDown() else "hover"))
            painter.drawRoundedRect(inner, MEASURE.corner, MEASURE.corner)
        if current:
            painter.setBrush(theme.colour("accent"))
            height = MEASURE.icon_small + SPACE.small
            bar = QRectF(-MEASURE.rail_bar, (self.height() - height) / 2, 2 * MEASURE.rail_bar, height)
            painter.drawRoundedRect(bar, MEASURE.rail_bar, MEASURE.rail_bar)
        self._paint_face(painter, current=current)
        if self.hasFocus():
            painter.setPen(QPen(theme.colour("accent"), MEASURE.focus))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(inner.adjusted(1, 1, -1, -1), MEASURE.corner, MEASURE.corner)

    def _paint_face(self, painter: QPainter, *, current: bool) -> None:
        theme = self.theme
        ink = theme.colour("text" if current or self.underMouse() else "secondary")
        side = MEASURE.icon
        left = (self.width() - side) / 2
        if self._narrow:
            box = QRectF(left, (self.height() - side) / 2, side, side)
            theme.icons.paint(painter, box, self._icon_name, ink, filled=current)
            return
        painter.setFont(theme.font("label", weight=WEIGHT_MEDIUM))
        line = painter.fontMetrics().height()
        top = (self.height() - side - SPACE.tiny - line) / 2
        theme.icons.paint(painter, QRectF(left, top, side, side), self._icon_name, ink, filled=current)
        painter.setPen(ink)
        words = QRectF(0, top + side + SPACE.tiny, self.width(), line)
        painter.drawText(words, Qt.AlignmentFlag.AlignCenter, self.text())


class Rail(Pane):
    """The pages as buttons.

    Signals:
        chosen: the id of the page a person wants to see.
        near: the id of one that may be wanted soon.
    """

    chosen = Signal(str)
    near = Signal(str)

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, ground="window", edge="right", parent=parent)
        self.setAccessibleName("Pages")
        self._buttons: dict[str, RailButton] = {}
        self._heads = 0
        self._narrow = False
        self._group = QButtonGroup(self)
        self._layout = vbox(self, margins=(0, SPACE.small, 0, SPACE.small), spacing=SPACE.tiny)
        self._layout.addStretch(1)
        self.setFixedWidth(MEASURE.rail)

    def add(self, page_id: str, title: str, icon: str, *, foot: bool = False) -> None:
        """Add a button, above the gap or (`foot`) below it."""
        button = RailButton(self.theme, title, icon)
        button.clicked.connect(lambda: self.chosen.emit(page_id))
        button.near.connect(lambda: self.near.emit(page_id))
        self._layout.insertWidget(self._layout.count() if foot else self._heads, button)
        self._heads += 0 if foot else 1
        self._group.addButton(button)
        self._buttons[page_id] = button

    def set_current(self, page_id: str) -> None:
        self._group.setExclusive(True)
        self._buttons[page_id].setChecked(True)

    def set_none(self) -> None:
        """The current page has no button."""
        self._group.setExclusive(False)
        for button in self._buttons.values():
            button.setChecked(False)

    def set_narrow(self, narrow: bool) -> None:
        """Icons only, for narrow windows."""
        if narrow == self._narrow:
            return
        self._narrow = narrow
        self.setFixedWidth(MEASURE.rail_narrow if narrow else MEASURE.rail)
        for button in self._buttons.values():
            button.set_narrow(narrow)
