"""Changing a message in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.chat.text_input import TextInput
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from slmdesk.gui.theme import Theme


class EditBox(QWidget):
    """The old text in a field, with Send and Cancel below.

    Signals:
        sent(str): the new text should be asked.
        cancelled: everything stays as it was.
        changed: the height is another one.
    """

    sent = Signal(str)
    cancelled = Signal()
    changed = Signal()

    def __init__(self, theme: Theme, text: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = TextInput(theme, parent=self)
        self.field.setAccessibleName("Your message")
        self.field.put(text)
        self.field.submitted.connect(self._send)
        self.field.escaped.connect(self.cancelled)
        send = Button(theme, "Send", kind="primary", small=True)
        send.clicked.connect(self._send)
        cancel = Button(theme, "Cancel", kind="quiet", small=True)
        cancel.clicked.connect(self.cancelled)
        buttons = hbox(spacing=SPACE.small)
        buttons.addWidget(
            Label(theme, "The answer so far is kept as another version.", role="small", tone="secondary")
        )
        buttons.addStretch(1)
        buttons.addWidget(cancel)
        buttons.addWidget(send)
        layout = vbox(self, margins=0, spacing=SPACE.small)
        layout.addWidget(self.field)
        layout.addLayout(buttons)

    def begin(self) -> None:
        """Take the focus."""
        self.field.setFocus()

    def event(self, event: QEvent) -> bool:
        done = super().event(event)
        # The field knows how many lines it needs once it has its width; then it wants another height.
        if event.type() == QEvent.Type.LayoutRequest and self.sizeHint().height() != self.height():
            self.changed.emit()
        return done

    def _send(self) -> None:
        text = self.field.toPlainText()
        if text.strip():
            self.sent.emit(text)
