"""What code and tables share: a frame of the column's width whose content may be wider and then scrolls sideways."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPen

from slmdesk.gui.chat.body.laid import Laid, Range
from slmdesk.gui.chat.body.prose import left_of
from slmdesk.gui.theme import SPACE

if TYPE_CHECKING:
    from slmdesk.gui.chat.body.style import BodyStyle


class LaidFrame(Laid):
    """A framed block.

    Attributes:
        margin: indent of the block, in pixels from the side where its text begins.
        left: where the frame begins, in pixels from the column's left edge.
        content: width of what is inside, in pixels.
        shift: how far the content is scrolled to the left, in pixels.
    """

    header = 0
    fills = True
    """Whether the frame takes the whole column, or only as much as its content."""

    def __init__(self, style: BodyStyle, indent: int, quote: int) -> None:
        super().__init__(style)
        self.margin = left_of(style, indent, quote)
        self.left = self.margin
        self.content = 0.0
        self.shift = 0.0

    @property
    def view(self) -> float:
        """Width of the frame."""
        room = self.width - self.margin
        return room if self.fills else min(room, self.content)

    @property
    def overflow(self) -> int:
        """How many pixels of the content do not fit."""
        return max(0, round(self.content - self.view))

    def scroll_to(self, shift: float) -> None:
        """Show the content from `shift` on, as far as there is any."""
        self.shift = min(max(shift, 0.0), float(self.overflow))

    def bar(self) -> QRectF:
        """Where a scroll bar belongs, relative to the block."""
        size = self.style.scroll
        inset = SPACE.tiny / 2
        return QRectF(self.left + inset, self.height - size - inset, self.view - 2 * inset, size)

    def paint(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        frame = QRectF(at.x() + self.left + 0.5, at.y() + 0.5, self.view - 1, self.height - 1)
        outline = QPainterPath()
        outline.addRoundedRect(frame, self.style.corner, self.style.corner)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.paint_ground(painter, frame, outline)
        inside = frame.adjusted(0, self.header, 0, 0)
        painter.save()
        painter.setClipRect(inside, Qt.ClipOperation.IntersectClip)
        self.paint_inside(painter, inside.topLeft() - QPointF(self.shift, 0), clip & inside, selected)
        painter.restore()
        painter.setPen(QPen(self.style.frame, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(outline)
        painter.restore()

    @abstractmethod
    def paint_ground(self, painter: QPainter, frame: QRectF, outline: QPainterPath) -> None:
        """Fill the frame and its header."""

    @abstractmethod
    def paint_inside(self, painter: QPainter, at: QPointF, clip: QRectF, selected: Range | None) -> None:
        """Paint the content, its corner at `at`."""

    def inside(self, point: QPointF) -> QPointF:
        """A point of the block, seen from the content's corner."""
        return point - QPointF(self.left - self.shift, self.header)
