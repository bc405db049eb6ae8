"""Size against loss, one dot a quant.

Painted here: a plotting library's smallest chart takes the main thread ten times as long as a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QPoint, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen, QPolygonF, QRegion
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from slmdesk.gui.quantize import words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM, WEIGHT_STRONG
from slmdesk.gui.widgets.base import Label, Pane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QMouseEvent, QPaintEvent, QResizeEvent

    from slmdesk.gui.theme import Theme
    from slmdesk.quantize.results import ResultRow

    Upward = Literal["kld", "worse"]

LEAST_DOT, MOST_DOT, RING = 10.0, 26.0, 8.0
TICK_ROOM = 70.0
"""Pixels between two numbers of an axis, at least."""
TITLES = {"kld": "KL divergence from the source", "worse": "Perplexity, growth in %"}


def value_of(row: ResultRow, upward: Upward) -> float | None:
    """What is drawn upward: 0 for the source."""
    if row.is_source:
        return 0.0
    if upward == "kld":
        return row.kld
    return None if row.worse is None else row.worse * 100


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round numbers from `low` to `high` with their texts, at most `most` + 1 of them."""
    if not high > low:
        return []
    raw = (high - low) / max(most, 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= raw * (1 - 1e-9))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to pixels."""

    low: float = 0.0
    high: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def pixel(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        return ticks(self.low, self.high, max(1, int(abs(self.end - self.start) / TICK_ROOM)))


@dataclass(slots=True)
class _Scene:
    """Where everything is, at one size: the area of the dots, the axes, dots and names."""

    area: QRectF = field(default_factory=QRectF)
    across: _Axis = field(default_factory=_Axis)
    up: _Axis = field(default_factory=_Axis)
    dots: list[tuple[ResultRow, QPointF, float]] = field(default_factory=list)
    names: list[tuple[ResultRow, QRectF]] = field(default_factory=list)


class _Told(Pane):
    """The panel beside the dot the pointer is over."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(theme, kind="panel", parent=parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._title = Label(theme, role="strong")
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(SPACE.medium)
        self._grid.setVerticalSpacing(SPACE.tiny // 2)
        self._cells: list[tuple[Label, Label]] = []
        for place in range(6):
            pair = Label(theme, role="small", tone="secondary"), Label(theme, role="small")
            pair[1].setAlignment(Qt.AlignmentFlag.AlignRight)
            self._grid.addWidget(pair[0], place, 0)
            self._grid.addWidget(pair[1], place, 1)
            self._cells.append(pair)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.medium, SPACE.small, SPACE.medium, SPACE.small)
        column.setSpacing(SPACE.tiny)
        column.addWidget(self._title)
        column.addLayout(self._grid)
        self.hide()

    def tell(self, row: ResultRow, near: QPointF, room: QRectF) -> None:
        self._title.setText(f"{row.name}, recommended" if row.recommended else row.name)
        told = words.row_told(row)
        for place, (name, value) in enumerate(self._cells):
            shown = place < len(told)
            name.setText(told[place][0] if shown else "")
            value.setText(told[place][1] if shown else "")
            name.setVisible(shown)
            value.setVisible(shown)
        self.layout().activate()  # type: ignore[union-attr]
        self.resize(self.sizeHint())
        x = near.x() + MOST_DOT
        if x + self.width() > room.right():
            x = near.x() - MOST_DOT - self.width()
        y = min(max(near.y() - self.height() / 2, room.top()), room.bottom() - self.height())
        self.move(round(max(x, 0.0)), round(max(y, 0.0)))
        self.show()
        self.raise_()


class LossChart(QWidget):
    """The chart. Follows the theme.

    Signals:
        pointed(object): the row the pointer is over, or None.
    """

    pointed = Signal(object)

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.rows: list[ResultRow] = []
        self.upward: Upward = "kld"
        self._marked: ResultRow | None = None
        self._scene = _Scene()
        self._told = _Told(theme, self)
        self.setMinimumHeight(MEASURE.chart)
        self.setMouseTracking(True)
        self.setAccessibleName("Size against loss")
        theme.changed.connect(self._place_all)

    @property
    def told(self) -> str:
        """Of which quant the panel tells; "" while it is hidden."""
        return "" if self._told.isHidden() or self._marked is None else self._marked.quant

    @property
    def canvas(self) -> QWidget:
        """What the pointer moves over."""
        return self

    def spot(self, row: ResultRow) -> QPoint:
        """Where a row's dot is on the canvas."""
        return self._dot(row).toPoint()

    def show_rows(self, rows: Sequence[ResultRow], upward: Upward) -> None:
        """Draw these quants."""
        self.rows = [row for row in rows if value_of(row, upward) is not None]
        self.upward = upward
        self._marked = None
        self._told.hide()
        self.setAccessibleDescription(
            "; ".join(
                f"{row.name}: " + ", ".join(f"{n} {v}" for n, v in words.row_told(row)) for row in self.rows
            )
        )
        self._place_all()

    def point(self, row: ResultRow | None) -> None:
        """Tell of a row as if the pointer were over its dot."""
        if row is self._marked:
            return
        self._marked = row if row in self.rows else None
        if self._marked is None:
            self._told.hide()
        else:
            self._told.tell(self._marked, self._dot(self._marked), QRectF(self.rect()))
        self.update()

    def picture(self, scale: float = 2.0) -> QImage:
        """The chart as it is, `scale` times as fine."""
        image = QImage(self.size() * scale, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        image.fill(self.theme.colour("surface"))
        painter = QPainter(image)
        self.render(painter, QPoint(0, 0), QRegion(), QWidget.RenderFlag.DrawChildren)
        painter.end()
        return image

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._told.hide()
        self._marked = None
        self._place_all()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        near = [
            (math.dist(at.toTuple(), centre.toTuple()), row)
            for row, centre, size in self._scene.dots
            if math.dist(at.toTuple(), centre.toTuple()) <= size / 2 + 2
        ]
        self._point_at(min(near, key=lambda pair: pair[0])[1] if near else None)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point_at(None)

    def _point_at(self, row: ResultRow | None) -> None:
        if row is not self._marked:
            self.point(row)
            self.pointed.emit(row)

    # Where things are

    @property
    def _unit(self) -> tuple[float, str]:
        big = max((row.size_bytes for row in self.rows), default=0) >= 0.9995e9
        return (1e9, "GB") if big else (1e6, "MB")

    def _dot(self, row: ResultRow) -> QPointF:
        return next((centre for known, centre, _ in self._scene.dots if known is row), QPointF())

    def _place_all(self) -> None:
        """Axes, dots and names for the size there is now."""
        self._scene = scene = _Scene()
        self.update()
        if not self.rows or self.width() < MEASURE.field:
            return
        unit = self._unit[0]
        points = [(row.size_bytes / unit, value_of(row, self.upward) or 0.0) for row in self.rows]
        wide = max(x for x, _ in points) - min(x for x, _ in points) or max(x for x, _ in points) or 1.0
        least, most = min(0.0, *(y for _, y in points)), max(y for _, y in points)
        high = most - least or 1.0
        line = QFontMetricsF(self.theme.font("small", tabular=True)).height()
        room = QRectF(self.rect()).adjusted(0, SPACE.small, -SPACE.small, -2 * line - 2 * SPACE.small)
        up = _Axis(least - 0.12 * high, most + 0.16 * high, room.bottom(), room.top())
        numbers = QFontMetricsF(self.theme.font("small", tabular=True))
        widest = max((numbers.horizontalAdvance(text) for _, text in up.ticks()), default=0.0)
        room.setLeft(line + 2 * SPACE.small + widest)
        scene.area, scene.up = room, up
        low = min(x for x, _ in points)
        scene.across = _Axis(max(0.0, low - 0.12 * wide), low + 1.16 * wide, room.left(), room.right())
        for row, (x, y) in zip(self.rows, points, strict=True):
            scene.dots.append((row, QPointF(scene.across.pixel(x), up.pixel(y)), self._diameter(row)))
        self._place_names(scene)

    def _place_names(self, scene: _Scene) -> None:
        """A name beside each dot, above it where two would lie over each other."""
        taken = [QRectF(c.x() - size / 2, c.y() - size / 2, size, size) for _, c, size in scene.dots]
        for row, centre, size in sorted(
            scene.dots, key=lambda dot: (not dot[0].recommended, not dot[0].is_source)
        ):
            metrics = QFontMetricsF(self.theme.font("small", weight=WEIGHT_STRONG))
            width = metrics.horizontalAdvance(_name(row)) + SPACE.small
            spot = self._free(QRectF(0, 0, width, metrics.height()), centre, size / 2 + RING / 2 + 1, taken)
            taken.append(spot)
            scene.names.append((row, spot))

    def _diameter(self, row: ResultRow) -> float:
        speeds = [each.speed for each in self.rows if each.speed]
        if not row.speed or not speeds:
            return LEAST_DOT
        low, high = min(speeds), max(speeds)
        share = (row.speed - low) / (high - low) if high > low else 0.5
        return LEAST_DOT + share * (MOST_DOT - LEAST_DOT)

    def _free(self, box: QRectF, centre: QPointF, reach: float, taken: list[QRectF]) -> QRectF:
        """The nearest place for a name that covers no other name and no dot: above, beside, below, further above."""
        up, side, line = reach + box.height() / 2, box.width() / 2 + reach, box.height()
        ways = [(0.0, -up), (side, 0.0), (-side, 0.0), (0.0, up)]
        ways += [
            (turn * side / 2, way * (up + n * line))
            for n in range(1, 9)
            for way in (-1, 1)
            for turn in (0, 1, -1)
        ]
        room = QRectF(self._scene.area).adjusted(1, 0, 0, -1)
        spot = QRectF(box)
        for x, y in ways:
            spot.moveCenter(centre + QPointF(x, y))
            if room.contains(spot) and not any(spot.intersects(other) for other in taken):
                return spot
        spot.moveCenter(centre + QPointF(*ways[0]))
        return spot

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._scene.dots:
            self._paint_axes(painter)
            self._paint_dots(painter)
            self._paint_names(painter)
        painter.end()

    def _paint_axes(self, painter: QPainter) -> None:
        theme, scene = self.theme, self._scene
        area, font = scene.area, theme.font("small", tabular=True)
        metrics = QFontMetricsF(font)
        painter.setFont(font)
        painter.setPen(QPen(theme.colour("line_strong"), MEASURE.line))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        centre = Qt.AlignmentFlag.AlignCenter
        for value, text in scene.across.ticks():
            x = scene.across.pixel(value)
            painter.setPen(QPen(theme.colour("line_strong"), MEASURE.line))
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + SPACE.tiny))
            painter.setPen(theme.colour("secondary"))
            painter.drawText(QRectF(x - TICK_ROOM / 2, area.bottom() + SPACE.small, TICK_ROOM, metrics.height()),
                             centre, text)  # fmt: skip
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value, text in scene.up.ticks():
            y = scene.up.pixel(value)
            painter.setPen(QPen(theme.colour("line_strong"), MEASURE.line))
            painter.drawLine(QPointF(area.left() - SPACE.tiny, y), QPointF(area.left(), y))
            painter.setPen(theme.colour("secondary"))
            painter.drawText(QRectF(0, y - metrics.height() / 2, area.left() - SPACE.small, metrics.height()),
                             right, text)  # fmt: skip
        below = QRectF(area.left(), self.height() - metrics.height(), area.width(), metrics.height())
        painter.drawText(below, centre, f"Size in {self._unit[1]}")
        painter.save()
        painter.rotate(-90)
        painter.drawText(
            QRectF(-area.bottom(), 0, area.height(), metrics.height()), centre, TITLES[self.upward]
        )
        painter.restore()

    def _paint_dots(self, painter: QPainter) -> None:
        theme = self.theme
        line = QPen(theme.colour("line"), 1.5, Qt.PenStyle.DashLine)
        painter.setPen(line)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(sorted((c for _, c, _ in self._scene.dots), key=lambda c: c.x())))
        for row, centre, size in self._scene.dots:
            marked = row is self._marked
            name = "secondary" if row.is_source else "accent"
            fill = QColor(theme.colour(name))
            fill.setAlphaF(0.95 if marked else 0.7)
            if row.recommended:
                painter.setPen(QPen(theme.colour("accent"), 2))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawEllipse(centre, (size + RING) / 2, (size + RING) / 2)
            painter.setPen(QPen(theme.colour("text" if marked else name), 1.5))
            painter.setBrush(fill)
            painter.drawEllipse(centre, size / 2, size / 2)

    def _paint_names(self, painter: QPainter) -> None:
        painter.setPen(self.theme.colour("text"))
        for row, spot in self._scene.names:
            painter.setFont(
                self.theme.font("small", weight=WEIGHT_STRONG if row.recommended else WEIGHT_MEDIUM)
            )
            painter.drawText(spot, Qt.AlignmentFlag.AlignCenter, _name(row))


def _name(row: ResultRow) -> str:
    return f"{row.name}, recommended" if row.recommended else row.name
