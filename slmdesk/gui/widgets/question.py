"""A question that lies over the window: never a dialog of its own event loop, which would stop every other task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QApplication, QHBoxLayout, QVBoxLayout, QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QKeyEvent, QMouseEvent, QPaintEvent

    from slmdesk.gui.theme import Theme


class Question(QWidget):
    """Asks once and goes. Esc and a click beside it answer with the last choice, which changes nothing.

    Signals:
        answered(str): the choice that was made.
    """

    answered = Signal(str)

    # Events still come when Python has already taken the object's attributes away at its end.
    _host: QWidget | None = None

    def __init__(
        self, theme: Theme, host: QWidget, title: str, words: str, choices: Sequence[tuple[str, str]]
    ) -> None:
        """`choices` are (answer, what the button says), the usual one first, the one that changes nothing last."""
        super().__init__(host)
        self.theme = theme
        self._host = host
        self._before = QApplication.focusWidget()
        self._nothing = choices[-1][0]
        self._panel = Pane(theme, kind="panel", parent=self)
        layout = QVBoxLayout(self._panel)
        layout.setContentsMargins(SPACE.wide, SPACE.large, SPACE.wide, SPACE.large)
        layout.setSpacing(SPACE.medium)
        layout.addWidget(Label(theme, title, role="emphasis", wrap=True))
        layout.addWidget(Label(theme, words, tone="secondary", wrap=True))
        self.buttons: dict[str, Button] = {}
        row = QHBoxLayout()
        row.setSpacing(SPACE.small)
        row.addStretch(1)
        for answer, says in choices:
            button = self.buttons[answer] = Button(
                theme, says, kind="secondary" if self.buttons else "primary"
            )
            button.clicked.connect(lambda _checked=False, answer=answer: self.answer(answer))
        for button in reversed(self.buttons.values()):
            row.addWidget(button)
        layout.addLayout(row)
        self.setAccessibleName(title)
        host.installEventFilter(self)
        theme.dress(self)
        self._place()
        self.show()
        self.raise_()
        next(iter(self.buttons.values())).setFocus(Qt.FocusReason.PopupFocusReason)

    def answer(self, answer: str) -> None:
        """Go, and tell the answer."""
        if self._host is not None:
            self._host.removeEventFilter(self)
            self._host = None
            let_go(self, self._before)
            self.answered.emit(answer)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if self._host is not None and watched is self._host and event.type() == QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.answer(self._nothing)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._panel.geometry().contains(event.position().toPoint()):
            self.answer(self._nothing)

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab stays among the buttons: what lies below is not to be reached."""
        buttons = list(reversed(self.buttons.values()))
        at = next((number for number, button in enumerate(buttons) if button.hasFocus()), 0)
        buttons[(at + (1 if forward else -1)) % len(buttons)].setFocus(Qt.FocusReason.TabFocusReason)
        return True

    def paintEvent(self, event: QPaintEvent) -> None:
        shade = QColor(self.theme.colour("shade"))
        shade.setAlphaF(self.theme.colours.shade_opacity)
        QPainter(self).fillRect(event.rect(), shade)

    def _place(self) -> None:
        if self._host is None:
            return
        self.setGeometry(self._host.rect())
        width = min(MEASURE.palette_width, self.width() - 2 * SPACE.wide)
        layout = self._panel.layout()
        height = layout.totalHeightForWidth(width) if layout is not None else 0
        self._panel.setGeometry(
            (self.width() - width) // 2, max((self.height() - height) // 3, 0), width, height
        )
