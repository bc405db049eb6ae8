"""What every laid-out block can do, and the flow of lines that prose and table cells share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont, QPainter, QTextCharFormat, QTextLayout, QTextOption

from slmdesk.gui.chat.body.direction import right_to_left
from slmdesk.gui.chat.body.units import units
from slmdesk.gui.theme import SPACE
from slmdesk.gui.theme.tokens import WEIGHT_STRONG

if TYPE_CHECKING:
    from PySide6.QtGui import QTextLine

    from slmdesk.gui.chat.body.style import BodyStyle
    from slmdesk.gui.chat.markdown.blocks import Block, Inline

Range = tuple[int, int]
"""From and to, in UTF-16 units of a block's `text`; the end is not included."""


class Laid(ABC):
    """One block on the screen. `height` and `top` are pixels; points are relative to the block's own corner."""

    def __init__(self, style: BodyStyle) -> None:
        self.style = style
        self.top = 0.0
        self.height = 0.0
        self.width = -1.0

    @property
    @abstractmethod
    def block(self) -> Block:
        """What is shown."""

    @property
    @abstractmethod
    def text(self) -> str:
        """What a selection of the whole block copies; positions count in it."""

    @abstractmethod
    def lay(self, width: float) -> None:
        """Break the lines for `width` and set `height`. Cheap when nothing changed."""

    @abstractmethod
    def paint(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        """Paint what lies in `clip` (painter coordinates) with the block's corner at `at`."""

    @abstractmethod
    def position_at(self, point: QPointF) -> int:
        """The position nearest to a point."""

    def href_at(self, point: QPointF) -> str:
        """The address a point stands on, or ""."""
        del point
        return ""


class Flow:
    """Styled text broken into lines of one height, in a column of its own."""

    def __init__(
        self, style: BodyStyle, spans: Inline, font: QFont, line: float, option: QTextOption
    ) -> None:
        self._style = style
        self._spans = spans
        self._line = line
        self.text = "".join(span.text for span in spans)
        self._layout = QTextLayout(self.text.replace("\n", "\u2028"), font)
        self.from_right = right_to_left(self.text)
        if self.from_right:
            option = QTextOption(option)
            option.setTextDirection(Qt.LayoutDirection.RightToLeft)
            if option.alignment() & Qt.AlignmentFlag.AlignLeft:
                option.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._layout.setTextOption(option)
        self._layout.setCacheEnabled(True)
        self._codes: list[Range] = []
        self._grounds: list[QRectF] = []
        self._links: list[tuple[int, int, str]] = []
        self._layout.setFormats(self._formats(font))
        self.height = 0.0
        self.natural = 0.0

    def _formats(self, font: QFont) -> list[QTextLayout.FormatRange]:
        ranges: list[QTextLayout.FormatRange] = []
        at = 0
        for span in self._spans:
            length = units(span.text)
            form = QTextCharFormat()
            if span.code:
                # The family alone, so that the line keeps its height.
                form.setFontFamilies(self._style.code.families())
                form.setFontFixedPitch(True)
                form.setProperty(QTextCharFormat.Property.FontPixelSize, max(font.pixelSize() - 1, 1))
                self._codes.append((at, at + length))
            if span.bold:
                form.setFontWeight(WEIGHT_STRONG)
            if span.italic:
                form.setFontItalic(True)
            if span.strike:
                form.setFontStrikeOut(True)
            if span.href:
                form.setForeground(self._style.link)
                form.setFontUnderline(True)
                self._links.append((at, at + length, span.href))
            if form.propertyCount():
                made = QTextLayout.FormatRange()
                made.start, made.length, made.format = at, length, form
                ranges.append(made)
            at += length
        return ranges

    def lay(self, width: float) -> None:
        """Break into lines of at most `width` pixels."""
        layout = self._layout
        layout.beginLayout()
        y = 0.0
        self.natural = 0.0
        while True:
            line = layout.createLine()
            if not line.isValid():
                break
            line.setLineWidth(max(width, 1.0))
            line.setPosition(QPointF(0, y + (self._line - line.height()) / 2))
            y += self._line
            self.natural = max(self.natural, line.naturalTextWidth())
        layout.endLayout()
        self.height = y
        self._grounds = self._find_grounds()

    def draw(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        """Paint with the column's corner at `at`."""
        self._draw_code_grounds(painter, at, clip)
        painter.setPen(self._style.text)
        marks: list[QTextLayout.FormatRange] = []
        if selected:
            mark = QTextLayout.FormatRange()
            mark.start, mark.length = selected[0], selected[1] - selected[0]
            mark.format = self._style.selection
            marks.append(mark)
        self._layout.draw(painter, at, marks, clip)

    def _draw_code_grounds(self, painter: QPainter, at: QPointF, clip: QRectF) -> None:
        if not self._grounds:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._style.inline_ground)
        for ground in self._grounds:
            box = ground.translated(at)
            if box.intersects(clip):
                painter.drawRoundedRect(box, SPACE.tiny, SPACE.tiny)
        painter.restore()

    def _find_grounds(self) -> list[QRectF]:
        """Where inline code stands, line by line."""
        pad = SPACE.tiny / 2
        found: list[QRectF] = []
        for number in range(self._layout.lineCount() if self._codes else 0):
            for x, right in self._parts_on(self._layout.lineAt(number), self._codes):
                found.append(
                    QRectF(x - pad, number * self._line + pad, right - x + 2 * pad, self._line - 2 * pad)
                )
        return found

    @staticmethod
    def _parts_on(line: QTextLine, ranges: list[Range]) -> list[tuple[float, float]]:
        first, last = line.textStart(), line.textStart() + line.textLength()
        parts: list[tuple[float, float]] = []
        for start, end in ranges:
            if start < last and end > first:
                left, right = _x(line, max(start, first)), _x(line, min(end, last))
                parts.append((min(left, right), max(left, right)))
        return parts

    def position_at(self, point: QPointF) -> int:
        """The position nearest to a point in the column."""
        count = self._layout.lineCount()
        if not count or point.y() < 0:
            return 0
        number = int(point.y() // self._line)
        if number >= count:
            return units(self.text)
        return self._layout.lineAt(number).xToCursor(point.x())

    def href_at(self, point: QPointF) -> str:
        """The address under a point in the column, or ""."""
        number = int(point.y() // self._line)
        if not self._links or not 0 <= number < self._layout.lineCount():
            return ""
        line = self._layout.lineAt(number)
        for start, end, href in self._links:
            for left, right in self._parts_on(line, [(start, end)]):
                if left <= point.x() <= right:
                    return href
        return ""


def _x(line: QTextLine, position: int) -> float:
    found: Any = line.cursorToX(position)  # declared as `object`; it is (x, position)
    return float(found[0])
