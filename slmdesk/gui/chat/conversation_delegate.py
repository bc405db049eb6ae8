"""How one row of the conversation list is painted, and the field in which a title is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import QLineEdit, QStyledItemDelegate, QWidget

from slmdesk.gui.chat.conversation_model import UNTITLED, ConversationModel, Header
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM

if TYPE_CHECKING:
    from PySide6.QtWidgets import QStyleOptionViewItem

    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.gui.chat.conversation_model import Index
    from slmdesk.gui.theme import Theme


class ConversationDelegate(QStyledItemDelegate):
    """Paints headers and conversations.

    Attributes:
        current: the conversation shown beside the list, 0 for none.
    """

    def __init__(self, theme: Theme, model: ConversationModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._model = model
        self.current = 0

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option
        row = self._model.row_at(index)
        if isinstance(row, Header):
            return QSize(0, MEASURE.control if index.row() else SPACE.wide)
        if row is not None and row.snippet:
            return QSize(0, MEASURE.row + SPACE.large)
        return QSize(0, MEASURE.control)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row = self._model.row_at(index)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(row, Header):
            painter.setPen(self._theme.colour("secondary"))
            painter.setFont(self._theme.font("label", weight=WEIGHT_MEDIUM))
            room = option.rect.adjusted(SPACE.small, 0, -SPACE.small, -SPACE.tiny)
            painter.drawText(room, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignLeft, row.text)
        elif row is not None:
            self._paint_conversation(painter, option, row)
        painter.restore()

    def _paint_conversation(
        self, painter: QPainter, option: QStyleOptionViewItem, row: ConversationSummary
    ) -> None:
        from PySide6.QtWidgets import QStyle  # its 60 enums cost 10 ms that the first paint need not wait for

        state = option.state
        ground = QRectF(option.rect).adjusted(0, 1, 0, -1)
        painter.setPen(Qt.PenStyle.NoPen)
        if row.id == self.current:
            painter.setBrush(self._theme.colour("selected"))
            painter.drawRoundedRect(ground, MEASURE.corner, MEASURE.corner)
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(self._theme.colour("hover"))
            painter.drawRoundedRect(ground, MEASURE.corner, MEASURE.corner)
        if state & QStyle.StateFlag.State_HasFocus:
            inset = MEASURE.focus / 2
            painter.setBrush(Qt.BrushStyle.NoBrush)
            pen = painter.pen()
            pen.setStyle(Qt.PenStyle.SolidLine)
            pen.setColor(self._theme.colour("accent"))
            pen.setWidth(MEASURE.focus)
            painter.setPen(pen)
            painter.drawRoundedRect(
                ground.adjusted(inset, inset, -inset, -inset), MEASURE.corner, MEASURE.corner
            )
        inner: QRect = option.rect.adjusted(SPACE.small, 0, -SPACE.small, 0)
        if self._model.running(row.id):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._theme.colour("accent"))
            middle = QPointF(inner.right() - SPACE.tiny, inner.top() + MEASURE.control / 2)
            painter.drawEllipse(middle, SPACE.tiny, SPACE.tiny)
            inner.setRight(inner.right() - SPACE.large)
        self._paint_words(painter, inner, row)

    def _paint_words(self, painter: QPainter, room: QRect, row: ConversationSummary) -> None:
        left = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        font = self._theme.font("body", weight=WEIGHT_MEDIUM if row.id == self.current else 400)
        painter.setFont(font)
        painter.setPen(self._theme.colour("text"))
        first = QRect(room.left(), room.top(), room.width(), MEASURE.control)
        title = QFontMetrics(font).elidedText(
            row.title or UNTITLED, Qt.TextElideMode.ElideRight, room.width()
        )
        painter.drawText(first, left, title)
        if row.snippet:
            small = self._theme.font("small")
            painter.setFont(small)
            painter.setPen(self._theme.colour("secondary"))
            words = " ".join(row.snippet.split())
            shown = QFontMetrics(small).elidedText(words, Qt.TextElideMode.ElideRight, room.width())
            painter.drawText(
                QRect(room.left(), room.top() + MEASURE.control - SPACE.small, room.width(), SPACE.wide),
                left,
                shown,
            )

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        del option, index
        field = QLineEdit(parent)
        field.setAccessibleName("Title")
        field.setMaxLength(200)
        return field

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        del index
        editor.setGeometry(option.rect)
