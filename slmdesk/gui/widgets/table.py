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
_MIDDLE = int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
_KEPT_WIDTHS = 4000


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

    def cell(self, row: int, place: int) -> tuple[str, str, str, str, bool]:
        """What is painted: text, unit, tone, icon, and whether it stands to the right."""
        column, record = self.columns[place], self._rows[row]
        return (
            column.text(record),
            (column.unit(record) or "") if column.unit else "",
            (column.tone(record) or "text") if column.tone else "text",
            (column.icon(record) or "") if column.icon else "",
            column.number,
        )

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


class _Look:
    """Font, widths and colours of cells while the theme stays as it is."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self.font = theme.font(tabular=True)
        self.metrics = QFontMetrics(self.font)
        self._colours: dict[str, QColor] = {}
        self._widths: dict[str, int] = {}

    def colour(self, name: str) -> QColor:
        found = self._colours.get(name)
        if found is None:
            found = self._colours[name] = self._theme.colour(name)
        return found

    def width(self, text: str) -> int:
        """In pixels."""
        found = self._widths.get(text)
        if found is None:
            if len(self._widths) > _KEPT_WIDTHS:
                self._widths.clear()
            found = self._widths[text] = self.metrics.horizontalAdvance(text)
        return found


class _Cells(QStyledItemDelegate):
    """Paints a cell: icon, text, unit. Whole rows are hovered and chosen, never single cells."""

    def __init__(self, theme: Theme, table: Table[Any]) -> None:
        super().__init__(table)
        self._theme = theme
        self._table = table
        self._look = _Look(theme)
        theme.changed.connect(self._restyle)

    def _restyle(self) -> None:
        self._look = _Look(self._theme)

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
        # Called for every cell in sight, often: what the rows share is looked up once, and Qt's roles are passed by.
        look, rect = self._look, option.rect
        row = index.row()
        words, unit, tone, icon, right = self._table.rows_model.cell(row, index.column())
        left, top, width, height = rect.left(), rect.top(), rect.width(), rect.height()
        ground = "hover" if row == self._table.hovered_row else "surface"
        if option.state & QStyle.StateFlag.State_Selected:
            ground = "selected"
        painter.fillRect(rect, look.colour(ground))
        painter.fillRect(left, top + height - 1, width, MEASURE.line, look.colour("line"))
        painter.setFont(look.font)
        before = MEASURE.icon_small + SPACE.tiny if icon else 0
        behind = look.width(unit) + SPACE.tiny if unit else 0
        room = width - 2 * SPACE.medium - before - behind
        long = look.width(words)
        if long > room:
            words = look.metrics.elidedText(words, Qt.TextElideMode.ElideRight, room)
            long = look.width(words)
        start = left + SPACE.medium
        if right:
            start = left + width - SPACE.medium - before - long - behind
        ink = look.colour(tone)
        if icon:
            side = MEASURE.icon_small
            box = QRectF(start, top + (height - 1) // 2 - side / 2 + 0.5, side, side)
            self._theme.icons.paint(painter, box, icon, ink)
        painter.setPen(ink)
        painter.drawText(start + before, top, long + 1, height, _MIDDLE, words)
        if unit:
            painter.setPen(look.colour("secondary"))
            painter.drawText(start + before + long + SPACE.tiny, top, behind, height, _MIDDLE, unit)
        if row == self._table.ringed_row:
            self._ring(painter, rect, index)

    def _ring(self, painter: QPainter, rect: QRect, index: Index) -> None:
        """A line around the current row."""
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
        self.rows_model = model
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
        self.entered.connect(lambda index: self.hover(index.row()))
        self.viewportEntered.connect(lambda: self.hover(-1))
        self.selectionModel().currentRowChanged.connect(
            lambda now, before: self._paint_rows(before.row(), now.row())
        )
        for place, column in enumerate(model.columns):
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(place, mode.Stretch if column.stretch else mode.ResizeToContents)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)

    def chosen(self) -> Row | None:
        """The chosen row."""
        indexes = self.selectionModel().selectedRows()
        return self.rows_model.row(indexes[0].row()) if indexes else None

    @property
    def ringed_row(self) -> int:
        """The current row while the table has the focus, else -1."""
        return self.currentIndex().row() if self.hasFocus() else -1

    def hover(self, row: int) -> None:
        """Mark a row (-1: none) as the one the pointer is over."""
        if row != self.hovered_row:
            before, self.hovered_row = self.hovered_row, row
            self._paint_rows(before, row)

    def _paint_rows(self, *rows: int) -> None:
        for row in rows:
            if row >= 0:
                top, height = self.rowViewportPosition(row), self.rowHeight(row)
                self.viewport().update(0, top, self.viewport().width(), height)
