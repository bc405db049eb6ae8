"""A button that says a whole sentence, in several lines where one does not hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button, Kind

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent
    from PySide6.QtWidgets import QWidget


class SentenceButton(Button):
    """Qt's own buttons have one line, of which the middle is shown where it is too long."""

    def __init__(
        self, theme: Theme, text: str = "", *, kind: Kind = "secondary", parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, "", kind=kind, parent=parent)
        self._link = kind == "link"
        self._label = Label(theme, tone="accent" if self._link else "", wrap=True, parent=self)
        self._label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        policy = self.sizePolicy()
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setText(text)

    def setText(self, text: str) -> None:
        self._label.setText(text)
        self.setAccessibleName(text)
        self.updateGeometry()

    def text(self) -> str:
        return self._label.text()

    @property
    def whole(self) -> bool:
        """Whether all words are in sight."""
        return self._label.height() >= self._label.heightForWidth(self._label.width())

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        """The words' lines in this width, and the room around them."""
        across, down = self._around
        self._label.ensurePolished()
        lines = self._label.heightForWidth(max(width - 2 * across, 1))
        return max(lines + 2 * down, self.least_height)

    def sizeHint(self) -> QSize:
        self._label.ensurePolished()
        across, _ = self._around
        width = self._label.fontMetrics().horizontalAdvance(self.text()) + 2 * across + SPACE.tiny
        width = min(width, MEASURE.dialog)
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        across, down = self._around
        line = self._label.fontMetrics().height()
        return QSize(self._label.fontMetrics().averageCharWidth() * 8 + 2 * across, line + 2 * down)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        across, down = self._around
        self._label.setGeometry(self.rect().adjusted(across, down, -across, -down))

    @property
    def _around(self) -> tuple[int, int]:
        return (SPACE.tiny, MEASURE.focus) if self._link else (SPACE.medium, SPACE.tiny + MEASURE.line)
