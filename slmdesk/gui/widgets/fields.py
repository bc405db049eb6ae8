"""What a person types or chooses in. Wheels turn a value only where the control has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QIcon, QKeyEvent, QPainter, QPaintEvent, QTextOption, QWheelEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QListView,
    QPlainTextEdit,
    QSpinBox,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Label, Tall, restyle

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class _Wheelless:
    """Mixed into value controls: scrolling the page past them changes nothing."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():  # type: ignore[attr-defined]
            super().wheelEvent(event)  # type: ignore[misc]
        else:
            event.ignore()


class Select(Tall, _Wheelless, QComboBox):
    """One of a few named values.

    Signals:
        chosen: the value a person picked.
    """

    chosen = Signal(object)

    def __init__(
        self,
        theme: Theme,
        choices: Sequence[tuple[Any, str]] = (),
        *,
        value: Any = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        view = QListView(self)
        view.setItemDelegate(QStyledItemDelegate(view))
        self.setView(view)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.set_choices(choices, value)
        self.activated.connect(lambda index: self.chosen.emit(self.itemData(index)))

    @property
    def value(self) -> Any:
        return self.currentData()

    def set_choices(self, choices: Sequence[tuple[Any, str]], value: Any = None) -> None:
        """Other choices; `value` (or the first) is the current one then."""
        self.clear()
        for each, text in choices:
            self.addItem(text, each)
        if value is not None:
            self.set_value(value)

    def set_value(self, value: Any) -> None:
        """Show a value without emitting `chosen`."""
        self.setCurrentIndex(max(0, self.findData(value)))

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        side = MEASURE.icon_small
        left = self.width() - side - SPACE.small
        rect = QRectF(left, (self.height() - side) / 2, side, side)
        ink = self.theme.colour("secondary" if self.isEnabled() else "disabled")
        self.theme.icons.paint(QPainter(self), rect, "chevron-down", ink)


class _Steps(_Wheelless):
    """Mixed into spin boxes: the two small arrows, drawn with the icon font."""

    theme: Theme

    def sizeHint(self) -> QSize:
        # The style adds its own frame to the style sheet's; the field is to be as high as its neighbours.
        hint: QSize = super().sizeHint()  # type: ignore[misc]
        return QSize(hint.width(), max(MEASURE.control, hint.height() - SPACE.small))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)  # type: ignore[misc]
        widget: QWidget = self  # type: ignore[assignment]
        side = MEASURE.icon_small
        left = widget.width() - (SPACE.wide + side) / 2
        middle = widget.height() / 2
        ink = self.theme.colour("secondary" if widget.isEnabled() else "disabled")
        painter = QPainter(widget)
        self.theme.icons.paint(painter, QRectF(left, middle - side + 2, side, side), "sort-up", ink)
        self.theme.icons.paint(painter, QRectF(left, middle - 2, side, side), "sort-down", ink)


class NumberField(_Steps, QSpinBox):
    """A whole number with its unit. `valueChanged` comes when typing is finished, or with each step."""

    def __init__(
        self,
        theme: Theme,
        value: int = 0,
        *,
        least: int = 0,
        most: int = 2**31 - 1,
        step: int = 1,
        unit: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)
        self.lineEdit().setTextMargins(SPACE.small - MEASURE.focus, 0, 0, 0)
        self.setRange(least, most)
        self.setSingleStep(step)
        self.setSuffix(f" {unit}" if unit else "")
        self.setValue(value)


class DecimalField(_Steps, QDoubleSpinBox):
    """A number with decimals; see `NumberField`."""

    def __init__(
        self,
        theme: Theme,
        value: float = 0.0,
        *,
        least: float = 0.0,
        most: float = 1e9,
        step: float = 0.05,
        decimals: int = 2,
        unit: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)
        self.lineEdit().setTextMargins(SPACE.small - MEASURE.focus, 0, 0, 0)
        self.setDecimals(decimals)
        self.setRange(least, most)
        self.setSingleStep(step)
        self.setSuffix(f" {unit}" if unit else "")
        self.setValue(value)


class Field(QWidget):
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE.tiny)
        layout.addWidget(self._label)
        layout.addWidget(control)
        layout.addWidget(self._below)

    def set_error(self, text: str) -> None:
        """Say what is wrong with the value; "" when it is right again."""
        self._below.setText(text or self._help)
        self._below.set_tone("bad" if text else "secondary")
        self._below.setVisible(bool(text or self._help))
        self.control.setAccessibleDescription(text or self._help)
        restyle(self.control, "invalid", bool(text))
