"""The rows of the conversation list: a header before each group, then its conversations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from slmdesk.gui.chat.dates import group_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.chat.tree import ConversationSummary

Index = QModelIndex | QPersistentModelIndex
UNTITLED = "New chat"
PINNED = "Pinned"


@dataclass(frozen=True, slots=True)
class Header:
    """The name of a group."""

    text: str


class ConversationModel(QAbstractListModel):
    """Holds what `Chats.conversations` gave; rows ask for more when the end comes into sight.

    Signals:
        renamed(int, str): the person gave a conversation another title.
        more_wanted: the list was scrolled to its end and there is more.
    """

    renamed = Signal(int, str)
    more_wanted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Header | ConversationSummary] = []
        self._running: frozenset[int] = frozenset()
        self._more = False

    def show_summaries(self, summaries: Sequence[ConversationSummary], *, grouped: bool, more: bool) -> None:
        """Show these in their order; `grouped` puts headers between them: pinned, each folder, dates."""
        rows: list[Header | ConversationSummary] = []
        today = datetime.now().astimezone().date()
        group = ""
        for one in summaries:
            belongs = PINNED if one.pinned else one.folder or group_of(one.updated_at, today)
            if grouped and belongs != group:
                group = belongs
                rows.append(Header(group))
            rows.append(one)
        self._more = more
        if len(rows) == len(self._rows) and all(
            isinstance(old, Header) == isinstance(new, Header)
            for old, new in zip(self._rows, rows, strict=True)
        ):
            # The same shape: selection and scroll position stay.
            changed = [number for number, row in enumerate(rows) if row != self._rows[number]]
            self._rows = rows
            for number in changed:
                self.dataChanged.emit(self.index(number), self.index(number))
            return
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def set_running(self, running: frozenset[int]) -> None:
        """The conversations in which an answer is being written."""
        changed = self._running ^ running
        self._running = running
        for conversation_id in changed:
            index = self.index_of(conversation_id)
            if index.isValid():
                self.dataChanged.emit(index, index)

    def running(self, conversation_id: int) -> bool:
        return conversation_id in self._running

    def row_at(self, index: Index) -> Header | ConversationSummary | None:
        return self._rows[index.row()] if index.isValid() and index.row() < len(self._rows) else None

    def summary_at(self, index: Index) -> ConversationSummary | None:
        row = self.row_at(index)
        return None if isinstance(row, Header) else row

    def index_of(self, conversation_id: int) -> QModelIndex:
        """Where a conversation stands; invalid when it is not listed."""
        for number, row in enumerate(self._rows):
            if not isinstance(row, Header) and row.id == conversation_id:
                return self.index(number)
        return QModelIndex()

    @property
    def folders(self) -> list[str]:
        """Those of the conversations listed, by name."""
        found = {row.folder for row in self._rows if not isinstance(row, Header) and row.folder}
        return sorted(found, key=str.casefold)

    @property
    def conversations(self) -> list[int]:
        """The ids listed, from top to bottom."""
        return [row.id for row in self._rows if not isinstance(row, Header)]

    # Qt's side
    def rowCount(self, parent: Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_at(index)
        if isinstance(row, Header):
            shown = {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole}
            return row.text if role in shown else None
        if row is None:
            return None
        title = row.title or UNTITLED
        if role in {Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.ToolTipRole}:
            return title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{title}, being answered" if row.id in self._running else title
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row = self.summary_at(index)
        if row is None or role != Qt.ItemDataRole.EditRole:
            return False
        title = " ".join(str(value).split())
        if title != row.title:
            self.renamed.emit(row.id, title)
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        if self.summary_at(index) is None:
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable

    def canFetchMore(self, parent: Index) -> bool:
        return not parent.isValid() and self._more

    def fetchMore(self, parent: Index) -> None:
        if not parent.isValid() and self._more:
            self._more = False
            self.more_wanted.emit()
