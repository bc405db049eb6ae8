"""What a model takes of this machine's memory: one stacked bar, its parts named, and the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from slmdesk.core import amounts
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.flow import FlowLayout
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the bar: its name, its bytes, and a colour of the theme."""

    name: str
    count: int
    colour: str


class _Bar(QWidget):
    """The parts side by side from the left; what others use before them, a mark where the free memory ends."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.parts: tuple[Part, ...] = ()
        self.whole = 1
        self.setFixedHeight(MEASURE.stack)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        shape = QPainterPath()
        shape.addRoundedRect(box, SPACE.tiny, SPACE.tiny)
        painter.fillPath(shape, self.theme.colour("surface"))
        painter.save()
        painter.setClipPath(shape)
        left = box.left()
        for part in self.parts:
            width = box.width() * part.count / self.whole
            painter.fillRect(QRectF(left, 0, width, self.height()), self.theme.colour(part.colour))
            left += width
            if width > 2:
                painter.fillRect(
                    QRectF(left - 1, 0, MEASURE.line, self.height()), self.theme.colour("surface")
                )
        painter.restore()
        painter.setPen(QPen(self.theme.colour("control"), MEASURE.line))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(shape)


class MemoryBar(QWidget):
    """Weights, KV cache, compute and overhead stacked against the machine's memory, with a legend and the sum."""

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._bar = _Bar(theme)
        self._legend = QWidget()
        self._flow = FlowLayout(self._legend, spacing=SPACE.large, line=SPACE.tiny)
        self._sum = Label(theme, role="small", tone="secondary", wrap=True)
        layout = vbox(self, margins=0, spacing=SPACE.small)
        layout.addWidget(self._bar)
        layout.addWidget(self._legend)
        layout.addWidget(self._sum)

    @property
    def words(self) -> str:
        """The sum as a sentence."""
        return self._sum.text()

    def show_parts(self, parts: Sequence[Part], *, used: int, total: int, sentence: str) -> None:
        """`used` bytes of the machine's `total` are taken by others; the parts come on top of them."""
        shown = [Part("Used by others", used, "line_strong"), *parts] if used else list(parts)
        shown = [part for part in shown if part.count > 0]
        self._bar.parts = tuple(shown)
        self._bar.whole = max(total, sum(part.count for part in shown), 1)
        self._bar.update()
        self._sum.setText(sentence)
        self.setAccessibleName(sentence)
        self._name_parts(shown, total - sum(part.count for part in shown))

    def _name_parts(self, parts: Sequence[Part], left: int) -> None:
        while (item := self._flow.takeAt(0)) is not None:
            old = item.widget()
            if old is not None:
                old.hide()
                old.deleteLater()
        names = [*parts, *([Part("Left", left, "surface")] if left > 0 else [])]
        for part in names:
            self._flow.addWidget(self._entry(part))
        self._legend.updateGeometry()

    def _entry(self, part: Part) -> QWidget:
        entry = QWidget(self._legend)
        row = hbox(entry, margins=0, spacing=SPACE.tiny)
        colour = "control" if part.colour == "surface" else part.colour
        mark = Icon(
            self.theme,
            "dot" if part.colour != "surface" else "ring",
            size=SPACE.small + 2,
            colour=colour,
            parent=entry,
        )
        row.addWidget(mark)
        row.addWidget(Label(self.theme, part.name, role="small", tone="secondary", parent=entry))
        number = Label(self.theme, amounts.size(part.count), role="small", parent=entry)
        row.addWidget(number)
        entry.show()
        return entry
