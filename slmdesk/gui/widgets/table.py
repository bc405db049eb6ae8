"""Tables: sticky header, sortable columns, numbers right-aligned with their units in secondary text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = TypeVar("Row")
Index = QModelIndex | QPersistentModelIndex

UNIT_ROLE = Qt.ItemDataRole.UserRole + 1
TONE_ROLE = Qt.ItemDataRole.UserRole + 2
ICON_ROLE = Qt.ItemDataRole.UserRole + 3


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column.

    `text` gives what a cell shows; `sort` what it is ordered by (the text, when left out); `unit` is written
    behind the text in secondary colour; `tone` names a colour and `icon` an icon before the text.
    """

    title: str
    text: Callable[[Row], str]
    sort: Callable[[Row], Any] | None = None
    unit: Callable[[Row], str] | None = None
    tone: Callable[[Row], str] | None = None
    icon: Callable[[Row], str] | None = None
    number: bool = False
    stretch: bool = False
    tip: str = ""


class TableModel(QAbstractTableModel, Generic[Row]):
    """Rows of any kind, seen through columns. Sorting is stable."""

    def __init__(self, columns: Sequence[Column[Row]], rows: Sequence[Row] = ()) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self._rows = list(rows)
        self._order: tuple[int, Qt.SortOrder] | None = None

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show other rows, in the order the person chose."""
        self.beginResetModel()
        self._rows = list(rows)
        self._sort()
        self.endResetModel()

    def row(self, index: int) -> Row:
        return self._rows[index]

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        column, row = self.columns[index.column()], self._rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.text(row)
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.AccessibleTextRole:
                unit = column.unit(row) if column.unit else ""
                return f"{column.title}: {column.text(row)} {unit}".rstrip()
            case _:
                reader = {UNIT_ROLE: column.unit, TONE_ROLE: column.tone, ICON_ROLE: column.icon}.get(role)
                return reader(row) if reader else None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            column = self.columns[section]
            if role == Qt.ItemDataRole.DisplayRole:
                return column.title
            if role == Qt.ItemDataRole.ToolTipRole:
                return column.tip or None
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if column < 0:
            return
        self.layoutAboutToBeChanged.emit()
        kept = self.persistentIndexList()
        held = [(index, self._rows[index.row()]) for index in kept]
        self._order = (column, order)
        self._sort()
        places = {id(row): place for place, row in enumerate(self._rows)}
        for index, row in held:
            self.changePersistentIndex(index, self.index(places[id(row)], index.column()))
        self.layoutChanged.emit()

    def _sort(self) -> None:
        if self._order:
            column, order = self._order
            key = self.columns[column].sort or self.columns[column].text
            self._rows.sort(key=key, reverse=order == Qt.SortOrder.DescendingOrder)


class _Header(QHeaderView):
    """A flat header whose titles stand over their columns; the sorted one carries an arrow."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.theme = theme
        self.setSectionsClickable(True)
        self.setHighlightSections(False)
        self.setMinimumSectionSize(SPACE.huge)
        self.setFixedHeight(MEASURE.control)
        self.setAccessibleName("Columns")

    def paintSection(self, painter: QPainter, rect: QRect, logical: int) -> None:
        theme = self.theme
        painter.save()
        painter.fillRect(rect, theme.colour("surface"))
        painter.fillRect(rect.left(), rect.bottom(), rect.width(), MEASURE.line, theme.colour("line"))
        model = self.model()
        title = str(model.headerData(logical, Qt.Orientation.Horizontal) or "")
        number = isinstance(model, TableModel) and model.columns[logical].number
        font = theme.font("small", weight=WEIGHT_MEDIUM)
        painter.setFont(font)
        sorted_ = self.isSortIndicatorShown() and self.sortIndicatorSection() == logical
        painter.setPen(theme.colour("text" if sorted_ else "secondary"))
        inner = rect.adjusted(SPACE.medium, 0, -SPACE.medium, 0)
        side = MEASURE.icon_small if sorted_ else 0
        words = QFontMetrics(font).elidedText(title, Qt.TextElideMode.ElideRight, inner.width() - side)
        width = QFontMetrics(font).horizontalAdvance(words)
        left = inner.right() - width - side + 1 if number else inner.left()
        middle = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.drawText(QRect(left, inner.top(), width + 1, inner.height()), middle, words)
        if sorted_:
            up = self.sortIndicatorOrder() == Qt.SortOrder.AscendingOrder
            arrow = QRectF(left + width, rect.center().y() - side / 2 + 1, side, side)
            theme.icons.paint(painter, arrow, "sort-up" if up else "sort-down", theme.colour("text"))
        painter.restore()

    def sectionSizeFromContents(self, logical: int) -> QSize:
        title = str(self.model().headerData(logical, Qt.Orientation.Horizontal) or "")
        metrics = QFontMetrics(self.theme.font("small", weight=WEIGHT_MEDIUM))
        width = metrics.horizontalAdvance(title) + MEASURE.icon_small + 2 * SPACE.medium
        return QSize(width, MEASURE.control)


class _Cells(QStyledItemDelegate):
    """Paints a cell: icon, text, unit. Whole rows are hovered and chosen, never single cells."""

    def __init__(self, theme: Theme, table: Table[Any]) -> None:
        super().__init__(table)
        self._theme = theme
        self._table = table

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option
        metrics = QFontMetrics(self._theme.font(tabular=True))
        # Advances are rounded: a pixel less would cut the text.
        width = metrics.horizontalAdvance(str(index.data() or "")) + 2 * SPACE.medium + MEASURE.focus
        unit = index.data(UNIT_ROLE)
        if unit:
            width += SPACE.tiny + metrics.horizontalAdvance(str(unit))
        if index.data(ICON_ROLE):
            width += MEASURE.icon_small + SPACE.tiny
        return QSize(width, MEASURE.row)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        theme = self._theme
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.fillRect(rect, self._ground(index, state))
        painter.fillRect(rect.left(), rect.bottom(), rect.width(), MEASURE.line, theme.colour("line"))
        font = theme.font(tabular=True)
        painter.setFont(font)
        metrics = QFontMetrics(font)
        inner = rect.adjusted(SPACE.medium, 0, -SPACE.medium, 0)
        unit = str(index.data(UNIT_ROLE) or "")
        icon = str(index.data(ICON_ROLE) or "")
        ink = theme.colour(str(index.data(TONE_ROLE) or "text"))
        before = MEASURE.icon_small + SPACE.tiny if icon else 0
        behind = metrics.horizontalAdvance(unit) + SPACE.tiny if unit else 0
        room = inner.width() - before - behind
        words = metrics.elidedText(str(index.data() or ""), Qt.TextElideMode.ElideRight, room)
        width = metrics.horizontalAdvance(words)
        right = bool(index.data(Qt.ItemDataRole.TextAlignmentRole) & Qt.AlignmentFlag.AlignRight)
        left = inner.right() + 1 - before - width - behind if right else inner.left()
        if icon:
            side = MEASURE.icon_small
            box = QRectF(left, inner.center().y() - side / 2 + 0.5, side, side)
            theme.icons.paint(painter, box, icon, ink)
        middle = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        painter.setPen(ink)
        painter.drawText(QRect(left + before, inner.top(), width + 1, inner.height()), middle, words)
        if unit:
            painter.setPen(theme.colour("secondary"))
            place = QRect(left + before + width + SPACE.tiny, inner.top(), behind, inner.height())
            painter.drawText(place, middle, unit)
        self._ring(painter, rect, index)
        painter.restore()

    def _ground(self, index: Index, state: QStyle.StateFlag) -> QColor:
        if state & QStyle.StateFlag.State_Selected:
            return self._theme.colour("selected")
        return self._theme.colour("hover" if index.row() == self._table.hovered_row else "surface")

    def _ring(self, painter: QPainter, rect: QRect, index: Index) -> None:
        """A line around the current row while the table has the focus."""
        if not self._table.hasFocus() or self._table.currentIndex().row() != index.row():
            return
        painter.setPen(QPen(self._theme.colour("accent"), MEASURE.focus))
        last = self._table.model().columnCount() - 1
        top, bottom = rect.top() + 1, rect.bottom()
        painter.drawLine(rect.left(), top, rect.right(), top)
        painter.drawLine(rect.left(), bottom, rect.right(), bottom)
        if index.column() == 0:
            painter.drawLine(rect.left() + 1, top, rect.left() + 1, bottom)
        if index.column() == last:
            painter.drawLine(rect.right(), top, rect.right(), bottom)


class Table(QTableView, Generic[Row]):
    """A table of rows; one row can be chosen. Its header stays in sight while the rows scroll."""

    def __init__(
        self, theme: Theme, model: TableModel[Row], name: str, *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.hovered_row = -1
        self._rows_model = model
        self.setAccessibleName(name)
        self.setModel(model)
        self.setItemDelegate(_Cells(theme, self))
        header = _Header(theme, self)
        self.setHorizontalHeader(header)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(MEASURE.row)
        self.setShowGrid(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setMouseTracking(True)
        self.entered.connect(lambda index: self._hover(index.row()))
        self.viewportEntered.connect(lambda: self._hover(-1))
        for place, column in enumerate(model.columns):
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(place, mode.Stretch if column.stretch else mode.ResizeToContents)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)

    def chosen(self) -> Row | None:
        """The chosen row."""
        indexes = self.selectionModel().selectedRows()
        return self._rows_model.row(indexes[0].row()) if indexes else None

    def _hover(self, row: int) -> None:
        if row != self.hovered_row:
            self.hovered_row = row
            self.viewport().update()
