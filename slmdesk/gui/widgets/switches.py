"""Two ways to choose at a glance: on or off, and one of a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QRectF, QSize, Qt, QVariantAnimation, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from slmdesk.gui.theme import MEASURE, MOTION, SPACE, Theme
from slmdesk.gui.widgets.base import Pane, Pressed, Tall

if TYPE_CHECKING:
    from collections.abc import Sequence


class Switch(Pressed, QAbstractButton):
    """On or off, at once. `toggled` comes for every change, `clicked` only for a person's."""

    def __init__(self, theme: Theme, name: str, *, on: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setCheckable(True)
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setChecked(on)
        self._at = float(on)
        self._slide = QVariantAnimation(self)
        self._slide.setDuration(MOTION.fade)
        self._slide.valueChanged.connect(self._move)
        self.toggled.connect(self._toggled)

    def sizeHint(self) -> QSize:
        return QSize(MEASURE.switch_width, MEASURE.switch_height)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        theme = self.theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        track = QRectF(0, 0, MEASURE.switch_width, MEASURE.switch_height)
        round_ = MEASURE.switch_height / 2
        on, enabled = self.isChecked(), self.isEnabled()
        fill = theme.colour("accent" if on else "surface")
        edge = theme.colour("accent" if on else "control")
        knob = theme.colour("on_accent" if on else "control")
        if not enabled:
            fill = theme.colour("track" if on else "window")
            edge = theme.colour("line_strong")
            knob = theme.colour("disabled")
        painter.setPen(QPen(edge, MEASURE.line))
        painter.setBrush(fill)
        painter.drawRoundedRect(track.adjusted(0.5, 0.5, -0.5, -0.5), round_, round_)
        side = MEASURE.switch_height - 2 * MEASURE.knob_inset
        way = MEASURE.switch_width - 2 * MEASURE.knob_inset - side
        left = MEASURE.knob_inset + way * self._at
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(knob)
        painter.drawEllipse(QRectF(left, MEASURE.knob_inset, side, side))
        if self.hasFocus():
            # On the accent's own ground an accent ring would not be seen.
            painter.setPen(QPen(theme.colour("text" if on else "accent"), MEASURE.focus))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(track.adjusted(1, 1, -1, -1), round_ - 1, round_ - 1)

    def _toggled(self, on: bool) -> None:
        self._slide.stop()
        if self.theme.animated and self.isVisible():
            self._slide.setStartValue(self._at)
            self._slide.setEndValue(float(on))
            self._slide.start()
        else:
            self._move(float(on))

    def _move(self, at: float) -> None:
        self._at = at
        self.update()


class _SegmentButton(Pressed, Tall, QPushButton):
    least_height = MEASURE.control - SPACE.tiny


class SegmentedSwitch(Pane):
    """One of a few values, all of them in sight. Arrow keys move between them.

    Signals:
        changed: the value a person picked.
    """

    changed = Signal(object)

    def __init__(
        self,
        theme: Theme,
        choices: Sequence[tuple[Any, str]],
        *,
        value: Any = None,
        name: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, kind="segments", parent=parent)
        self._values = [each for each, _ in choices]
        self._group = QButtonGroup(self)
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        inset = SPACE.tiny // 2
        layout.setContentsMargins(inset, inset, inset, inset)
        layout.setSpacing(0)
        for index, (_, text) in enumerate(choices):
            button = _SegmentButton(text)
            button.setProperty("kind", "segment")
            button.setCheckable(True)
            button.setAutoDefault(False)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.setAccessibleName(f"{name}: {text}" if name else text)
            self._group.addButton(button, index)
            layout.addWidget(button)
        self.set_value(self._values[0] if value is None else value)
        self._group.idClicked.connect(lambda index: self.changed.emit(self._values[index]))

    @property
    def value(self) -> Any:
        return self._values[self._group.checkedId()]

    def set_value(self, value: Any) -> None:
        """Show a value without emitting `changed`. Raises ValueError for one that is no choice."""
        self._group.button(self._values.index(value)).setChecked(True)
