"""The palette: every action of the program by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Label, Line, Pane
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from slmdesk.gui.actions import Action, Actions

Index = QModelIndex | QPersistentModelIndex
ACTION_ROLE = Qt.ItemDataRole.UserRole + 1


class _FoundActions(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.actions: list[Action] = []

    def show(self, actions: list[Action]) -> None:
        self.beginResetModel()
        self.actions = actions
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.actions)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        action = self.actions[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return action.title
        return action if role == ACTION_ROLE else None


class _ActionRows(QStyledItemDelegate):
    def __init__(self, theme: Theme, parent: QObject) -> None:
        super().__init__(parent)
        self._theme = theme

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        del option, index
        return QSize(MEASURE.field, MEASURE.row)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        theme, rect, action = self._theme, option.rect, index.data(ACTION_ROLE)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("selected"))
            painter.drawRoundedRect(QRectF(rect), MEASURE.corner, MEASURE.corner)
        inner = rect.adjusted(SPACE.medium, 0, -SPACE.medium, 0)
        side = MEASURE.icon
        if action.icon:
            box = QRectF(inner.left(), inner.center().y() - side / 2 + 0.5, side, side)
            theme.icons.paint(painter, box, action.icon, theme.colour("secondary"))
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.setFont(theme.font("small"))
        painter.setPen(theme.colour("secondary"))
        painter.drawText(inner, middle | Qt.AlignmentFlag.AlignRight, action.keys)
        keys = painter.fontMetrics().horizontalAdvance(action.keys) + SPACE.medium
        painter.setFont(theme.font())
        painter.setPen(theme.colour("text"))
        words = inner.adjusted(side + SPACE.medium, 0, -keys, 0)
        title = painter.fontMetrics().elidedText(action.title, Qt.TextElideMode.ElideRight, words.width())
        painter.drawText(words, middle | Qt.AlignmentFlag.AlignLeft, title)
        painter.restore()


class Palette(QWidget):
    """Lies over the whole window while it is open. Typing filters, Enter runs, Esc or a click beside it closes.

    Signals:
        typed(str): other words stand in the field; who knows more than actions answers with `add`.
    """

    typed = Signal(str)

    def __init__(self, theme: Theme, actions: Actions, host: QWidget) -> None:
        super().__init__(host)
        self.theme = theme
        self._host = host
        self._actions = actions
        self._before: QWidget | None = None
        self.setAccessibleName("Actions")
        self._panel = Pane(theme, kind="panel", parent=self)
        self._search = SearchField(theme, "What do you want to do?")
        self._search.setProperty("kind", "bare")
        self._search.textChanged.connect(self._filter)
        self._search.installEventFilter(self)
        self._found = _FoundActions()
        self._list = QListView()
        self._list.setProperty("kind", "bare")
        self._list.setAccessibleName("Actions found")
        self._list.setModel(self._found)
        self._list.setItemDelegate(_ActionRows(theme, self._list))
        self._list.setUniformItemSizes(True)
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setMouseTracking(True)
        self._list.entered.connect(self._list.setCurrentIndex)
        self._list.clicked.connect(lambda index: self._run(index.row()))
        self._none = Label(theme, "No action with these letters.", tone="secondary")
        self._none.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._none.setFixedHeight(MEASURE.row)
        layout = vbox(self._panel, margins=SPACE.small, spacing=SPACE.small)
        layout.addWidget(self._search)
        layout.addWidget(Line(theme))
        layout.addWidget(self._list)
        layout.addWidget(self._none)
        host.installEventFilter(self)
        theme.dress(self)
        self.hide()

    @property
    def titles(self) -> list[str]:
        """What is listed now, best first."""
        return [action.title for action in self._found.actions]

    def open(self) -> None:
        """Show every action and take the focus; open already, it closes."""
        if self.isVisible():
            self.shut()
            return
        self._before = QApplication.focusWidget()
        self._search.clear()
        self._filter("")
        self._place()
        self.show()
        self.raise_()
        self._search.setFocus(Qt.FocusReason.PopupFocusReason)

    def shut(self) -> None:
        """Close without doing anything; the focus goes back to where it was."""
        self.hide()
        if self._before is not None:
            self._before.setFocus(Qt.FocusReason.PopupFocusReason)
            self._before = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not hasattr(self, "_found"):
            # Events still come when Python has already taken the attributes away at the end.
            return False
        if watched is self._host and event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        if watched is self._search and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._key(event)
        return super().eventFilter(watched, event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._panel.geometry().contains(event.position().toPoint()):
            self.shut()

    def paintEvent(self, event: QPaintEvent) -> None:
        shade = QColor(self.theme.colour("shade"))
        shade.setAlphaF(self.theme.colours.shade_opacity)
        QPainter(self).fillRect(event.rect(), shade)

    def _key(self, event: QKeyEvent) -> bool:
        steps = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_Tab: 1, Qt.Key.Key_Backtab: -1}
        key = Qt.Key(event.key())
        if key in steps:
            self._step(steps[key])
        elif key in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self._run(self._list.currentIndex().row())
        elif key == Qt.Key.Key_Escape:
            self.shut()
        else:
            return False
        return True

    def _step(self, by: int) -> None:
        count = len(self._found.actions)
        if count:
            row = (self._list.currentIndex().row() + by) % count
            self._list.setCurrentIndex(self._found.index(row, 0))

    def add(self, words: str, found: list[Action]) -> None:
        """Below the actions, list what else was found for these words, unless others stand there by now."""
        if found and words == self._search.text():
            row = self._list.currentIndex().row()
            self._show([*self._found.actions, *found], max(row, 0))

    def _filter(self, words: str) -> None:
        self._show(self._actions.matching(words), 0)
        self.typed.emit(words)

    def _show(self, actions: list[Action], current: int) -> None:
        self._found.show(actions)
        self._list.setCurrentIndex(self._found.index(current, 0))
        self._list.setVisible(bool(self._found.actions))
        self._none.setVisible(not self._found.actions)
        self._place()

    def _run(self, row: int) -> None:
        if 0 <= row < len(self._found.actions):
            action = self._found.actions[row]
            self.shut()
            action.run()

    def _place(self) -> None:
        self.setGeometry(self._host.rect())
        rows = min(max(len(self._found.actions), 1), MEASURE.palette_rows)
        top = max(SPACE.huge, self.height() // 8)
        room = self.height() - top - SPACE.huge
        self._list.setFixedHeight(rows * MEASURE.row)
        around = self._search.sizeHint().height() + MEASURE.line + 4 * SPACE.small + 2
        height = min(rows * MEASURE.row + around, room)
        self._list.setFixedHeight(height - around)
        width = min(MEASURE.palette_width, self.width() - 2 * SPACE.wide)
        self._panel.setGeometry(QRect((self.width() - width) // 2, top, width, height))
