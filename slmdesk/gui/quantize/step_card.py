"""A card with a number: one of the three steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_STRONG
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from slmdesk.gui.theme import Theme
    from slmdesk.gui.widgets.base import Tone


class _Number(QWidget):
    def __init__(self, theme: Theme, number: int) -> None:
        super().__init__()
        self.theme = theme
        self._number = number
        self.setFixedSize(MEASURE.badge, MEASURE.badge)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.theme.colour("selected"))
        painter.drawEllipse(QRectF(self.rect()))
        painter.setPen(self.theme.colour("accent_text"))
        painter.setFont(self.theme.font("small", weight=WEIGHT_STRONG))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, str(self._number))


class StepCard(Pane):
    """Number and title, then what the step needs.

    Attributes:
        head: the row of the title; what is added stands at its right.
        body: the layout below.
    """

    def __init__(self, theme: Theme, number: int, title: str) -> None:
        super().__init__(theme, kind="card")
        self.setAccessibleName(f"Step {number}: {title}")
        self.head = hbox(spacing=SPACE.small)
        if number:
            self.head.addWidget(_Number(theme, number))
        self.head.addWidget(Label(theme, title, role="emphasis"))
        self.head.addStretch(1)
        self.body = vbox(spacing=SPACE.small)
        column = vbox(
            self, margins=(SPACE.large, SPACE.medium, SPACE.large, SPACE.large), spacing=SPACE.medium
        )
        column.addLayout(self.head)
        column.addLayout(self.body)


class NoticeLine(QWidget):
    """An icon and a sentence that goes on in the next line. Hidden while there is nothing to say."""

    def __init__(self, theme: Theme, icon: str, tone: Tone) -> None:
        super().__init__()
        self.words = Label(theme, role="small", tone=tone, wrap=True)
        row = hbox(self, margins=0, spacing=SPACE.small)
        mark = Icon(theme, icon, size=MEASURE.icon_small, colour=tone)
        row.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.words, 1)
        self.hide()

    def say(self, text: str) -> None:
        self.words.setText(text)
        self.setVisible(bool(text))
