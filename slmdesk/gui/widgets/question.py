"""A question that lies over the window: never a dialog of its own event loop, which would stop every other task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QKeyCombination, QObject, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter
from PySide6.QtWidgets import QApplication, QWidget

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QMouseEvent, QPaintEvent

    from slmdesk.gui.theme import Theme

CLOSE_KEYS = QKeyCombination(Qt.KeyboardModifier.ControlModifier, Qt.Key.Key_Q).toCombined()
"""Who closes the window once more while it asks has answered."""


class QuestionPanel(QWidget):
    """Asks once and goes. Esc and a click beside it answer with the last choice, which changes nothing.

    While it is there the focus stays in it, and no shortcut of the window below works but the one that closes it.

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
        self._title = Label(theme, title, role="emphasis", wrap=True)
        self._panel = Pane(theme, kind="panel", parent=self)
        layout = vbox(
            self._panel, margins=(SPACE.wide, SPACE.large, SPACE.wide, SPACE.large), spacing=SPACE.medium
        )
        layout.addWidget(self._title)
        layout.addWidget(Label(theme, words, tone="secondary", wrap=True))
        self.buttons: dict[str, Button] = {}
        row = hbox(spacing=SPACE.small)
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
        self._take_focus()
        app = QApplication.instance()
        if isinstance(app, QApplication):
            app.focusChanged.connect(self._focus_moved)

    def retitle(self, title: str) -> None:
        """Say it anew: what is asked about has changed."""
        self._title.setText(title)
        self.setAccessibleName(title)

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

    def event(self, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.keyCombination().toCombined() != CLOSE_KEYS
        ):
            event.accept()  # it comes as a key to the question then, which knows none but its own
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.answer(self._nothing)

    def _take_focus(self) -> None:
        next(iter(self.buttons.values())).setFocus(Qt.FocusReason.PopupFocusReason)

    def _focus_moved(self, _before: QWidget | None, now: QWidget | None) -> None:
        if now is None or self._host is None or now is self or self.isAncestorOf(now):
            return
        if now is self._host or self._host.isAncestorOf(now):
            self._before = now  # a page that came up below: it gets the focus in the end
            self._take_focus()

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
