"""Where messages are written, and what stands quietly below: the model, the context used, the speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QApplication, QWidget

from slmdesk.gui.chat.text_input import TextInput
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.progress import TokenMeter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.theme import Theme

DRAFT_MS = 400
"""What is typed is kept this long after the last key."""
WIDE_LINE = 600
"""From this width of the line below on, the tools are named in it."""
LEAST_NAME = 80
"""Pixels a model's name gets in any case."""


class _Frame(QWidget):
    """The edge around field and button; accented while the field has the focus."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        focused = QApplication.focusWidget()
        lit = focused is not None and self.isAncestorOf(focused)
        wide = MEASURE.focus if lit else MEASURE.line
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self._theme.colour("accent" if lit else "control"), wide))
        painter.setBrush(self._theme.colour("surface"))
        edge = QRectF(self.rect()).adjusted(wide / 2, wide / 2, -wide / 2, -wide / 2)
        painter.drawRoundedRect(edge, MEASURE.corner_card, MEASURE.corner_card)


class Composer(QWidget):
    """The field, its one button, and the line below.

    Attributes:
        field: the text.
        model_button: opens the list of models.
        tools_button: says which tools may be called, and opens their list.

    Signals:
        sent(str): the text should be sent. The field is emptied by `accepted`, once it is stored.
        stop: the answer should end.
        edit_last: the last message should be edited.
        draft(str): what is typed has rested for a moment.
        model_wanted: another model should be chosen.
        context_wanted: what is done with a full context should be chosen.
        scrolled(float): the messages should be scrolled by this share of their view.
    """

    sent = Signal(str)
    stop = Signal()
    edit_last = Signal()
    draft = Signal(str)
    model_wanted = Signal()
    context_wanted = Signal()
    scrolled = Signal(float)

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._streaming = False
        self._sending = ""
        self._model = "Choose a model"
        self._tools = ("Tools", "")
        self._frame = _Frame(theme)
        self.field = TextInput(theme, placeholder="Ask something", bare=True)
        self.field.setAccessibleName("Message")
        self.field.submitted.connect(self._submit)
        self.field.escaped.connect(self.stop)
        self.field.up_in_empty.connect(self.edit_last)
        self.field.textChanged.connect(self._typed)
        self.field.installEventFilter(self)
        self._button = IconButton(theme, "send", "Send", kind="primary")
        self._button.clicked.connect(self._pressed)
        row = hbox(
            self._frame, margins=(SPACE.medium, SPACE.small, SPACE.small, SPACE.small), spacing=SPACE.small
        )
        row.addWidget(self.field, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._button, 0, Qt.AlignmentFlag.AlignBottom)

        self.model_button = Button(
            theme, "Choose a model", kind="quiet", icon="model", small=True, tip="Choose a model"
        )
        self.model_button.clicked.connect(self.model_wanted)
        self.tools_button = Button(theme, "Tools", kind="quiet", icon="tools", small=True)
        self.meter = TokenMeter(theme)
        self._speed = Label(theme, role="small", tone="secondary")
        self._remark = ElidedLabel(theme, role="small", tone="secondary")
        self.context_button = Button(theme, "Change", kind="link", small=True)
        self.context_button.setToolTip("Choose what is done when the context is full")
        self.context_button.setAccessibleName("Change what is done when the context is full")
        self.context_button.clicked.connect(self.context_wanted)
        self.context_button.hide()
        below = hbox(margins=(0, 0, SPACE.tiny, 0), spacing=SPACE.large)
        below.addWidget(self.model_button)
        below.addWidget(self.tools_button)
        below.addWidget(self._remark, 1)
        below.addWidget(self.context_button)
        below.addWidget(self.meter)
        below.addWidget(self._speed)
        layout = vbox(self, margins=0, spacing=SPACE.tiny)
        layout.addWidget(self._frame)
        layout.addLayout(below)
        self.setMaximumWidth(MEASURE.reading)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(DRAFT_MS)
        self._rest.timeout.connect(lambda: self.draft.emit(self.text))
        self._show_button()

    @property
    def text(self) -> str:
        return self.field.toPlainText()

    @property
    def streaming(self) -> bool:
        """Whether the button is Stop now."""
        return self._streaming

    def set_streaming(self, *, streaming: bool) -> None:
        """An answer is being written in this conversation: the button becomes Stop."""
        if streaming != self._streaming:
            self._streaming = streaming
            self._show_button()

    def put(self, text: str) -> None:
        """Show a draft, without saving it again."""
        self._sending = ""
        if text != self.text:
            self.field.put(text)
        self._rest.stop()

    def type(self, text: str) -> None:
        """Letters that were typed elsewhere: they go where one types, and so does the focus."""
        self.field.setFocus(Qt.FocusReason.OtherFocusReason)
        self.field.insertPlainText(text)

    def take_draft(self) -> str | None:
        """What is typed and not saved yet, if anything; it counts as saved from now on."""
        if not self._rest.isActive():
            return None
        self._rest.stop()
        return self.text

    def accepted(self) -> None:
        """What was sent is stored: the field may forget it, and keeps what was typed since."""
        sent, self._sending = self._sending, ""
        if sent and self.text.startswith(sent):
            self.field.put(self.text[len(sent) :])
        if self.text:
            self._rest.start()  # it stands beside another conversation now, perhaps one that has just begun
        else:
            self._rest.stop()
        self._show_button()

    def refused(self) -> None:
        """What was sent could not be stored: it stays in the field."""
        self._sending = ""
        self._show_button()

    def set_model(self, name: str) -> None:
        """The model that answers next."""
        self._model = name or "Choose a model"
        self._fit_line()

    def set_tools(self, words: str, count: int, told: str) -> None:
        """The tools that may be called: in words, how many, and their names."""
        self._tools = (words, f"{count}" if count else "")
        self.tools_button.setAccessibleName(f"Tools of this conversation: {told}. Choose others")
        self.tools_button.setToolTip(f"Tools the model may call here: {told}")
        self._fit_line()

    def _fit_line(self) -> None:
        """In a narrow column the line below says less, and nothing in it is cut off."""
        words, short = self._tools
        self.tools_button.setText(words if self.width() >= WIDE_LINE else short)
        others = (self.tools_button, self.meter, self._speed)
        taken = sum(one.sizeHint().width() + SPACE.large for one in others if not one.isHidden())
        room = self.width() - taken - MEASURE.icon - 2 * SPACE.large
        metrics = self.model_button.fontMetrics()
        shown = metrics.elidedText(self._model, Qt.TextElideMode.ElideMiddle, max(room, LEAST_NAME))
        self.model_button.setText(shown)
        self.model_button.setAccessibleName(f"Choose a model. Now: {self._model}")

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_line()

    def set_stats(self, stats: Mapping[str, Any] | None) -> None:
        """Show what the last answer used and how fast it was."""
        stats = stats or {}
        usage, timings = stats.get("usage") or {}, stats.get("timings") or {}
        used = int(usage.get("prompt_tokens", 0)) + int(usage.get("completion_tokens", 0))
        self.meter.set_tokens(used, int(stats.get("context_length") or 0))
        rate = float(timings.get("tokens_per_s") or 0.0)
        self._speed.setText(f"{rate:,.0f} tokens/s" if rate >= 10 else f"{rate:.1f} tokens/s")
        self._speed.setVisible(rate > 0)
        self._fit_line()
        skipped = int(stats.get("trimmed_turns") or 0)
        middle = stats.get("overflow") == "keep_ends"
        if skipped == 1:
            which = "One turn behind the first is" if middle else "The oldest turn is"
        else:
            which = f"{skipped} turns behind the first are" if middle else f"The oldest {skipped} turns are"
        self._remark.setText(f"{which} left out, to fit the context" if skipped else "")
        self.context_button.setVisible(skipped > 0 or self.meter.nearly_full)

    @property
    def speed_words(self) -> str:
        return self._speed.text() if not self._speed.isHidden() else ""

    def _typed(self) -> None:
        self._rest.start()
        self._show_button()

    def _submit(self) -> None:
        if self.text.strip() and not self._streaming and not self._sending:
            self._sending = self.text
            self._rest.stop()
            self._show_button()
            self.sent.emit(self._sending)

    def _pressed(self) -> None:
        if self._streaming:
            self.stop.emit()
        else:
            self._submit()
        self.field.setFocus()

    def _show_button(self) -> None:
        if self._streaming:
            self._button.set_icon("stop")
            self._button.rename("Stop (Esc)")
            self._button.setEnabled(True)
        else:
            self._button.set_icon("send")
            self._button.rename("Send (Enter)")
            self._button.setEnabled(bool(self.text.strip()) and not self._sending)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in {QEvent.Type.FocusIn, QEvent.Type.FocusOut}:
            self._frame.update()
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            pages = {Qt.Key.Key_PageUp: -1.0, Qt.Key.Key_PageDown: 1.0}.get(Qt.Key(event.key()))
            if pages is not None:
                self.scrolled.emit(pages)
                return True
        return super().eventFilter(watched, event)
