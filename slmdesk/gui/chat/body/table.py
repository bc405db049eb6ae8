"""A table: columns as wide as they need, narrowed where the column is short, scrolled where that is not enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QTextOption

from slmdesk.gui.chat.body.frames import LaidFrame
from slmdesk.gui.chat.body.laid import Flow, Range
from slmdesk.gui.chat.body.units import units
from slmdesk.gui.theme import SPACE

if TYPE_CHECKING:
    from slmdesk.gui.chat.body.style import BodyStyle
    from slmdesk.gui.chat.markdown.blocks import Inline, TableBlock

NARROWEST = 96.0
"""A column is not narrowed below this many pixels, unless its content is narrower."""
UNBROKEN = 1_000_000.0
STEP = 24
"""Column widths grow in steps, so that a table that streams in is not laid out anew at every word."""

_SIDES = {
    "left": Qt.AlignmentFlag.AlignLeft,
    "center": Qt.AlignmentFlag.AlignHCenter,
    "right": Qt.AlignmentFlag.AlignRight,
}


class _Cell:
    def __init__(
        self, spans: Inline, style: BodyStyle, column: int, block: TableBlock, *, header: bool
    ) -> None:
        option = QTextOption(style.wrap)
        option.setAlignment(_SIDES[block.align[column] if column < len(block.align) else "left"])
        shown = tuple(replace(span, bold=True) for span in spans) if header else spans
        self.spans = spans
        self.flow = Flow(style, shown, style.body, style.line, option)
        self.flow.lay(UNBROKEN)
        self.natural = self.flow.natural
        self.width = -1.0

    def lay(self, width: float) -> None:
        if width != self.width:
            self.width = width
            self.flow.lay(width)


class LaidTable(LaidFrame):
    """One `TableBlock`. Its text is cells parted by tabs, rows by line breaks, as spreadsheets paste it."""

    fills = False

    def __init__(self, block: TableBlock, style: BodyStyle) -> None:
        super().__init__(style, block.indent, block.quote)
        self._block = block
        self._rows: list[list[_Cell]] = []
        self._heights: list[float] = []
        self._widths: list[float] = []
        self._text: str | None = None
        self._take(block)

    @property
    def block(self) -> TableBlock:
        return self._block

    @property
    def text(self) -> str:
        if self._text is None:
            rows = ("\t".join(cell.flow.text.replace("\n", " ") for cell in row) for row in self._rows)
            self._text = "\n".join(rows)
        return self._text

    def grow(self, block: TableBlock) -> bool:
        """Show more rows of the same table. False when `block` is another one."""
        old = self._block
        if (block.header, block.align, block.indent, block.quote) != (
            old.header,
            old.align,
            old.indent,
            old.quote,
        ):
            return False
        self._block = block
        self._take(block)
        self.width = -1.0
        return True

    def _take(self, block: TableBlock) -> None:
        rows = (block.header, *block.rows)
        made: list[list[_Cell]] = []
        for number, row in enumerate(rows):
            old = self._rows[number] if number < len(self._rows) else []
            cells = []
            for column, spans in enumerate(row):
                if column < len(old) and old[column].spans == spans:
                    cells.append(old[column])
                else:
                    cells.append(_Cell(spans, self.style, column, block, header=number == 0))
            made.append(cells)
        self._rows = made
        self._text = None

    def lay(self, width: float) -> None:
        if width == self.width:
            return
        self.width = width
        pad = 2 * SPACE.medium
        naturals = [
            max(
                (STEP * (1 + row[column].natural // STEP) for row in self._rows if column < len(row)),
                default=0.0,
            )
            for column in range(len(self._rows[0]))
        ]
        self._widths = fitted(naturals, width - self.left - pad * len(naturals))
        self.content = sum(self._widths) + pad * len(self._widths)
        self._heights = []
        for row in self._rows:
            tallest = 0.0
            for column, cell in enumerate(row):
                cell.lay(self._widths[column])
                tallest = max(tallest, cell.flow.height)
            self._heights.append(max(tallest, float(self.style.line)) + 2 * SPACE.tiny + 1)
        self.height = sum(self._heights) + (self.style.scroll if self.overflow else 0)
        self.scroll_to(self.shift)

    def paint_ground(self, painter: QPainter, frame: QRectF, outline: QPainterPath) -> None:
        top = QPainterPath()
        top.addRect(QRectF(frame.left(), frame.top(), frame.width(), self._heights[0]))
        painter.fillPath(outline & top, self.style.ground)

    def paint_inside(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        y = at.y()
        position = 0
        for number, row in enumerate(self._rows):
            height = self._heights[number]
            visible = y < clip.bottom() and y + height > clip.top()
            x = at.x()
            for column, cell in enumerate(row):
                length = units(cell.flow.text)
                if visible:
                    corner = QPointF(x + SPACE.medium, y + SPACE.tiny)
                    cell.flow.draw(painter, corner, clip, _part(selected, position, length))
                position += length + 1
                x += self._widths[column] + 2 * SPACE.medium
            y += height
            if visible and number < len(self._rows) - 1:
                painter.setPen(self.style.frame)
                edge = round(y) - 0.5
                painter.drawLine(QPointF(at.x(), edge), QPointF(at.x() + self.content, edge))

    def _cell_at(self, spot: QPointF) -> tuple[_Cell, int, QPointF]:
        """The cell nearest to a point of the content, its position, and the point seen from its corner."""
        position, y = 0, 0.0
        for number, row in enumerate(self._rows):
            last_row = number == len(self._rows) - 1
            x = 0.0
            for column, cell in enumerate(row):
                wide = self._widths[column] + 2 * SPACE.medium
                here = spot.y() < y + self._heights[number] or last_row
                if here and (spot.x() < x + wide or column == len(row) - 1):
                    return cell, position, QPointF(spot.x() - x - SPACE.medium, spot.y() - y - SPACE.tiny)
                position += units(cell.flow.text) + 1
                x += wide
            y += self._heights[number]
        raise AssertionError("a table has a header")

    def position_at(self, point: QPointF) -> int:
        cell, position, spot = self._cell_at(self.inside(point))
        return position + cell.flow.position_at(spot)

    def href_at(self, point: QPointF) -> str:
        cell, _, spot = self._cell_at(self.inside(point))
        return cell.flow.href_at(spot)


def fitted(naturals: list[float], room: float) -> list[float]:
    """Column widths for `room` pixels: natural where all fit, else the wide ones share what the narrow ones leave.

    No column goes below `NARROWEST` (or its natural width, if less), so the sum may exceed `room`.
    """
    widths = list(naturals)
    if sum(naturals) <= room:
        return widths
    open_columns = set(range(len(naturals)))
    left = room
    while open_columns:
        share = left / len(open_columns)
        small = [column for column in open_columns if naturals[column] <= share]
        if not small:
            for column in open_columns:
                widths[column] = max(share, min(NARROWEST, naturals[column]))
            break
        for column in small:
            left -= naturals[column]
            open_columns.discard(column)
    return widths


def _part(selected: Range | None, start: int, length: int) -> Range | None:
    """What of a selection lies in the cell whose text begins at `start`."""
    if not selected:
        return None
    first, last = max(selected[0] - start, 0), min(selected[1] - start, length)
    return (first, last) if first < last else None
