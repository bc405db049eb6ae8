"""A table: columns as wide as they need, narrowed where the column is short, scrolled where that is not enough.

One whose words are read from the right stands on the right, its first column outermost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QTextOption

from slmdesk.gui.chat.body.direction import right_to_left
from slmdesk.gui.chat.body.frames import LaidFrame
from slmdesk.gui.chat.body.laid import Flow, Range
from slmdesk.gui.chat.body.units import units
from slmdesk.gui.chat.markdown.blocks import plain
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
        self,
        spans: Inline,
        style: BodyStyle,
        column: int,
        block: TableBlock,
        *,
        header: bool,
        from_right: bool,
    ) -> None:
        option = QTextOption(style.wrap)
        side = block.align[column] if column < len(block.align) else "left"
        if from_right and side == "left":
            side = "right"  # where nothing was asked for, cells begin where their table does
        option.setAlignment(_SIDES[side])
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
    """One `TableBlock`. Its text is cells parted by tabs, rows by line breaks, as spreadsheets paste it.

    Attributes:
        from_right: whether its words are read from the right.
    """

    fills = False

    def __init__(self, block: TableBlock, style: BodyStyle) -> None:
        super().__init__(style, block.indent, block.quote)
        self._block = block
        self._rows: list[list[_Cell]] = []
        self._heights: list[float] = []
        self._widths: list[float] = []
        self._edges: list[float] = []
        self.from_right = False
        self._at_end = True
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
        from_right = right_to_left(_beginning(rows))
        if from_right != self.from_right:
            self.from_right = from_right
            self._rows = []  # every cell begins on the other side
        made: list[list[_Cell]] = []
        for number, row in enumerate(rows):
            old = self._rows[number] if number < len(self._rows) else []
            cells = []
            for column, spans in enumerate(row):
                if column < len(old) and old[column].spans == spans:
                    cells.append(old[column])
                else:
                    made_cell = _Cell(
                        spans, self.style, column, block, header=number == 0, from_right=from_right
                    )
                    cells.append(made_cell)
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
        self._widths = fitted(naturals, width - self.margin - pad * len(naturals))
        self.content = sum(self._widths) + pad * len(self._widths)
        self._edges = self._place_columns(pad)
        self._heights = []
        for row in self._rows:
            tallest = 0.0
            for column, cell in enumerate(row):
                cell.lay(self._widths[column])
                tallest = max(tallest, cell.flow.height)
            self._heights.append(max(tallest, float(self.style.line)) + 2 * SPACE.tiny + 1)
        self.height = sum(self._heights) + (self.style.scroll if self.overflow else 0)
        if self.from_right:
            self.left = width - self.margin - self.view
            # Its beginning is its right end, and stays in sight until somebody scrolls.
            self.scroll_to(float(self.overflow) if self._at_end else self.shift)
        else:
            self.left = self.margin
            self.scroll_to(self.shift)

    def scroll_to(self, shift: float) -> None:
        super().scroll_to(shift)
        self._at_end = self.shift >= self.overflow

    def _place_columns(self, pad: float) -> list[float]:
        """Where each column begins, in pixels from the content's left edge."""
        edges: list[float] = []
        x = self.content if self.from_right else 0.0
        for width in self._widths:
            if self.from_right:
                x -= width + pad
                edges.append(x)
            else:
                edges.append(x)
                x += width + pad
        return edges

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
            for column, cell in enumerate(row):
                length = units(cell.flow.text)
                if visible:
                    corner = QPointF(at.x() + self._edges[column] + SPACE.medium, y + SPACE.tiny)
                    cell.flow.draw(painter, corner, clip, _part(selected, position, length))
                position += length + 1
            y += height
            if visible and number < len(self._rows) - 1:
                painter.setPen(self.style.frame)
                edge = round(y) - 0.5
                painter.drawLine(QPointF(at.x(), edge), QPointF(at.x() + self.content, edge))

    def _cell_at(self, spot: QPointF) -> tuple[_Cell, int, QPointF]:
        """The cell nearest to a point of the content, its position, and the point seen from its corner."""
        position, y = 0, 0.0
        nearest = min(range(len(self._edges)), key=lambda column: self._away(column, spot.x()))
        for number, row in enumerate(self._rows):
            here = spot.y() < y + self._heights[number] or number == len(self._rows) - 1
            for column, cell in enumerate(row):
                if here and column == min(nearest, len(row) - 1):
                    corner = QPointF(self._edges[column] + SPACE.medium, y + SPACE.tiny)
                    return cell, position, spot - corner
                position += units(cell.flow.text) + 1
            y += self._heights[number]
        raise AssertionError("a table has a header")

    def _away(self, column: int, x: float) -> float:
        """How many pixels `x` lies beside a column; 0 inside it."""
        left = self._edges[column]
        return max(left - x, x - left - self._widths[column] - 2 * SPACE.medium, 0.0)

    def position_at(self, point: QPointF) -> int:
        cell, position, spot = self._cell_at(self.inside(point))
        return position + cell.flow.position_at(spot)

    def href_at(self, point: QPointF) -> str:
        cell, _, spot = self._cell_at(self.inside(point))
        return cell.flow.href_at(spot)


def _beginning(rows: tuple[tuple[Inline, ...], ...]) -> str:
    """The words of the first row that has a letter, which tell how the table is read."""
    for row in rows:
        words = " ".join(plain(cell) for cell in row)
        if any(letter.isalpha() for letter in words):
            return words
    return ""


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
