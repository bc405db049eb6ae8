"""The conversations at the left: search, New chat, and the list."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QPoint, Qt, QTimer, Signal
from PySide6.QtWidgets import QAbstractItemView, QListView, QStackedWidget, QWidget

from slmdesk.gui.chat.conversation_delegate import ConversationDelegate
from slmdesk.gui.chat.conversation_model import ConversationModel
from slmdesk.gui.chat.exporting import FORMS
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.name_line import NameLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QKeyEvent
    from PySide6.QtWidgets import QHBoxLayout

    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.gui.theme import Theme

SEARCH_MS = 120
"""A search begins this long after the last key."""


class _ConversationView(QListView):
    """Keys beyond those of a list view: Enter opens, F2 renames, Delete deletes."""

    chosen = Signal(QModelIndex)
    rename = Signal(QModelIndex)
    remove = Signal(QModelIndex)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        key = event.key()
        if key in {Qt.Key.Key_Return, Qt.Key.Key_Enter} and index.isValid():
            self.chosen.emit(index)
        elif key == Qt.Key.Key_F2 and index.isValid():
            self.rename.emit(index)
        elif key in {Qt.Key.Key_Delete, Qt.Key.Key_Backspace} and index.isValid():
            self.remove.emit(index)
        else:
            super().keyPressEvent(event)


class ConversationList(Pane):
    """The left pane.

    Attributes:
        search: the field on top.
        model: the rows.

    Signals:
        opened(int): a conversation should be shown.
        new_wanted: a new chat should begin.
        searched(str): other conversations should be listed.
        renamed(int, str): a conversation has another title.
        deleted(int): a conversation should be deleted.
        export_wanted(int, str): a conversation should be written to a file, in this form.
        pinned(int, bool): a conversation should stand before the others, or no longer.
        duplicated(int): a copy of a conversation is wanted.
        moved(int, str): a conversation should be in another folder; "" in none.
        more_wanted: more rows are needed.
        import_wanted: conversations should be brought in from a file.
        deleted_wanted: the person looks for a deleted conversation.
    """

    opened = Signal(int)
    new_wanted = Signal()
    searched = Signal(str)
    renamed = Signal(int, str)
    deleted = Signal(int)
    export_wanted = Signal(int, str)
    pinned = Signal(int, bool)
    duplicated = Signal(int)
    moved = Signal(int, str)
    more_wanted = Signal()
    deleted_wanted = Signal()
    import_wanted = Signal()

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(theme, ground="window", edge="right", parent=parent)
        self.setAccessibleName("Conversations")
        self.search = SearchField(theme, "Search conversations")
        self.search.left.connect(self._into_list)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(SEARCH_MS)
        self._later.timeout.connect(lambda: self.searched.emit(self.search.text().strip()))
        self.search.textChanged.connect(lambda _text: self._later.start())
        new = IconButton(theme, "add", "New chat", kind="secondary", tip="New chat (Ctrl+N)")
        new.clicked.connect(self.new_wanted)
        top = hbox(spacing=SPACE.small)
        top.addWidget(self.search, 1)
        top.addWidget(new)

        self.model = ConversationModel(self)
        self.model.renamed.connect(self.renamed)
        self.model.more_wanted.connect(self.more_wanted)
        self.view = _ConversationView()
        self.view.setProperty("kind", "bare")
        self.view.setAccessibleName("Conversations")
        self.view.setModel(self.model)
        self._delegate = ConversationDelegate(theme, self.model, self.view)
        self.view.setItemDelegate(self._delegate)
        self.view.setMouseTracking(True)
        self.view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._menu_at)
        self.view.clicked.connect(self._open)
        self.view.chosen.connect(self._open)
        self.view.rename.connect(self.view.edit)
        self.view.remove.connect(self._remove)
        theme.changed.connect(self.view.scheduleDelayedItemsLayout)
        self._empty = Label(theme, "", tone="secondary", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        self._empty.setContentsMargins(SPACE.large, SPACE.huge, SPACE.large, 0)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.view)
        self._pages.addWidget(self._empty)
        layout = vbox(
            self, margins=(SPACE.small, SPACE.medium, SPACE.small, SPACE.small), spacing=SPACE.small
        )
        self._moving = 0  # the conversation whose new folder is being named
        self.naming = self._naming_line()
        layout.addLayout(top)
        layout.addWidget(self.naming)
        layout.addWidget(self._pages, 1)
        layout.addLayout(self._foot())

    def _foot(self) -> QHBoxLayout:
        deleted = Button(self.theme, "Recently deleted", kind="quiet", icon="delete", small=True)
        deleted.clicked.connect(self.deleted_wanted)
        bring = IconButton(self.theme, "import", "Import conversations", small=True)
        bring.clicked.connect(self.import_wanted)
        foot = hbox(spacing=SPACE.small)
        foot.addWidget(deleted)
        foot.addStretch(1)
        foot.addWidget(bring)
        return foot

    def _naming_line(self) -> NameLine:
        line = NameLine(self.theme, "Name of the folder")
        line.named.connect(lambda name: self.moved.emit(self._moving, name))
        line.left.connect(self.view.setFocus)
        return line

    # content
    def show_summaries(self, summaries: Sequence[ConversationSummary], *, searched: str, more: bool) -> None:
        """Show what was found for `searched`, or all conversations by date when that is empty."""
        self.model.show_summaries(summaries, grouped=not searched, more=more)
        if searched:
            self._empty.setText(f"No conversation holds “{searched}”. Search for fewer words.")
        else:
            self._empty.setText("Your conversations will stand here. Ask something to begin one.")
        self._pages.setCurrentWidget(self.view if summaries else self._empty)
        self._mark()

    def set_current(self, conversation_id: int) -> None:
        """Mark the conversation shown beside the list; 0 for a new one."""
        self._delegate.current = conversation_id
        self._mark()
        self.view.viewport().update()

    @property
    def current(self) -> int:
        return self._delegate.current

    def _mark(self) -> None:
        index = self.model.index_of(self._delegate.current)
        selection = self.view.selectionModel()
        if index.isValid():
            selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        elif not self.view.hasFocus():
            selection.clear()

    def rename(self, conversation_id: int) -> None:
        """Let the person change a title in its row."""
        index = self.model.index_of(conversation_id)
        if index.isValid():
            self.view.scrollTo(index)
            self.view.edit(index)

    # the person's side
    def _open(self, index: QModelIndex) -> None:
        row = self.model.summary_at(index)
        if row is not None:
            self.opened.emit(row.id)

    def _remove(self, index: QModelIndex) -> None:
        row = self.model.summary_at(index)
        if row is not None:
            self.deleted.emit(row.id)

    def _into_list(self) -> None:
        for number in range(self.model.rowCount()):
            index = self.model.index(number)
            if self.model.summary_at(index) is not None:
                self.view.setCurrentIndex(index)
                self.view.setFocus(Qt.FocusReason.TabFocusReason)
                return

    def menu_for(self, conversation_id: int) -> Menu:
        """What can be done with a conversation."""
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        row = self.model.summary_at(self.model.index_of(conversation_id))
        pinned = row is not None and row.pinned
        menu.add(
            "Unpin" if pinned else "Pin", lambda: self.pinned.emit(conversation_id, not pinned), icon="pin"
        )
        menu.add("Rename", lambda: self.rename(conversation_id), icon="edit")
        menu.add("Duplicate", lambda: self.duplicated.emit(conversation_id), icon="copy")
        menu.addMenu(self._folders_for(conversation_id, row.folder if row is not None else "", menu))
        menu.addSeparator()
        below = Menu(self.theme, parent=menu)
        below.setTitle("Export as")
        below.setIcon(self.theme.icon("export"))
        for form, words in FORMS.items():
            below.add(words, partial(self.export_wanted.emit, conversation_id, form))
        menu.addMenu(below)
        menu.addSeparator()
        menu.add("Delete", lambda: self.deleted.emit(conversation_id), icon="delete")
        return menu

    def _folders_for(self, conversation_id: int, now: str, parent: Menu) -> Menu:
        menu = Menu(self.theme, parent=parent)
        menu.setTitle("Move to folder")
        menu.setIcon(self.theme.icon("folder"))
        for folder in self.model.folders:
            words = folder.replace("&", "&&")  # which marks a letter in a menu
            menu.add(words, partial(self.moved.emit, conversation_id, folder), enabled=folder != now)
        if self.model.folders:
            menu.addSeparator()
        menu.add("New folder…", lambda: self._name_folder(conversation_id), icon="folder-add")
        if now:
            menu.add("Out of the folder", lambda: self.moved.emit(conversation_id, ""))
        return menu

    def _name_folder(self, conversation_id: int) -> None:
        self._moving = conversation_id
        self.naming.ask()

    def _menu_at(self, point: QPoint) -> None:
        index = self.view.indexAt(point)
        row = self.model.summary_at(index)
        if row is not None:
            self.menu_for(row.id).popup(self.view.viewport().mapToGlobal(point))
