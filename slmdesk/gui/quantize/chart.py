"""Size against loss, one dot a quant, drawn by pyqtgraph.

Imported beside the event loop (see `charting`): pyqtgraph brings numpy. Of its parts only those that a still chart
needs are made, without menus and without a mouse of their own: those take most of the time that its plots take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyqtgraph as pg
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QImage, QPainter, QPen, QRegion
from PySide6.QtWidgets import QGridLayout, QWidget

from slmdesk.gui.quantize import words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM, WEIGHT_STRONG
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QEnterEvent, QMouseEvent, QResizeEvent, QShowEvent

    from slmdesk.gui.theme import Theme
    from slmdesk.quantize.results import ResultRow

    Upward = Literal["kld", "worse"]

# The window deletes its views itself before the program's end.
pg.setConfigOptions(exitCleanup=False)

LEAST_DOT, MOST_DOT, RING = 10.0, 26.0, 8.0
NAMES_MS = 60
"""So long after the last change of its size the chart looks for the names' places anew; they follow their dots until
then."""
DENSITY = 1.3
"""How many numbers an axis has, as pyqtgraph counts it."""
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
        column = vbox(
            self, margins=(SPACE.medium, SPACE.small, SPACE.medium, SPACE.small), spacing=SPACE.tiny
        )
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


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a row's dot and its name are, in pixels of the canvas."""

    row: ResultRow
    dot: QRectF
    name: QRectF


class LossChart(QWidget):
    """The chart. Follows the theme. Made a piece a turn of the event loop with `build`, or at once when it is used.

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
        self._names: list[Any] = []
        self._fine = self.devicePixelRatioF()
        self._made = False
        self._steps = self._make()
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._place_names)
        self.setMinimumHeight(MEASURE.chart)
        self.setMouseTracking(True)
        self.setAccessibleName("Size against loss")

    def build(self) -> Iterator[None]:
        """Make the parts, one at each step; what another caller began is gone on with."""
        yield from self._steps

    def _make(self) -> Iterator[None]:
        self._view: Any = pg.GraphicsView(self, useOpenGL=False, background=None)
        self._view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # The page scrolls under the wheel, and the pointer is followed here.
        self._view.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        yield
        self._box: Any = pg.ViewBox(enableMouse=False, enableMenu=False, defaultPadding=0)
        self._box.disableAutoRange()
        self._across: Any = pg.AxisItem("bottom")
        self._up: Any = pg.AxisItem("left")
        yield
        # In place of the view's own item, which has a layout: with one, PySide ends the process when a second view
        # is deleted. What it would do is in `_arrange`.
        self._plot: Any = pg.GraphicsWidget()
        self._view.setCentralItem(self._plot)
        for part in (self._up, self._box, self._across):
            part.setParentItem(self._plot)
        for axis in (self._across, self._up):
            axis.linkToView(self._box)
            axis.enableAutoSIPrefix(False)
            axis.setTickDensity(DENSITY)
        yield
        self._line: Any = pg.PlotCurveItem(antialias=True)
        # Drawn anew at each painting: as quick for some dots as pictures of them, and sharp at every scale.
        self._rings: Any = pg.ScatterPlotItem(pxMode=True, useCache=False, antialias=True)
        self._dots: Any = pg.ScatterPlotItem(pxMode=True, useCache=False, antialias=True)
        for layer in (self._line, self._rings, self._dots):
            self._box.addItem(layer)
        yield
        self._told = _Told(self.theme, self)
        self._made = True
        self._dress()
        self._arrange()
        self._view.show()
        self.theme.changed.connect(self._redress)

    @property
    def told(self) -> str:
        """Of which quant the panel tells; "" while it is hidden."""
        return "" if self._marked is None or self._told.isHidden() else self._marked.quant

    @property
    def canvas(self) -> QWidget:
        """What the pointer moves over."""
        return self

    def spot(self, row: ResultRow) -> QPoint:
        """Where a row's dot is on the canvas."""
        return self._dot(row).toPoint()

    def places(self) -> list[Placed]:
        """Where every dot with its name is, as drawn."""
        self._settle()
        found = []
        for row, name in zip(self.rows, self._names, strict=False):
            size = self._diameter(row)
            dot = QRectF(0, 0, size, size)
            dot.moveCenter(self._dot(row))
            found.append(Placed(row, dot, name.mapRectToScene(name.boundingRect())))
        return found

    def show_rows(self, rows: Sequence[ResultRow], upward: Upward) -> None:
        """Draw these quants."""
        for _ in self._steps:
            pass
        self._forget_pointer()
        self.rows = [row for row in rows if value_of(row, upward) is not None]
        self.upward = upward
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
        before, self._marked = self._marked, row if row in self.rows else None
        for changed in (before, self._marked):
            if changed is not None:
                dot = self._dots.points()[self.rows.index(changed)]
                dot.setPen(self._edge(changed))
                dot.setBrush(self._fill(changed))
        if self._marked is None:
            self._told.hide()
        else:
            self._told.tell(self._marked, self._dot(self._marked), QRectF(self.rect()))

    def picture(self, scale: float = 2.0) -> QImage:
        """The chart as it is, `scale` times as fine."""
        self._settle()
        image = QImage(self.size() * scale, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(scale)
        image.fill(self.theme.colour("surface"))
        self._make_fine(scale)
        painter = QPainter(image)
        self.render(painter, QPoint(0, 0), QRegion(), QWidget.RenderFlag.DrawChildren)
        painter.end()
        self._make_fine(self.devicePixelRatioF())
        return image

    def _make_fine(self, scale: float) -> None:
        """Draw for so many pixels of a screen or a picture in one of the window's."""
        if scale != self._fine:
            self._fine = scale
            if self.rows:
                self._draw_marks()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._make_fine(self.devicePixelRatioF())

    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self._make_fine(self.devicePixelRatioF())  # the window may have come from another screen

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._forget_pointer()
        self._arrange()
        if self.rows:
            self._later.start(NAMES_MS if self._names else 0)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self.rows:
            found = self._dots.pointsAt(self._box.mapSceneToView(event.position()))
            self._point_at(found[0].data() if len(found) else None)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point_at(None)

    def _point_at(self, row: ResultRow | None) -> None:
        if row is not self._marked:
            self.point(row)
            self.pointed.emit(row)

    def _forget_pointer(self) -> None:
        if self._marked is not None:
            self.point(None)

    # What is drawn

    def _redress(self) -> None:
        self._dress()
        self._draw()

    def _dress(self) -> None:
        """Colours and letters of the theme."""
        theme = self.theme
        self._view.setBackground(theme.colour("surface"))
        font = theme.font("small", tabular=True)
        line = QPen(theme.colour("line_strong"), MEASURE.line)
        for axis in (self._across, self._up):
            axis.label.setFont(font)
            axis.setTickFont(font)
            axis.setPen(line)
            axis.setTextPen(theme.colour("secondary"))
            axis.setStyle(
                tickLength=SPACE.tiny,
                tickTextOffset=SPACE.tiny,
                tickAlpha=255,
                maxTickLevel=0,
                hideOverlappingLabels=False,
                autoExpandTextSpace=False,
                tickTextHeight=round(QFontMetricsF(font).height()),
            )

    def _draw(self) -> None:
        for axis, title in ((self._across, f"Size in {self._unit[1]}"), (self._up, TITLES[self.upward])):
            axis.setVisible(bool(self.rows))
            axis.setLabel(title, color=self.theme.colours.secondary)
        self._set_range([self._point(row) for row in self.rows])
        self._draw_marks()
        if self._names:
            self._place_names()
        else:
            self._later.start(0)

    def _draw_marks(self) -> None:
        """The line, the dots and the ring."""
        rows = [(row, self._point(row), self._diameter(row)) for row in self.rows]
        points = sorted(spot for _, spot, _ in rows)
        self._line.setPen(self._pen("line", 1.5, Qt.PenStyle.DashLine))
        self._line.setData([x for x, _ in points], [y for _, y in points])
        self._dots.setData(
            [
                {"pos": spot, "size": size, "brush": self._fill(row), "pen": self._edge(row), "data": row}
                for row, spot, size in rows
            ]
        )
        ring = self._pen("accent", 2)
        self._rings.setData(
            [
                {"pos": spot, "size": size + RING, "brush": None, "pen": ring}
                for row, spot, size in rows
                if row.recommended
            ]
        )

    def _set_range(self, points: list[tuple[float, float]]) -> None:
        """The ends of both axes: room for the names around the outermost dots."""
        if not points:
            return
        across, up = [x for x, _ in points], [y for _, y in points]
        least, most = min(0.0, *up), max(up)
        wide = max(across) - min(across) or max(across) or 1.0
        high = most - least or 1.0
        low = min(across)
        self._box.setRange(
            xRange=(max(0.0, low - 0.12 * wide), low + 1.16 * wide),
            yRange=(least - 0.12 * high, most + 0.16 * high),
            padding=0,
        )

    def _fill(self, row: ResultRow) -> QColor:
        fill = QColor(self.theme.colour("secondary" if row.is_source else "accent"))
        fill.setAlphaF(0.95 if row is self._marked else 0.7)
        return fill

    def _edge(self, row: ResultRow) -> Any:
        name = "secondary" if row.is_source else "accent"
        return self._pen("text" if row is self._marked else name, 1.5)

    def _pen(self, colour: str, width: float, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> Any:
        """`width` in the window's pixels: pyqtgraph's pens count the screen's."""
        return pg.mkPen(self.theme.colour(colour), width=width * self._fine, style=style)

    def _write_names(self) -> None:
        """As many names as rows; each hangs on its dot and follows it."""
        while len(self._names) > len(self.rows):
            self._box.removeItem(self._names.pop())
        while len(self._names) < len(self.rows):
            name = pg.TextItem(anchor=(0.5, 0.5))
            name.textItem.document().setDocumentMargin(0)
            name.setZValue(5)
            self._box.addItem(name, ignoreBounds=True)
            self._names.append(name)
        for row, name in zip(self.rows, self._names, strict=True):
            name.setText(_name(row), self.theme.colour("text"))
            name.setFont(self._name_font(row))
            name.setPos(*self._point(row))

    # Where things are

    @property
    def _unit(self) -> tuple[float, str]:
        big = max((row.size_bytes for row in self.rows), default=0) >= 0.9995e9
        return (1e9, "GB") if big else (1e6, "MB")

    def _point(self, row: ResultRow) -> tuple[float, float]:
        return row.size_bytes / self._unit[0], value_of(row, self.upward) or 0.0

    def _dot(self, row: ResultRow) -> QPointF:
        return QPointF(self._box.mapViewToScene(QPointF(*self._point(row))))

    def _diameter(self, row: ResultRow) -> float:
        speeds = [each.speed for each in self.rows if each.speed]
        if not row.speed or not speeds:
            return LEAST_DOT
        low, high = min(speeds), max(speeds)
        share = (row.speed - low) / (high - low) if high > low else 0.5
        return LEAST_DOT + share * (MOST_DOT - LEAST_DOT)

    def _name_font(self, row: ResultRow) -> Any:
        return self.theme.font("small", weight=WEIGHT_STRONG if row.recommended else WEIGHT_MEDIUM)

    def _settle(self) -> None:
        """What waits for the size to stay is done now."""
        if self._later.isActive():
            self._place_names()

    def _place_names(self) -> None:
        """Room for the numbers, then a name beside each dot, above it where two would lie over each other."""
        self._later.stop()
        self._write_names()
        if not self.rows:
            return
        self._fit_numbers()
        area = self._box.sceneBoundingRect().adjusted(1, 0, 0, -1)
        dots = [(self._dot(row), self._diameter(row)) for row in self.rows]
        taken = [QRectF(c.x() - size / 2, c.y() - size / 2, size, size) for c, size in dots]
        order = sorted(
            range(len(self.rows)), key=lambda at: (not self.rows[at].recommended, not self.rows[at].is_source)
        )
        for at in order:
            centre, size = dots[at]
            text = self._names[at].textItem.boundingRect()
            box = QRectF(0, 0, text.width() + SPACE.small, text.height())
            spot = _free(box, centre, size / 2 + RING / 2 + 1, taken, area)
            taken.append(spot)
            away = spot.center() - centre
            self._names[at].setAnchor((0.5 - away.x() / text.width(), 0.5 - away.y() / text.height()))

    def _fit_numbers(self) -> None:
        """As much room left of the axis as its numbers take."""
        low, high = self._up.range
        numbers = QFontMetricsF(self.theme.font("small", tabular=True))
        widest = max(
            (
                numbers.horizontalAdvance(text)
                for spacing, values in self._up.tickValues(low, high, max(1.0, self._box.size().height()))
                for text in self._up.tickStrings(values, 1.0, spacing)
            ),
            default=0.0,
        )
        self._up.setStyle(tickTextWidth=round(widest) + 1)
        self._arrange()

    def _arrange(self) -> None:
        """The axes at their edges, the dots' box between them."""
        if not self._made:
            return
        self._view.setGeometry(self.rect())
        room = QRectF(self.rect()).adjusted(0, SPACE.small, -SPACE.small, 0)
        area = QRectF(room).adjusted(self._up.minimumWidth(), 0, 0, -self._across.minimumHeight())
        self._box.setGeometry(area)
        self._up.setGeometry(QRectF(room.left(), area.top(), area.left() - room.left(), area.height()))
        self._across.setGeometry(
            QRectF(area.left(), area.bottom(), area.width(), room.bottom() - area.bottom())
        )


def _free(box: QRectF, centre: QPointF, reach: float, taken: list[QRectF], area: QRectF) -> QRectF:
    """The nearest place for a name that covers no other name and no dot: above, beside, below, further above."""
    up, side, line = reach + box.height() / 2, box.width() / 2 + reach, box.height()
    ways = [(0.0, -up), (side, 0.0), (-side, 0.0), (0.0, up)]
    ways += [
        (turn * side / 2, way * (up + n * line))
        for n in range(1, 9)
        for way in (-1, 1)
        for turn in (0, 1, -1)
    ]
    spot = QRectF(box)
    for x, y in ways:
        spot.moveCenter(centre + QPointF(x, y))
        if area.contains(spot) and not any(spot.intersects(other) for other in taken):
            return spot
    spot.moveCenter(centre + QPointF(*ways[0]))
    return spot


def _name(row: ResultRow) -> str:
    return f"{row.name}, recommended" if row.recommended else row.name
