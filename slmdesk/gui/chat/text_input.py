"""The field a person writes messages in: grows to eight lines, Enter sends, Shift+Enter breaks the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.fields import TextArea

if TYPE_CHECKING:
    from PySide6.QtCore import QMimeData
    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.theme import Theme

MOST_LINES = 8


class TextInput(TextArea):
    """Plain text only; `bare` is for a field that stands inside an edge drawn by others.

    Signals:
        submitted: Enter was pressed.
        escaped: Esc was pressed.
        up_in_empty: Up was pressed with nothing written.
    """

    submitted = Signal()
    escaped = Signal()
    up_in_empty = Signal()

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        placeholder: str = "",
        bare: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, text, placeholder=placeholder, lines=1, most=MOST_LINES, parent=parent)
        if bare:
            self.setProperty("kind", "bare")
            self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, modifiers = event.key(), event.modifiers()
        modifiers &= ~Qt.KeyboardModifier.KeypadModifier
        if key in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and not self.composing:
            if modifiers & (Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier):
                self.textCursor().insertText("\n")
                self.ensureCursorVisible()
            else:
                self.submitted.emit()
        elif key == Qt.Key.Key_Escape and not self.composing:
            self.escaped.emit()
        elif key == Qt.Key.Key_Up and not modifiers and not self.toPlainText() and not self.composing:
            self.up_in_empty.emit()
        else:
            super().keyPressEvent(event)

    @property
    def composing(self) -> bool:
        """Whether an input method holds letters that are not text yet."""
        layout = self.textCursor().block().layout()
        return bool(layout.preeditAreaText())

    def insertFromMimeData(self, source: QMimeData) -> None:
        if source.hasText():
            # Word processors paste line separators and no-break spaces; both only confuse a model.
            self.insertPlainText(
                source.text().replace("\u2028", "\n").replace("\u2029", "\n").replace("\u00a0", " ")
            )

    def _fit(self) -> None:
        # Inside the composer's own edge the field has no padding.
        least, most = self._lines
        lines = round(self.document().documentLayout().documentSize().height())
        bare = self.property("kind") == "bare"
        around = 2 * (SPACE.tiny if bare else SPACE.small)
        needed = (
            Qt.ScrollBarPolicy.ScrollBarAsNeeded if lines > most else Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        )
        self.setVerticalScrollBarPolicy(needed)
        self.setFixedHeight(round(min(max(lines, least), most) * self.fontMetrics().lineSpacing() + around))

    def put(self, text: str) -> None:
        """Show `text` with the cursor behind it."""
        self.setPlainText(text)
        cursor = self.textCursor()
        cursor.movePosition(cursor.MoveOperation.End)
        self.setTextCursor(cursor)
