"""What a person chooses or counts with. Wheels turn a value only where the control has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QLocale, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QValidator, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QListView,
    QSpinBox,
    QStyledItemDelegate,
    QWidget,
)

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Tall

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """Mixed into spin boxes: the two small arrows, and numbers that are typed.

    Qt drops the digit that would lead beyond the limits: 70000 became 7000 where 65535 is the most. Here every number
    can be typed; one beyond the limits is refused when typing ends, and the value stays what it was.
    """

    theme: Theme
    _typed_beyond = ""

    def validate(self, text: str, position: int) -> Any:
        verdict = super().validate(text, position)  # type: ignore[misc]
        state = verdict[0] if isinstance(verdict, tuple) else verdict
        if state == QValidator.State.Invalid and self._number_in(text) is not None:
            return QValidator.State.Intermediate, text, position
        return verdict

    def fixup(self, text: str) -> str:
        beyond = self._number_in(text)
        if beyond is not None:
            self._typed_beyond = beyond
            box: QAbstractSpinBox = self  # type: ignore[assignment]
            QTimer.singleShot(0, box, self._tell_refused)
        value: str = self.textFromValue(self.value())  # type: ignore[attr-defined]
        return f"{self.prefix()}{value}{self.suffix()}"  # type: ignore[attr-defined]

    def _tell_refused(self) -> None:
        typed, self._typed_beyond = self._typed_beyond, ""
        if typed:
            self.refused.emit(typed)  # type: ignore[attr-defined]

    def _number_in(self, text: str) -> str | None:
        """The number that was typed, without unit and separators; None when it is none."""
        typed = text.removesuffix(self.suffix()).strip()  # type: ignore[attr-defined]
        locale: QLocale = self.locale()  # type: ignore[attr-defined]
        plain = typed.replace(locale.groupSeparator(), "").replace(locale.decimalPoint(), ".")
        try:
            float(plain)
        except ValueError:
            return None
        return typed

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
    """A whole number with its unit. `valueChanged` comes when typing is finished, or with each step.

    Signals:
        refused(str): a number beyond the limits was typed; the value stayed what it was.
    """

    refused = Signal(str)

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

    refused = Signal(str)

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
