"""A short message at the bottom of the window that offers to undo what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QPropertyAnimation, QTimer
from PySide6.QtGui import QAccessible, QAccessibleEvent, QEnterEvent
from PySide6.QtWidgets import QApplication, QGraphicsOpacityEffect, QWidget

from slmdesk.gui.theme import MEASURE, MOTION, SPACE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from collections.abc import Callable


class Toast(Pane):
    """Lies over the lower edge of `host`, above `foot()` pixels of it. One message at a time: the newest replaces
    the one before.

    It stays while the pointer or the focus is on it, and while it is `held`.
    """

    # Events still come when Python has already taken the object's attributes away at its end.
    _host: QWidget | None = None

    def __init__(self, theme: Theme, host: QWidget, foot: Callable[[], int] = lambda: 0) -> None:
        super().__init__(theme, kind="toast", parent=host)
        self._host = host
        self._foot = foot
        self._undo: Callable[[], object] | None = None
        self.held = False
        self._words = ElidedLabel(theme)
        self._button = Button(theme, "Undo", kind="link")
        self._button.clicked.connect(self._undone)
        shut = IconButton(theme, "close", "Close this message", small=True)
        shut.clicked.connect(self.put_away)
        layout = hbox(self, margins=(SPACE.large, SPACE.small, SPACE.small, SPACE.small), spacing=SPACE.small)
        layout.addWidget(self._words, 1)
        layout.addWidget(self._button)
        layout.addWidget(shut)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._expired)
        host.installEventFilter(self)
        theme.changed.connect(self.place)
        theme.dress(self)
        self.hide()

    @property
    def message(self) -> str:
        return self._words.text()

    def tell(self, text: str, undo: Callable[[], object] | None = None, undo_text: str = "Undo") -> None:
        """Show `text`; with `undo` a button that calls it."""
        self._undo = undo
        self._words.setText(text)
        self._button.setText(undo_text)
        self._button.setVisible(undo is not None)
        self.setAccessibleName(text)
        self.show()
        self.place()
        self.raise_()
        self._fade_in()
        self._timer.start(MOTION.toast)
        QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.Alert))

    @property
    def offers_undo(self) -> bool:
        return self._undo is not None and self._button.text() == "Undo"

    def put_away(self) -> None:
        """Hide the message; what it told can no longer be undone here."""
        self._timer.stop()
        self._undo = None
        self.hide()

    def undo(self) -> bool:
        """Press Undo, if it is offered now (Ctrl+Z). True when there was something to undo."""
        if self._undo is None:
            return False
        self._undone()
        return True

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._host and event.type() == QEvent.Type.Resize and self.isVisible():
            self.place()
        return super().eventFilter(watched, event)

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self._timer.stop()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        if self.isVisible():
            self._timer.start(MOTION.toast)

    def _undone(self) -> None:
        undo = self._undo
        self.put_away()
        if undo:
            undo()

    def _expired(self) -> None:
        focused = QApplication.focusWidget()
        if self.held or (focused is not None and self.isAncestorOf(focused)):
            self._timer.start(MOTION.toast)
        else:
            self.put_away()

    def place(self) -> None:
        """Go where it belongs now."""
        self.ensurePolished()
        words = self._words.fontMetrics().horizontalAdvance(self._words.text()) + SPACE.tiny
        rest = self.sizeHint().width() - self._words.sizeHint().width()
        host = self._host
        if host is None:
            return
        room = host.width() - 2 * SPACE.wide
        width = min(max(words + rest, MEASURE.field), MEASURE.toast, room)
        height = self.sizeHint().height()
        left = (host.width() - width) // 2
        self.setGeometry(left, host.height() - self._foot() - height - SPACE.large, width, height)

    def _fade_in(self) -> None:
        if not self.theme.animated:
            return
        effect = QGraphicsOpacityEffect(self)
        self.setGraphicsEffect(effect)
        fade = QPropertyAnimation(effect, b"opacity", self)
        fade.setDuration(MOTION.fade)
        fade.setStartValue(0.0)
        fade.setEndValue(1.0)
        # The effect makes every later repaint dearer, so it goes as soon as it has done its work.
        fade.finished.connect(lambda: self.setGraphicsEffect(None))  # type: ignore[arg-type]
        fade.start(QPropertyAnimation.DeletionPolicy.DeleteWhenStopped)
