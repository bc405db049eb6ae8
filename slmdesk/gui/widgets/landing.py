"""What lies over the page while files hang over the window: where they will land."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from PySide6.QtGui import QPaintEvent

    from slmdesk.gui.theme import Theme


class Landing(QWidget):
    """Hears no events itself: the window below takes the drop."""

    def __init__(self, theme: Theme, host: QWidget) -> None:
        super().__init__(host)
        self.theme = theme
        self._host = host
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title = Label(theme, role="emphasis")
        self._words = Label(theme, tone="secondary", wrap=True)
        middle = Qt.AlignmentFlag.AlignHCenter
        for label in (self._title, self._words):
            label.setAlignment(middle)
        layout = vbox(self, margins=SPACE.huge, spacing=SPACE.medium)
        layout.addStretch(1)
        layout.addWidget(Icon(theme, "import", size=MEASURE.icon_large, colour="accent"), 0, middle)
        layout.addWidget(self._title)
        layout.addWidget(self._words)
        layout.addStretch(1)
        theme.dress(self)
        self.hide()

    @property
    def words(self) -> str:
        return f"{self._title.text()}. {self._words.text()}".strip()

    def show_over(self, title: str, words: str) -> None:
        """Lie over the whole host and say this."""
        self._title.setText(title)
        self._words.setText(words)
        self.setGeometry(self._host.rect())
        self.show()
        self.raise_()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        ground = QColor(self.theme.colour("window"))
        ground.setAlphaF(0.98)
        painter.fillRect(event.rect(), ground)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(self.theme.colour("accent"), MEASURE.focus, Qt.PenStyle.DashLine)
        painter.setPen(pen)
        inset = float(SPACE.medium)
        frame = QRectF(self.rect()).adjusted(inset, inset, -inset, -inset)
        painter.drawRoundedRect(frame, MEASURE.corner_card, MEASURE.corner_card)
