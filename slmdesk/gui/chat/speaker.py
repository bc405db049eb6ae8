"""Who said a message: a mark and a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from PySide6.QtGui import QPaintEvent

    from slmdesk.gui.theme import Theme


class SpeakerMark(QWidget):
    """A small disc: a person in grey, a model in the accent's tint. Decorative: the name beside it says the same."""

    def __init__(self, theme: Theme, *, model: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.model = model
        self.setFixedSize(MEASURE.icon, MEASURE.icon)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        theme = self._theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.tint_edge("accent") if self.model else theme.colour("line_strong"))
        room = QRectF(self.rect())
        painter.drawEllipse(room)
        inset = SPACE.tiny
        ink = theme.colour("accent_text" if self.model else "secondary")
        name = "model" if self.model else "user"
        theme.icons.paint(painter, room.adjusted(inset, inset, -inset, -inset), name, ink, filled=True)


class Speaker(QWidget):
    """The line over a message."""

    def __init__(self, theme: Theme, name: str, *, model: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mark = SpeakerMark(theme, model=model)
        self._name = ElidedLabel(theme, name, role="strong", middle=True)
        row = hbox(self, margins=0, spacing=SPACE.small)
        row.addWidget(self.mark)
        row.addWidget(self._name, 1)

    @property
    def name(self) -> str:
        return self._name.text()

    def set_name(self, name: str) -> None:
        self._name.setText(name)

    def sizeHint(self) -> QSize:
        hint = super().sizeHint()
        return QSize(hint.width(), max(hint.height(), MEASURE.icon))
