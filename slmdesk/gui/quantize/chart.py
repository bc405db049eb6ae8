"""Size against loss, one dot a quant. Imported when there is something to draw: pyqtgraph brings numpy."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Literal

from PySide6.QtCore import QPoint, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from slmdesk.gui.quantize import words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM, WEIGHT_STRONG
from slmdesk.gui.widgets.base import Label, Pane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.quantize.rows import ResultRow
    from slmdesk.gui.theme import Theme

    Upward = Literal["kld", "worse"]

_hooks = sys.excepthook, threading.excepthook
import pyqtgraph as pg  # noqa: E402

# The window has its own way to report defects.
sys.excepthook, threading.excepthook = _hooks
pg.setConfigOptions(antialias=True, exitCleanup=False, mouseRateLimit=0)

LEAST_DOT, MOST_DOT, RING = 10.0, 26.0, 8.0
TITLES = {"kld": "KL divergence from the source", "worse": "Perplexity, growth in %"}


def value_of(row: ResultRow, upward: Upward) -> float | None:
    """What is drawn upward: 0 for the source."""
    if row.is_source:
        return 0.0
    if upward == "kld":
        return row.kld
    return None if row.worse is None else row.worse * 100


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
        self._plot: Any = pg.PlotWidget(self)
        self._plot.setFrameShape(self._plot.Shape.NoFrame)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self._plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        item.setMouseEnabled(x=False, y=False)
        item.showGrid(x=False, y=False)
        self._rings: Any = pg.ScatterPlotItem(pxMode=True)
        self._dots: Any = pg.ScatterPlotItem(pxMode=True, hoverable=True, tip=None)
        self._line: Any = pg.PlotCurveItem()
        for layer in (self._line, self._rings, self._dots):
            item.addItem(layer)
        self._names: list[Any] = []
        self._dots.sigHovered.connect(self._hovered)
        self._told = _Told(theme, self)
        self.setMinimumHeight(MEASURE.chart)
        self.setAccessibleName("Size against loss")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._plot)
        theme.changed.connect(self._draw)

    @property
    def told(self) -> str:
        """Of which quant the panel tells; "" while it is hidden."""
        return "" if self._told.isHidden() or self._marked is None else self._marked.quant

    @property
    def canvas(self) -> QWidget:
        """What the pointer moves over."""
        canvas: QWidget = self._plot.viewport()
        return canvas

    def spot(self, row: ResultRow) -> QPoint:
        """Where a row's dot is on the canvas."""
        return (self._place(row) - QPointF(self._plot.pos())).toPoint()

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
        self._draw()

    def point(self, row: ResultRow | None) -> None:
        """Tell of a row as if the pointer were over its dot."""
        if row is self._marked:
            return
        self._marked = row if row in self.rows else None
        if self._marked is None:
            self._told.hide()
        else:
            self._told.tell(self._marked, self._place(self._marked), QRectF(self.rect()))
        self._draw_dots()

    def picture(self, scale: float = 2.0) -> QImage:
        """The chart as it is, `scale` times as fine."""
        image = QImage(self.size() * scale, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        image.fill(self.theme.colour("surface"))
        painter = QPainter(image)
        self.render(painter, QPoint(0, 0))
        painter.end()
        return image

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._told.hide()
        self._marked = None
        self._draw_names()

    def _place(self, row: ResultRow) -> QPointF:
        """Where its dot is, in this widget."""
        view = self._plot.getPlotItem().getViewBox()
        scene = view.mapViewToScene(QPointF(self._across(row), value_of(row, self.upward) or 0.0))
        return QPointF(self._plot.mapFromScene(scene)) + QPointF(self._plot.pos())

    @property
    def _unit(self) -> tuple[float, str]:
        big = max((row.size_bytes for row in self.rows), default=0) >= 0.9995e9
        return (1e9, "GB") if big else (1e6, "MB")

    def _across(self, row: ResultRow) -> float:
        return row.size_bytes / self._unit[0]

    def _draw(self) -> None:
        theme, item = self.theme, self._plot.getPlotItem()
        self._plot.setBackground(theme.colour("surface"))
        font = theme.font("small", tabular=True)
        for side, title in (("bottom", f"Size in {self._unit[1]}"), ("left", TITLES[self.upward])):
            axis = item.getAxis(side)
            axis.setPen(theme.colour("line_strong"))
            axis.setTextPen(theme.colour("secondary"))
            axis.setTickFont(font)
            axis.setStyle(tickLength=SPACE.tiny, tickTextOffset=SPACE.small, maxTickLevel=0)
            look = {"color": theme.colours.secondary, "font-size": f"{theme.type.small:g}px"}
            axis.setLabel(title, siPrefixEnableRanges=(), **look)
            axis.label.setFont(font)
        points = sorted((self._across(row), value_of(row, self.upward) or 0.0) for row in self.rows)
        self._line.setData([x for x, _ in points], [y for _, y in points])
        self._line.setPen(pg.mkPen(theme.colour("line"), width=1.5, style=Qt.PenStyle.DashLine))
        self._range(points)
        self._draw_dots()
        self._draw_names()

    def _range(self, points: list[tuple[float, float]]) -> None:
        if not points:
            return
        across, up = [x for x, _ in points], [y for _, y in points]
        wide, high = max(across) - min(across) or max(across) or 1.0, max(up) - min(0.0, *up) or 1.0
        self._plot.getPlotItem().setRange(
            xRange=(max(0.0, min(across) - 0.12 * wide), max(across) + 0.16 * wide),
            yRange=(min(0.0, *up) - 0.12 * high, max(up) + 0.16 * high),
            padding=0,
        )

    def _diameter(self, row: ResultRow) -> float:
        speeds = [each.speed for each in self.rows if each.speed]
        if not row.speed or not speeds:
            return LEAST_DOT
        low, high = min(speeds), max(speeds)
        share = (row.speed - low) / (high - low) if high > low else 0.5
        return LEAST_DOT + share * (MOST_DOT - LEAST_DOT)

    def _draw_dots(self) -> None:
        theme = self.theme
        spots, rings = [], []
        for row in self.rows:
            place = (self._across(row), value_of(row, self.upward) or 0.0)
            name = "secondary" if row.is_source else "accent"
            fill = QColor(theme.colour(name))
            fill.setAlphaF(0.95 if row is self._marked else 0.7)
            size = self._diameter(row)
            edge = pg.mkPen(theme.colour("text" if row is self._marked else name), width=1.5)
            spots.append({"pos": place, "size": size, "brush": fill, "pen": edge, "data": row})
            if row.recommended:
                ring = pg.mkPen(theme.colour("accent"), width=2)
                rings.append({"pos": place, "size": size + RING, "brush": None, "pen": ring})
        self._dots.setData(spots=spots)
        self._rings.setData(spots=rings)

    def _draw_names(self) -> None:
        """A name beside each dot, above it where two would lie over each other."""
        item = self._plot.getPlotItem()
        for name in self._names:
            item.removeItem(name)
        self._names = []
        taken: list[QRectF] = []
        for row in sorted(self.rows, key=lambda row: (not row.recommended, not row.is_source)):
            weight = WEIGHT_STRONG if row.recommended else WEIGHT_MEDIUM
            font = self.theme.font("small", weight=weight)
            words_ = f"{row.name}, recommended" if row.recommended else row.name
            metrics = QFontMetricsF(font)
            box = QRectF(0, 0, metrics.horizontalAdvance(words_) + SPACE.small, metrics.height())
            centre, reach = self._place(row), self._diameter(row) / 2 + RING / 2 + 1
            spot = self._free(box, centre, reach, taken)
            taken.append(spot)
            label = pg.TextItem(words_, color=self.theme.colour("text"), anchor=(0.5, 0.5))
            label.setFont(font)
            label.setZValue(5)
            scene = self._plot.mapToScene((spot.center() - QPointF(self._plot.pos())).toPoint())
            label.setPos(item.getViewBox().mapSceneToView(QPointF(scene)))
            item.addItem(label, ignoreBounds=True)
            self._names.append(label)

    def _free(self, box: QRectF, centre: QPointF, reach: float, taken: list[QRectF]) -> QRectF:
        half = box.width() / 2 + reach
        ways = (QPointF(0, -reach - box.height() / 2), QPointF(half, 0), QPointF(-half, 0),
                QPointF(0, reach + box.height() / 2))  # fmt: skip
        room = QRectF(self.rect())
        best = QRectF(box)
        for way in ways:
            spot = QRectF(box)
            spot.moveCenter(centre + way)
            if way is ways[0]:
                best = spot
            if room.contains(spot) and not any(spot.intersects(other) for other in taken):
                return spot
        return best

    def _hovered(self, _item: object, points: Any, _event: object = None) -> None:
        row = points[0].data() if len(points) else None
        if row is not self._marked:
            self.point(row)
            self.pointed.emit(row)
