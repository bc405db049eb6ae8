"""The list of the library's models: rows are painted, so that thousands of them scroll like ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from slmdesk.core import amounts
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.chips import STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.theme import Theme
    from slmdesk.gui.widgets.chips import State
    from slmdesk.library.records import LibraryFile, LibraryModel

Index = QModelIndex | QPersistentModelIndex
_STATES: dict[str, State] = {
    "verified": "verified",
    "unverified": "unverified",
    "damaged": "damaged",
    "changed upstream": "changed",
    "partial": "partial",
}
_WORST: tuple[State, ...] = ("damaged", "partial", "changed", "unverified", "starter", "built_in", "verified")


def state_of(file: LibraryFile, *, built_in: bool = False) -> State:
    """A file's state as the chips call it."""
    state = _STATES[file.state]
    if state == "verified" and file.shipped == "starter":
        return "starter"
    return "built_in" if built_in and state == "verified" else state


def worst_state(model: LibraryModel) -> State:
    """The state a row shows: that of the file in the worst one."""
    states = {state_of(file, built_in=model.built_in) for file in model.files}
    return next((state for state in _WORST if state in states), "unverified")


def away(model: LibraryModel) -> bool:
    """Whether the disk of all its files is not there today."""
    return all(file.problem is not None and file.problem.code == "folder_missing" for file in model.files)


def quants(model: LibraryModel) -> str:
    """ "Q4_K_M, F16 · 600 M"."""
    names = list(dict.fromkeys(file.label for file in model.files))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    weights = amounts.parameters(max((file.parameters for file in model.files), default=0))
    return " · ".join(part for part in (shown, weights) if part)


class LibraryListModel(QAbstractListModel):
    """The models that hold the words searched for."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._all: list[LibraryModel] = []
        self._shown: list[LibraryModel] = []
        self._words: list[str] = []

    @property
    def shown(self) -> Sequence[LibraryModel]:
        return self._shown

    @property
    def count(self) -> int:
        """How many there are in all."""
        return len(self._all)

    def show(self, models: Iterable[LibraryModel]) -> None:
        self._all = list(models)
        self._filter()

    def search(self, words: str) -> None:
        self._words = words.casefold().split()
        self._filter()

    def model(self, index: Index) -> LibraryModel | None:
        return self._shown[index.row()] if 0 <= index.row() < len(self._shown) else None

    def row_of(self, model_id: str) -> int:
        return next((row for row, model in enumerate(self._shown) if model.id == model_id), -1)

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._shown)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        model = self.model(index)
        if model is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return model.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            state = "Not there" if away(model) else STATES[worst_state(model)][0]
            return f"{model.name}, {quants(model)}, {amounts.size(model.size_bytes)}, {state}"
        return None

    def _filter(self) -> None:
        self.beginResetModel()
        self._shown = [
            model
            for model in self._all
            if all(word in f"{model.id} {model.name}".casefold() for word in self._words)
        ]
        self.endResetModel()


class _ModelRows(QStyledItemDelegate):
    """Name and size; quants and state."""

    def __init__(self, theme: Theme, models: LibraryListModel, view: ModelList) -> None:
        super().__init__(view)
        self._theme = theme
        self._models = models
        self._view = view

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option, index
        theme = self._theme
        lines = QFontMetrics(theme.font()).height() + QFontMetrics(theme.font("small")).height()
        return QSize(0, max(MEASURE.library_row, lines + SPACE.wide))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = self._models.model(index)
        if model is None:
            return
        theme, rect, state = self._theme, option.rect, option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ground = QRectF(rect).adjusted(SPACE.tiny, 1, -SPACE.tiny, -1)
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        painter.setPen(Qt.PenStyle.NoPen)
        if chosen or state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(theme.colour("selected" if chosen else "hover"))
            painter.drawRoundedRect(ground, MEASURE.corner, MEASURE.corner)
        if self._view.hasFocus() and self._view.currentIndex() == index:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.colour("accent"), MEASURE.focus))
            painter.drawRoundedRect(ground.adjusted(1, 1, -1, -1), MEASURE.corner, MEASURE.corner)
        inner = rect.adjusted(SPACE.large, SPACE.small, -SPACE.medium, -SPACE.small)
        half = inner.height() // 2
        self._top(painter, QRect(inner.left(), inner.top(), inner.width(), half), model)
        self._below(painter, QRect(inner.left(), inner.top() + half, inner.width(), half), model)
        painter.restore()

    def _top(self, painter: QPainter, room: QRect, model: LibraryModel) -> None:
        theme = self._theme
        number = amounts.size(model.size_bytes)
        font = theme.font(tabular=True)
        width = QFontMetrics(font).horizontalAdvance(number)
        painter.setFont(font)
        painter.setPen(theme.colour("text"))
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(room, middle | Qt.AlignmentFlag.AlignRight, number)
        space = room.width() - width - SPACE.large
        font = theme.font(weight=WEIGHT_MEDIUM + 100)
        metrics = QFontMetrics(font)
        shown = metrics.elidedText(model.name, Qt.TextElideMode.ElideMiddle, space)
        painter.setFont(font)
        painter.setPen(theme.colour("disabled" if away(model) else "text"))
        painter.drawText(room, middle | Qt.AlignmentFlag.AlignLeft, shown)
        used = metrics.horizontalAdvance(shown) + SPACE.small
        small = theme.font("small")
        if space - used > SPACE.huge:
            painter.setFont(small)
            painter.setPen(theme.colour("secondary"))
            words = QFontMetrics(small).elidedText(model.publisher, Qt.TextElideMode.ElideRight, space - used)
            painter.drawText(room.adjusted(used, 0, 0, 0), middle | Qt.AlignmentFlag.AlignLeft, words)

    def _below(self, painter: QPainter, room: QRect, model: LibraryModel) -> None:
        theme = self._theme
        word, icon, tone, _ = STATES[worst_state(model)]
        if away(model):
            word, icon, tone = "Not there today", "offline", "caution"
        ink = theme.colour("accent_text" if tone == "accent" else tone)
        font = theme.font("small", weight=WEIGHT_MEDIUM)
        width = QFontMetrics(font).horizontalAdvance(word)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(font)
        painter.setPen(ink)
        painter.drawText(room, middle | Qt.AlignmentFlag.AlignRight, word)
        side = MEASURE.icon_small
        left = room.right() - width - SPACE.tiny - side
        theme.icons.paint(painter, QRectF(left, room.center().y() - side / 2 + 1, side, side), icon, ink)
        font = theme.font("small", tabular=True)
        painter.setFont(font)
        painter.setPen(theme.colour("secondary"))
        words = QFontMetrics(font).elidedText(
            quants(model), Qt.TextElideMode.ElideRight, left - room.left() - SPACE.medium
        )
        painter.drawText(room, middle | Qt.AlignmentFlag.AlignLeft, words)


class ModelList(QListView):
    """The view. Delete asks for the removal of the model.

    Signals:
        opened(str): the id of the model to show.
        moved(str): the current row is that of this model now.
        remove_wanted(str): the model is to be deleted.
    """

    opened = Signal(str)
    moved = Signal(str)
    remove_wanted = Signal(str)

    def __init__(self, theme: Theme, models: LibraryListModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        self.setProperty("kind", "bare")
        self.setAccessibleName("Models of this machine")
        self.setModel(models)
        self.setItemDelegate(_ModelRows(theme, models, self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.selectionModel().currentChanged.connect(self._moved)
        self.clicked.connect(self._clicked)
        theme.changed.connect(self.scheduleDelayedItemsLayout)

    def _moved(self, index: QModelIndex) -> None:
        model = self._models.model(index)
        if model is not None:
            self.moved.emit(model.id)

    def _clicked(self, index: QModelIndex) -> None:
        model = self._models.model(index)
        if model is not None:
            self.opened.emit(model.id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        model = self._models.model(self.currentIndex())
        if event.key() == Qt.Key.Key_Delete and model is not None:
            self.remove_wanted.emit(model.id)
        elif event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and model is not None:
            self.opened.emit(model.id)
        else:
            super().keyPressEvent(event)
