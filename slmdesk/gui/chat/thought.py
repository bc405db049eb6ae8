"""What a model thought aloud before its answer: a quiet card that unfolds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, QTimer, Signal

from slmdesk.core import amounts
from slmdesk.gui.chat.body.body import MessageBody
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Pane
from slmdesk.gui.widgets.buttons import Button

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.chat.rendering import Feed
    from slmdesk.gui.chat.typesetter import Typesetter

_TICK_MS = 1000


class Thought(Pane):
    """Folded at first. Laid out by hand: `lay(width)` gives the size.

    Attributes:
        body: the reasoning, once it was unfolded.

    Signals:
        changed: the size is another one.
        unfolded(bool): the person opened or closed it.
        selecting: a selection begins in it.
        link_clicked(str): an address was clicked.
    """

    changed = Signal()
    unfolded = Signal(bool)
    selecting = Signal()
    link_clicked = Signal(str)

    def __init__(
        self, typesetter: Typesetter, *, opened: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(typesetter.theme, kind="card", parent=parent)
        self._typesetter = typesetter
        self._text = ""
        self._shown = ""
        self._since: float | None = None
        self._seconds = 0.0
        self._opened = False
        self.body: MessageBody | None = None
        self._feed: Feed | None = None
        self._head = Button(self.theme, "", kind="quiet", icon="chevron-right", small=True, parent=self)
        self._head.clicked.connect(self.toggle)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._name)
        if opened:
            self.toggle()

    # content
    def show_thought(self, text: str, *, thinking: bool, seconds: float = 0.0) -> None:
        """Show the reasoning so far. `thinking`: more of it comes; `seconds`: how long it took, where known."""
        self._text = text
        if thinking and self._since is None:
            self._since = time.monotonic()
            self._clock.start()
        elif not thinking and self._since is not None:
            self._seconds = time.monotonic() - self._since
            self._since = None
            self._clock.stop()
        self._seconds = seconds or self._seconds
        self._name()
        self._show_body()

    @property
    def words(self) -> str:
        """What the head says."""
        return self._head.text()

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def complete(self) -> bool:
        """Whether all that is unfolded is shown."""
        return self._feed is None or not self._feed.waiting

    @property
    def selection(self) -> str:
        return self.body.selection if self.body is not None else ""

    def clear_selection(self) -> None:
        if self.body is not None:
            self.body.clear_selection()

    def toggle(self) -> None:
        """Unfold it, or fold it again."""
        self._opened = not self._opened
        self._head.set_icon("chevron-down" if self._opened else "chevron-right")
        if self._opened and self.body is None:
            self._make_body()
        if self.body is not None:
            self.body.setVisible(self._opened)
        self._name()
        self._show_body()
        self.unfolded.emit(self._opened)
        self.changed.emit()

    def _make_body(self) -> None:
        style, highlighter = self._typesetter.quiet_style, self._typesetter.highlighter
        self.body = MessageBody(self.theme, style, highlighter, parent=self)
        self.body.changed.connect(self.changed)
        self.body.selecting.connect(self.selecting)
        self.body.link_clicked.connect(self.link_clicked)
        self._feed = self._typesetter.renderer.feed(self.body)

    def _show_body(self) -> None:
        """Only what is unfolded is set in type."""
        if not self._opened or self._feed is None or self._text == self._shown:
            return
        if not self._text.startswith(self._shown):
            self._feed.restart()
            self._shown = ""
        self._feed.append(self._text[len(self._shown) :])
        self._shown = self._text
        if self._since is None:
            self._feed.finish()

    def _name(self) -> None:
        if self._since is not None:
            passed = time.monotonic() - self._since
            words = "Thinking…" if passed < 1 else f"Thinking… {amounts.took(passed)}"
        else:
            words = f"Thought for {amounts.took(self._seconds)}" if self._seconds >= 1 else "Thought first"
        if words != self._head.text():
            self._head.setText(words)
            self.changed.emit()
        state = "unfolded" if self._opened else "folded"
        self._head.setAccessibleName(f"{words}, {state}")
        self._head.setToolTip(
            "Hide what the model thought" if self._opened else "Show what the model thought"
        )

    # layout
    def lay(self, width: int) -> QSize:
        """Place everything within `width` pixels; returns the size taken."""
        line = MEASURE.line
        head = self._head.sizeHint()
        self._head.setGeometry(line, line, min(head.width(), width - 2 * line), head.height())
        if not self._opened or self.body is None:
            return QSize(min(head.width() + 2 * line, width), head.height() + 2 * line)
        inner = width - 2 * SPACE.medium
        height = self.body.lay(inner)
        top = head.height() + SPACE.tiny
        self.body.setGeometry(SPACE.medium, top, inner, height)
        return QSize(width, top + height + SPACE.small)

    def restyle(self) -> None:
        """The typesetter has another style."""
        if self.body is not None:
            self.body.restyle(self._typesetter.quiet_style)

    def release(self) -> None:
        """Show nothing more."""
        self._clock.stop()
        if self._feed is not None:
            self._feed.close()
        if self.body is not None:
            self.body.release()
