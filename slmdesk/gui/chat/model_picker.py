"""The list of models that opens at a button: above the composer, or below the top of a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from PySide6.QtGui import QFontMetrics, QHideEvent, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QListView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.round_popup import round_corners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.gui.chat.model_entries import PickerEntry
    from slmdesk.gui.theme import Theme

Index = QModelIndex | QPersistentModelIndex

WIDTH = 380
ROW = 48
LOADED_ROOM = 96
MOST_ROWS = 7
SEARCH_FROM = 8
"""From this many models on there is a field to search them."""


def row_height(theme: Theme) -> int:
    """Room for a title and a line below it, also in large text."""
    lines = sum(QFontMetrics(theme.font(role)).height() for role in ("body", "small"))
    return max(ROW, lines + 2 * SPACE.tiny)


_LOADED = {"ready": "Loaded", "loading": "Loading", "failed": "Failed"}


class _PickerModel(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.entries: list[PickerEntry] = []

    def show(self, entries: Sequence[PickerEntry]) -> None:
        self.beginResetModel()
        self.entries = list(entries)
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.title}, {entry.details} {_LOADED.get(entry.loaded, '')}".strip()
        if role == Qt.ItemDataRole.ToolTipRole:
            return entry.problem or entry.id
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        if self.entries[index.row()].problem:
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


class _Delegate(QStyledItemDelegate):
    def __init__(self, theme: Theme, model: _PickerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self._model = model
        self.current = ""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option, index
        return QSize(0, row_height(self._theme))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        from PySide6.QtWidgets import QStyle  # late: see the delegate of the conversations

        entry = self._model.entries[index.row()]
        theme = self._theme
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        lit = option.state & (QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_MouseOver)
        if lit and not entry.problem:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("hover"))
            painter.drawRoundedRect(QRectF(option.rect), MEASURE.corner, MEASURE.corner)
        side = MEASURE.icon_small
        mark = QRectF(option.rect.left() + SPACE.small, option.rect.center().y() - side / 2, side, side)
        if entry.id == self.current:
            theme.icons.paint(painter, mark, "check", theme.colour("accent"))
        inner = option.rect.adjusted(2 * SPACE.small + side, SPACE.tiny, -SPACE.small, -SPACE.tiny)
        right = self._paint_loaded(painter, inner, entry)
        middle = inner.center().y()
        left = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft
        self._line(
            painter, QRect(inner.left(), inner.top(), right - inner.left(), middle - inner.top()), left, entry
        )
        small = theme.font("small")
        painter.setFont(small)
        painter.setPen(theme.colour("caution" if entry.problem else "secondary"))
        words = QFontMetrics(small).elidedText(entry.details, Qt.TextElideMode.ElideRight, inner.width())
        painter.drawText(QRect(inner.left(), middle, inner.width(), inner.bottom() - middle), left, words)
        painter.restore()

    def _line(self, painter: QPainter, room: QRect, side: Qt.AlignmentFlag, entry: PickerEntry) -> None:
        font = self._theme.font("body", weight=WEIGHT_MEDIUM)
        painter.setFont(font)
        painter.setPen(self._theme.colour("disabled" if entry.problem else "text"))
        painter.drawText(
            room, side, QFontMetrics(font).elidedText(entry.title, Qt.TextElideMode.ElideMiddle, room.width())
        )

    def _paint_loaded(self, painter: QPainter, room: QRect, entry: PickerEntry) -> int:
        """Returns where the words left of it must end."""
        words = _LOADED.get(entry.loaded, "")
        if not words:
            return room.right()
        font = self._theme.font("small")
        width = QFontMetrics(font).horizontalAdvance(words)
        colour = self._theme.colour({"ready": "good", "failed": "bad"}.get(entry.loaded, "caution"))
        painter.setFont(font)
        painter.setPen(colour)
        place = QRect(room.right() - width, room.top(), width, room.height() // 2)
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, words)
        painter.setBrush(colour)
        painter.setPen(Qt.PenStyle.NoPen)
        dot = SPACE.tiny
        painter.drawEllipse(
            QRectF(place.left() - 2 * dot - dot, place.center().y() - dot / 2 - 0.5, 1.5 * dot, 1.5 * dot)
        )
        return place.left() - SPACE.large


class ModelPicker(QWidget):
    """Closes by itself when a model is chosen, at Esc, and at a click elsewhere.

    Signals:
        chosen(str): the id of the file to chat with.
        more_wanted: none of these is what the person looks for.
        settings_wanted(str): the person wants to see how the current model is loaded and asked.
        closed: the list is gone, whether something was chosen or not.
    """

    chosen = Signal(str)
    more_wanted = Signal()
    settings_wanted = Signal(str)
    closed = Signal()

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setWindowFlag(Qt.WindowType.NoDropShadowWindowHint)
        round_corners(self)
        self.setAccessibleName("Models")
        self._theme = theme
        self._host = parent
        self._all: list[PickerEntry] = []
        self._button: QWidget | None = None
        self._model = _PickerModel(self)
        self._search = SearchField(theme, "Search models")
        self._search.textChanged.connect(self._filter)
        self._search.installEventFilter(self)
        self._search.left.connect(self._take)
        self._view = QListView()
        self._view.setProperty("kind", "bare")
        self._view.setAccessibleName("Models")
        self._view.setModel(self._model)
        self._view.setMouseTracking(True)
        self._view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._delegate = _Delegate(theme, self._model, self._view)
        self._view.setItemDelegate(self._delegate)
        self._view.clicked.connect(self._choose)
        self._view.installEventFilter(self)
        self._empty = Label(theme, "No model holds these letters.", tone="secondary")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setFixedHeight(row_height(theme))
        self._settings = self._foot_button("How it is loaded and answers", "tune", self._want_settings)
        self._more = self._foot_button("Get more models", "catalog", self._want_more)
        layout = vbox(self, margins=SPACE.tiny, spacing=SPACE.tiny)
        layout.addWidget(self._search)
        layout.addWidget(self._view)
        layout.addWidget(self._empty)
        layout.addWidget(self._settings)
        layout.addWidget(self._more)

    def _foot_button(self, words: str, icon: str, pressed: Callable[[], None]) -> Button:
        button = Button(self._theme, words, kind="quiet", icon=icon, small=True)
        button.setFixedHeight(MEASURE.control)
        button.clicked.connect(pressed)
        button.installEventFilter(self)
        return button

    @property
    def entries(self) -> list[PickerEntry]:
        """What is listed now."""
        return self._model.entries

    def open_over(self, button: QWidget, entries: Sequence[PickerEntry], current: str) -> None:
        """List `entries` at `button`, the one with the id `current` ticked."""
        self._all = list(entries)
        self._delegate.current = current
        self._search.setVisible(len(entries) >= SEARCH_FROM)
        self._search.clear()
        self._filter("")
        self._button = button
        self._stand_over(button)
        self.show()
        (self._search if self._search.isVisible() else self._view).setFocus()

    def refresh(self, entries: Sequence[PickerEntry]) -> None:
        """The states may have changed while the list is open."""
        self._all = list(entries)
        self._filter(self._search.text())
        if self._button is not None:
            self._stand_over(self._button)

    def _stand_over(self, button: QWidget) -> None:
        """Stand with the lower edge on the button, or below it where the button stands in the upper half.

        At a button near the right edge of the window the right edges stand in line.
        """
        window = button.window()
        over = button.mapTo(window, QPoint(0, button.height())).y() > window.height() // 2
        y = -self.height() - SPACE.tiny if over else button.height() + SPACE.tiny
        place = button.mapToGlobal(QPoint(0, y))
        if place.x() + self.width() > window.mapToGlobal(window.rect().topRight()).x():
            place.setX(place.x() + button.width() - self.width())
        room = button.screen().availableGeometry()
        place.setX(min(max(place.x(), room.left()), room.right() - self.width()))
        place.setY(min(max(place.y(), room.top()), room.bottom() - self.height()))
        self.move(place)

    def _filter(self, words: str) -> None:
        wanted = words.casefold().split()
        shown = [
            entry
            for entry in self._all
            if all(word in f"{entry.title} {entry.id}".casefold() for word in wanted)
        ]
        self._model.show(shown)
        self._empty.setVisible(not shown)
        self._view.setVisible(bool(shown))
        self._view.setFixedHeight(row_height(self._theme) * min(len(shown), MOST_ROWS) + 2)
        usable = [number for number, entry in enumerate(shown) if not entry.problem]
        first = next((number for number in usable if shown[number].id == self._delegate.current), None)
        if usable:
            self._view.setCurrentIndex(self._model.index(usable[0] if first is None else first))
        self._settings.setVisible(any(entry.id == self._delegate.current for entry in self._all))
        parts = (self._search, self._view, self._empty, self._settings, self._more)
        shown_parts = [part for part in parts if not part.isHidden()]
        heights = [MEASURE.control if part is self._search else part.minimumHeight() for part in shown_parts]
        self.setFixedSize(self._wide_enough(), sum(heights) + SPACE.tiny * (len(heights) + 1))

    def _wide_enough(self) -> int:
        """As wide as the longest line of the models needs, searched or not, within reason."""
        title = QFontMetrics(self._theme.font("body", weight=WEIGHT_MEDIUM))
        small = QFontMetrics(self._theme.font("small"))
        longest = max(
            (
                max(
                    title.horizontalAdvance(one.title) + LOADED_ROOM * bool(one.loaded),
                    small.horizontalAdvance(one.details),
                )
                for one in self._all
            ),
            default=0,
        )
        around = MEASURE.icon_small + 3 * SPACE.small + 2 * SPACE.tiny + MEASURE.scroll
        room = self._host.window().width() - 2 * SPACE.wide
        return max(WIDTH, min(longest + around, room))

    def _choose(self, index: QModelIndex) -> None:
        if index.isValid() and not self._model.entries[index.row()].problem:
            self.close()
            self.chosen.emit(self._model.entries[index.row()].id)

    def _want_settings(self) -> None:
        self.close()
        self.settings_wanted.emit(self._delegate.current)

    def _want_more(self) -> None:
        self.close()
        self.more_wanted.emit()

    def _take(self) -> None:
        self._choose(self._view.currentIndex())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            key = event.key()
            if key == Qt.Key.Key_Escape and not self._search.text():
                self.close()
                return True
            if watched is self._view and key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
                self._take()
                return True
            if watched is self._search and key in {Qt.Key.Key_Up, Qt.Key.Key_Down}:
                by = -1 if key == Qt.Key.Key_Up else 1
                row = min(max(self._view.currentIndex().row() + by, 0), self._model.rowCount() - 1)
                self._view.setCurrentIndex(self._model.index(row))
                return True
        return super().eventFilter(watched, event)

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self.closed.emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self._theme.colour("line_strong"), MEASURE.line))
        painter.setBrush(self._theme.colour("raised"))
        painter.drawRoundedRect(
            QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), MEASURE.corner, MEASURE.corner
        )
