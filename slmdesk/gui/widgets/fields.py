"""What a person types in."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QFocusEvent, QIcon, QKeyEvent, QTextOption
from PySide6.QtWidgets import QLineEdit, QPlainTextEdit, QWidget

from slmdesk.gui.theme import SPACE, Theme
from slmdesk.gui.widgets.base import Label, Tall, restyle
from slmdesk.gui.widgets.layouts import vbox


class TextField(Tall, QLineEdit):
    """One line of text."""

    def __init__(
        self, theme: Theme, text: str = "", *, placeholder: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(text, parent)
        self.theme = theme
        self.setPlaceholderText(placeholder)


class SearchField(TextField):
    """A field that filters what is below it. Esc empties it.

    Signals:
        left: Down or Enter was pressed: the person wants to go on to what was found.
    """

    left = Signal()

    def __init__(self, theme: Theme, placeholder: str = "Search", *, parent: QWidget | None = None) -> None:
        super().__init__(theme, placeholder=placeholder, parent=parent)
        self.setAccessibleName(placeholder)
        mark = self.addAction(
            theme.icon("search", colour="secondary"), QLineEdit.ActionPosition.LeadingPosition
        )
        mark.setText("Search")
        mark.triggered.connect(self.selectAll)
        self._clear = self.addAction(QIcon(), QLineEdit.ActionPosition.TrailingPosition)
        self._clear.setIcon(theme.icon("clear", colour="secondary"))
        self._clear.setText("Clear")
        self._clear.setVisible(False)
        self._clear.triggered.connect(self.clear)
        self.textChanged.connect(lambda text: self._clear.setVisible(bool(text)))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key == Qt.Key.Key_Escape and self.text():
            self.clear()
        elif key in {Qt.Key.Key_Down, Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.left.emit()
        else:
            super().keyPressEvent(event)


class TextArea(QPlainTextEdit):
    """Several lines of text that grow with what is written, between `lines` and `most` lines.

    Signals:
        committed: the focus left after the text had changed.
    """

    committed = Signal(str)

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        placeholder: str = "",
        lines: int = 3,
        most: int = 8,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._lines = (lines, most)
        self._before = text
        self.setPlainText(text)
        self.setPlaceholderText(placeholder)
        self.setTabChangesFocus(True)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().setDocumentMargin(SPACE.tiny / 2)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        theme.changed.connect(self._fit)
        self._fit()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._before = self.toPlainText()
        super().focusInEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        if self.toPlainText() != self._before:
            self._before = self.toPlainText()
            self.committed.emit(self._before)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _fit(self) -> None:
        # Of a plain text document the layout counts lines, not pixels.
        wanted = round(self.document().documentLayout().documentSize().height())
        least, most = self._lines
        line = self.fontMetrics().lineSpacing()
        self.setFixedHeight(min(max(wanted, least), most) * line + 2 * SPACE.small)


class LabelledField(QWidget):
    """A control with its label above and help, or what is wrong, below."""

    def __init__(
        self,
        theme: Theme,
        label: str,
        control: QWidget,
        *,
        help_text: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.control = control
        self._help = help_text
        self._label = Label(theme, label, role="strong")
        self._below = Label(theme, help_text, role="small", tone="secondary", wrap=True)
        if not help_text:
            self._below.hide()
        self._label.setBuddy(control)
        control.setAccessibleName(label)
        control.setAccessibleDescription(help_text)
        layout = vbox(self, margins=0, spacing=SPACE.tiny)
        layout.addWidget(self._label)
        layout.addWidget(control)
        layout.addWidget(self._below)

    def set_help(self, text: str) -> None:
        """Another help below the control."""
        self._help = text
        self.set_error("")

    def set_error(self, text: str) -> None:
        """Say what is wrong with the value; "" when it is right again."""
        self._below.setText(text or self._help)
        self._below.set_tone("bad" if text else "secondary")
        self._below.setVisible(bool(text or self._help))
        self.control.setAccessibleDescription(text or self._help)
        restyle(self.control, "invalid", bool(text))
