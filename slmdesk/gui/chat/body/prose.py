"""Paragraphs, headings, list items and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt

from slmdesk.gui.chat.body.laid import Flow, Laid, Range
from slmdesk.gui.chat.body.style import LINE_SHARE, BodyStyle
from slmdesk.gui.theme import SPACE

if TYPE_CHECKING:
    from PySide6.QtGui import QPainter

    from slmdesk.gui.chat.markdown.blocks import TextBlock


class LaidText(Laid):
    """One `TextBlock`."""

    def __init__(self, block: TextBlock, style: BodyStyle) -> None:
        super().__init__(style)
        self._block = block
        if block.kind == "heading":
            font = style.heading(block.level)
            line = max(style.line, round(font.pixelSize() * LINE_SHARE))
        else:
            font, line = style.body, style.line
        self._line = line
        self._flow = Flow(style, block.spans, font, line, style.wrap)

    @property
    def block(self) -> TextBlock:
        return self._block

    @property
    def text(self) -> str:
        return self._flow.text

    @property
    def _left(self) -> float:
        return left_of(self.style, self._block.indent, self._block.quote)

    @property
    def _offset(self) -> QPointF:
        """Where the lines begin: a text read from the right has its indent on that side."""
        return QPointF(0 if self._flow.from_right else self._left, 0)

    def lay(self, width: float) -> None:
        if width == self.width:
            return
        self.width = width
        if self._block.kind == "rule":
            self.height = self._line
            return
        self._flow.lay(width - self._left)
        self.height = self._flow.height

    def paint(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        left = self._left
        if self._block.kind == "rule":
            y = at.y() + round(self.height / 2)
            painter.setPen(self.style.frame_strong)
            painter.drawLine(QPointF(at.x() + left, y), QPointF(at.x() + self.width, y))
            return
        if self._block.marker:
            painter.setPen(self.style.secondary)
            painter.setFont(self.style.body)
            # Wide numbers reach further out rather than into their text.
            width = 3 * self.style.indent - SPACE.small
            if self._flow.from_right:
                room = QRectF(at.x() + self.width - left + SPACE.small, at.y(), width, self._line)
                side = Qt.AlignmentFlag.AlignLeft
            else:
                room = QRectF(at.x() + left - 3 * self.style.indent, at.y(), width, self._line)
                side = Qt.AlignmentFlag.AlignRight
            painter.drawText(room, side | Qt.AlignmentFlag.AlignVCenter, self._block.marker)
        self._flow.draw(painter, at + self._offset, clip, selected)

    def position_at(self, point: QPointF) -> int:
        return self._flow.position_at(point - self._offset)

    def href_at(self, point: QPointF) -> str:
        return self._flow.href_at(point - self._offset)


def left_of(style: BodyStyle, indent: int, quote: int) -> float:
    """Where the text of a block begins, in pixels from the column's edge."""
    return indent * style.indent + quote * style.quote
