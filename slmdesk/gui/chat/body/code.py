"""A block of code: a header with its language, then lines that never wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QTextLayout

from slmdesk.gui.chat.body.frames import LaidFrame
from slmdesk.gui.chat.body.style import BodyStyle, Category
from slmdesk.gui.chat.body.units import units

if TYPE_CHECKING:
    from slmdesk.gui.chat.body.laid import Range
    from slmdesk.gui.chat.markdown.blocks import CodeBlock

Run = tuple[int, int, Category]
"""Start and length in UTF-16 units within a line, and what stands there."""

LINES_KEPT = 400
"""Laid-out lines remembered; the others are laid out again when they come into sight."""


class LaidCode(LaidFrame):
    """One `CodeBlock`. Lines are laid out when they are first painted, so that long code costs nothing at first.

    Attributes:
        coloured_lines: how many lines from the top have their colours.
    """

    def __init__(self, block: CodeBlock, style: BodyStyle) -> None:
        super().__init__(style, block.indent, block.quote)
        self.header = style.code_header
        self._block = block
        self._lines: list[str] = []
        self._starts: list[int] = []
        self._runs: list[list[Run]] = []
        self._made: dict[int, QTextLayout] = {}
        self.coloured_lines = 0
        self._take(block.text)

    @property
    def block(self) -> CodeBlock:
        return self._block

    @property
    def text(self) -> str:
        return self._block.text

    def grow(self, block: CodeBlock) -> bool:
        """Show more of the same code. False when `block` is another one."""
        old = self._block
        same = (block.language, block.indent, block.quote) == (old.language, old.indent, old.quote)
        if not same or not block.text.startswith(old.text):
            return False
        self._block = block
        self._take(block.text)
        self.width = -1.0
        return True

    def _take(self, text: str) -> None:
        """Split into lines, keeping all but the last one that is there already."""
        keep = max(len(self._lines) - 1, 0)
        offset = self._starts[keep] if keep else 0
        # Everything before line `keep` stays: text only ever grows at its end.
        lines = text.split("\n")
        del self._lines[keep:], self._starts[keep:]
        self._made.pop(keep, None)
        widest = self.content
        for line in lines[keep:]:
            self._lines.append(line)
            self._starts.append(offset)
            offset += units(line) + 1
            shown = line.expandtabs(4)
            width = self.style.code_metrics.horizontalAdvance(shown)
            widest = max(widest, width + 2 * self.style.frame_padding)
        self.content = widest

    def colour(self, first_line: int, runs: list[list[Run]]) -> None:
        """Colours for the lines from `first_line` on."""
        del self._runs[first_line:]
        self._runs.extend(runs)
        self.coloured_lines = len(self._runs)
        for line in range(first_line, first_line + len(runs)):
            self._made.pop(line, None)

    def lay(self, width: float) -> None:
        if width == self.width:
            return
        self.width = width
        bar = self.style.scroll if self.overflow else 0
        self.height = (
            self.header + len(self._lines) * self.style.code_line + 2 * self.style.frame_padding + bar
        )
        self.scroll_to(self.shift)

    def paint_ground(self, painter: QPainter, frame: QRectF, outline: QPainterPath) -> None:
        painter.fillPath(outline, self.style.ground)
        painter.setPen(self.style.frame)
        edge = frame.top() + self.header
        painter.drawLine(QPointF(frame.left(), edge), QPointF(frame.right(), edge))
        painter.setPen(self.style.secondary)
        painter.setFont(self.style.small)
        label = QRectF(frame.left() + self.style.frame_padding, frame.top(), frame.width() / 2, self.header)
        painter.drawText(label, Qt.AlignmentFlag.AlignVCenter, self._block.language or "text")

    def paint_inside(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        step = self.style.code_line
        top = at.y() + self.style.frame_padding
        first = max(0, int((clip.top() - top) // step))
        last = min(len(self._lines), int((clip.bottom() - top) // step) + 1)
        painter.setPen(self.style.text)
        for number in range(first, last):
            marks: list[QTextLayout.FormatRange] = []
            if selected:
                start = max(selected[0] - self._starts[number], 0)
                end = min(selected[1] - self._starts[number], units(self._lines[number]))
                if start < end:
                    marks.append(_range(start, end - start, self.style.selection))
            where = QPointF(at.x() + self.style.frame_padding, top + number * step)
            self._line(number).draw(painter, where, marks, QRectF())

    def _line(self, number: int) -> QTextLayout:
        made = self._made.get(number)
        if made is None:
            if len(self._made) > LINES_KEPT:
                self._made.clear()
            made = QTextLayout(self._lines[number], self.style.code)
            made.setTextOption(self.style.unwrapped)
            made.setCacheEnabled(True)
            if number < len(self._runs):
                formats = self.style.categories
                made.setFormats(
                    [_range(start, length, formats[what]) for start, length, what in self._runs[number]]
                )
            made.beginLayout()
            line = made.createLine()
            if line.isValid():
                line.setLineWidth(self.content)
                line.setPosition(QPointF(0, (self.style.code_line - line.height()) / 2))
            made.endLayout()
            self._made[number] = made
        return made

    def position_at(self, point: QPointF) -> int:
        spot = self.inside(point) - QPointF(self.style.frame_padding, self.style.frame_padding)
        number = int(spot.y() // self.style.code_line)
        if number < 0:
            return 0
        if number >= len(self._lines):
            return units(self.text)
        line = self._line(number).lineAt(0)
        return self._starts[number] + (line.xToCursor(spot.x()) if line.isValid() else 0)


def _range(start: int, length: int, form: object) -> QTextLayout.FormatRange:
    made = QTextLayout.FormatRange()
    made.start, made.length, made.format = start, length, form  # type: ignore[assignment]
    return made
