"""The list of results: rows are painted, so that thousands of them scroll like ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from slmdesk.gui.catalog.row_words import BestOffer, facts, publisher_and_name
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.chips import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PySide6.QtGui import QKeyEvent, QMouseEvent, QResizeEvent
    from PySide6.QtWidgets import QWidget

    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.gui.theme import Theme

Index = QModelIndex | QPersistentModelIndex
NEAR_END = 12
"""Rows below the view at which more are asked for."""


class EntryFacts(Protocol):
    """What a line says of a model beside what its entry holds."""

    def good_for(self, entry: CatalogEntry) -> str: ...
    def offer_of(self, entry: CatalogEntry) -> BestOffer: ...
    def state_of(self, entry: CatalogEntry) -> str: ...


class Results(QAbstractListModel):
    """The models found, in order, each once."""

    def __init__(self, told: EntryFacts, parent: QObject) -> None:
        super().__init__(parent)
        self.good_for = told.good_for
        self.offer_of = told.offer_of
        self.state_of = told.state_of
        self._entries: list[CatalogEntry] = []
        self._rows: dict[str, int] = {}

    @property
    def entries(self) -> Sequence[CatalogEntry]:
        return self._entries

    def show(self, entries: Iterable[CatalogEntry]) -> None:
        """Show these and no others."""
        self.beginResetModel()
        self._entries = list({entry.id: entry for entry in entries}.values())
        self._rows = {entry.id: row for row, entry in enumerate(self._entries)}
        self.endResetModel()

    def take(self, entries: Iterable[CatalogEntry]) -> int:
        """Put entries behind the others; those here already are replaced where they stand. How many are new."""
        new: list[CatalogEntry] = []
        for entry in entries:
            row = self._rows.get(entry.id)
            if row is None:
                self._rows[entry.id] = len(self._entries) + len(new)
                new.append(entry)
            elif row < len(self._entries):
                self._entries[row] = entry
                self.touch(entry.id)
        if new:
            first = len(self._entries)
            self.beginInsertRows(QModelIndex(), first, first + len(new) - 1)
            self._entries += new
            self.endInsertRows()
        return len(new)

    def touch(self, entry_id: str) -> None:
        """More is known of an entry."""
        row = self._rows.get(entry_id)
        if row is not None:
            self.dataChanged.emit(self.index(row), self.index(row))

    def row_of(self, entry_id: str) -> int:
        return self._rows.get(entry_id, -1)

    def entry(self, index: Index) -> CatalogEntry | None:
        return self._entries[index.row()] if 0 <= index.row() < len(self._entries) else None

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.entry(index)
        if entry is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            offer = self.offer_of(entry)
            word = VERDICTS[offer.verdict][0] if offer.verdict else ""
            parts = (entry.name, self.good_for(entry), facts(entry), word, offer.words)
            return ", ".join(part for part in parts if part)
        return None


class RowPainter(QStyledItemDelegate):
    """Name and verdict, what it is good for and the best choice, facts and Download."""

    def __init__(self, theme: Theme, model: Results, view: ResultList) -> None:
        super().__init__(view)
        self._theme = theme
        self._model = model
        self._view = view

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option, index
        theme = self._theme
        line = QFontMetrics(theme.font()).height() + 2 * QFontMetrics(theme.font("small")).height()
        return QSize(0, max(MEASURE.catalog_row, line + 2 * SPACE.medium))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry = self._model.entry(index)
        if entry is None:
            return
        theme, rect, state = self._theme, option.rect, option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground = QRectF(rect).adjusted(SPACE.tiny, 1, -SPACE.tiny, -1)
        painter.setPen(Qt.PenStyle.NoPen)
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        if chosen or state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(theme.colour("selected" if chosen else "hover"))
            painter.drawRoundedRect(ground, MEASURE.corner, MEASURE.corner)
        if self._view.hasFocus() and self._view.currentIndex() == index:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.colour("accent"), MEASURE.focus))
            painter.drawRoundedRect(ground.adjusted(1, 1, -1, -1), MEASURE.corner, MEASURE.corner)
        inner = rect.adjusted(SPACE.large, SPACE.small, -SPACE.medium, -SPACE.small)
        small, body = QFontMetrics(theme.font("small")), QFontMetrics(theme.font())
        step = (inner.height() - body.height() - 2 * small.height()) // 2
        first = QRect(inner.left(), inner.top(), inner.width(), body.height())
        second = QRect(inner.left(), first.bottom() + 1 + step, inner.width(), small.height())
        third = QRect(inner.left(), second.bottom() + 1 + step, inner.width(), small.height())
        offer = self._model.offer_of(entry)
        self._first_line(painter, first, entry, offer)
        self._second_line(painter, second, entry, offer)
        self._third_line(painter, third, rect, index, entry)
        painter.restore()

    def _first_line(self, painter: QPainter, room: QRect, entry: CatalogEntry, offer: BestOffer) -> None:
        theme = self._theme
        right = room.right()
        if offer.verdict:
            word, icon, tone = VERDICTS[offer.verdict]
            font = theme.font("small", weight=WEIGHT_MEDIUM)
            width = QFontMetrics(font).horizontalAdvance(word)
            painter.setFont(font)
            painter.setPen(theme.colour(tone))
            painter.drawText(
                QRect(right - width, room.top(), width + 1, room.height()),
                Qt.AlignmentFlag.AlignVCenter,
                word,
            )
            side = MEASURE.icon_small
            box = QRectF(right - width - SPACE.tiny - side, room.center().y() - side / 2 + 1, side, side)
            theme.icons.paint(painter, box, icon, theme.colour(tone))
            right -= width + SPACE.tiny + side + SPACE.medium
        publisher, name = publisher_and_name(entry.id)
        font = theme.font(weight=WEIGHT_MEDIUM + 100)
        metrics = QFontMetrics(font)
        space = right - room.left()
        shown = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, space)
        painter.setFont(font)
        painter.setPen(theme.colour("text"))
        _text(painter, room, 0, shown)
        used = metrics.horizontalAdvance(shown) + SPACE.small
        font = theme.font("small")
        metrics = QFontMetrics(font)
        if space - used > metrics.horizontalAdvance("mmm…"):
            painter.setFont(font)
            painter.setPen(theme.colour("secondary"))
            _text(
                painter, room, used, metrics.elidedText(publisher, Qt.TextElideMode.ElideRight, space - used)
            )

    def _second_line(self, painter: QPainter, room: QRect, entry: CatalogEntry, offer: BestOffer) -> None:
        theme = self._theme
        font = theme.font("small", tabular=True)
        metrics = QFontMetrics(font)
        painter.setFont(font)
        painter.setPen(theme.colour("text" if offer.exact else "secondary"))
        width = metrics.horizontalAdvance(offer.words)
        painter.drawText(
            QRect(room.right() - width, room.top(), width + 1, room.height()),
            Qt.AlignmentFlag.AlignVCenter,
            offer.words,
        )
        painter.setPen(theme.colour("text"))
        words = self._model.good_for(entry)
        space = room.width() - width - SPACE.large
        _text(painter, room, 0, metrics.elidedText(words, Qt.TextElideMode.ElideRight, space))

    def _third_line(
        self, painter: QPainter, room: QRect, row: QRect, index: Index, entry: CatalogEntry
    ) -> None:
        theme = self._theme
        state = self._model.state_of(entry)
        button = self.button_rect(row)
        font = theme.font("small", weight=WEIGHT_MEDIUM)
        words = state or "Download"
        width = QFontMetrics(font).horizontalAdvance(words)
        over = not state and self._view.over_button(index)
        ink = theme.colour("secondary" if state else "accent_text")
        if over:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("pressed"))
            painter.drawRoundedRect(QRectF(button), MEASURE.corner, MEASURE.corner)
        painter.setFont(font)
        painter.setPen(ink)
        left = room.right() - width
        painter.drawText(
            QRect(left, room.top(), width + 1, room.height()), Qt.AlignmentFlag.AlignVCenter, words
        )
        side = MEASURE.icon_small
        icon = {"": "download", "Here": "check"}.get(state, "partial")
        box = QRectF(left - SPACE.tiny - side, room.center().y() - side / 2 + 1, side, side)
        theme.icons.paint(painter, box, icon, ink)
        font = theme.font("small", tabular=True)
        painter.setFont(font)
        painter.setPen(theme.colour("secondary"))
        space = button.left() - room.left() - SPACE.small
        _text(
            painter,
            room,
            0,
            QFontMetrics(font).elidedText(facts(entry), Qt.TextElideMode.ElideRight, space),
        )

    def button_rect(self, row: QRect) -> QRect:
        """Where "Download" is, in the coordinates of the view."""
        metrics = QFontMetrics(self._theme.font("small", weight=WEIGHT_MEDIUM))
        width = metrics.horizontalAdvance("Download") + MEASURE.icon_small + SPACE.tiny + 2 * SPACE.small
        high = metrics.height() + SPACE.small
        right, bottom = row.right() - SPACE.medium + SPACE.small, row.bottom() - SPACE.small + SPACE.tiny
        return QRect(right - width, bottom - high + 1, width, high)


def _text(painter: QPainter, room: QRect, left: int, words: str) -> None:
    painter.drawText(
        room.adjusted(left, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, words
    )


class ResultList(QListView):
    """The results; Enter or a click opens one, a click on Download takes its best choice.

    Signals:
        opened(str): the id of the entry to show.
        download_wanted(str): its best choice is wanted.
        more_wanted: the end is near.
        looked_at: other rows are in sight.
        up: the focus wants to leave above the first row.
    """

    opened = Signal(str)
    download_wanted = Signal(str)
    more_wanted = Signal()
    looked_at = Signal()
    up = Signal()

    def __init__(self, theme: Theme, model: Results, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._results = model
        self._pointer = QPoint(-1, -1)
        self.setProperty("kind", "bare")
        self.setAccessibleName("Models found")
        self.setModel(model)
        self._painter = RowPainter(theme, model, self)
        self.setItemDelegate(self._painter)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalScrollBar().valueChanged.connect(self._scrolled)
        self.verticalScrollBar().rangeChanged.connect(self._scrolled)
        theme.changed.connect(self.scheduleDelayedItemsLayout)

    def visible_entries(self) -> list[CatalogEntry]:
        """The entries in sight."""
        first = self.indexAt(QPoint(SPACE.large, 1)).row()
        last = self.indexAt(QPoint(SPACE.large, self.viewport().height() - 2)).row()
        end = last if last >= 0 else len(self._results.entries) - 1
        return list(self._results.entries[max(0, first) : end + 1])

    def over_button(self, index: Index) -> bool:
        """Whether the pointer is over the row's Download."""
        rect = self.visualRect(self.model().index(index.row(), 0))
        return self._painter.button_rect(rect).contains(self._pointer)

    def look_again(self) -> bool:
        """The rows in sight may be others. Whether a whole view more lies below them."""
        self.looked_at.emit()
        bar = self.verticalScrollBar()
        return bar.maximum() - bar.value() >= self.viewport().height()

    def mark(self, entry_id: str) -> None:
        """Mark the row of the entry that is shown beside the list."""
        row = self._results.row_of(entry_id)
        self.setCurrentIndex(self._results.index(row) if row >= 0 else QModelIndex())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._pointer = event.position().toPoint()
        index = self.indexAt(self._pointer)
        over = index.isValid() and self.over_button(index)
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)
        self.viewport().update()
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self._pointer = QPoint(-1, -1)
        self.viewport().update()
        super().leaveEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        if event.button() != Qt.MouseButton.LeftButton:
            return
        self._pointer = event.position().toPoint()
        index = self.indexAt(self._pointer)
        entry = self._results.entry(index) if index.isValid() else None
        if entry is None:
            return
        self.opened.emit(entry.id)
        if self.over_button(index) and not self._results.state_of(entry):
            self.download_wanted.emit(entry.id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        entry = self._results.entry(self.currentIndex())
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and entry is not None:
            self.opened.emit(entry.id)
        elif event.key() == Qt.Key.Key_D and entry is not None and not event.modifiers():
            self.opened.emit(entry.id)
            self.download_wanted.emit(entry.id)
        elif event.key() == Qt.Key.Key_Up and self.currentIndex().row() <= 0:
            self.up.emit()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._scrolled()

    def _scrolled(self) -> None:
        bar = self.verticalScrollBar()
        near = NEAR_END * self._painter.sizeHint(QStyleOptionViewItem(), QModelIndex()).height()
        if bar.maximum() - bar.value() < near:
            self.more_wanted.emit()
        self.looked_at.emit()
