"""The Library page: the models of this machine, whether they are whole, and what they take of its disks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget, QWidget

from slmdesk.core import amounts
from slmdesk.gui.actions import Action
from slmdesk.gui.library.library_controller import LibraryController
from slmdesk.gui.library.library_detail import LibraryDetail
from slmdesk.gui.library.library_list import LibraryListModel, ModelList
from slmdesk.gui.library.library_notices import LibraryNotices
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.progress import ShareBar
from slmdesk.gui.widgets.two_panes import TwoPanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.library.importing import ImportSheet
    from slmdesk.gui.library.notice import LibraryNotice
    from slmdesk.gui.page import WindowServices
    from slmdesk.library.candidates import Candidate
    from slmdesk.library.records import LibraryModel
    from slmdesk.library.usage import DiskUsage, ModelUsage


class LibraryPage(Page):
    """Translates between widgets and `LibraryController`.

    Attributes:
        models: the list's rows.
        detail: the pane at the right.
    """

    id: ClassVar[str] = "library"
    title: ClassVar[str] = "Library"
    icon: ClassVar[str] = "library"
    can_find: ClassVar[bool] = True

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.controller = LibraryController(services, self)
        self._usage: dict[str, ModelUsage] = {}
        self._current = ""
        self._wanted = ""  # the file whose settings another page asked for, until it is shown
        self.search = SearchField(theme, "Search the library")
        self.models = LibraryListModel(self)
        self.list = ModelList(theme, self.models)
        self.search.textChanged.connect(self._search)
        self.search.left.connect(lambda: self.list.setFocus(Qt.FocusReason.TabFocusReason))
        self.list.opened.connect(self.open_model)
        self.list.moved.connect(self._moved)
        self.list.remove_wanted.connect(self._remove_model)
        self.detail = LibraryDetail(services, self.controller)
        self._import = Button(theme, "Import", icon="import")
        self._import.clicked.connect(self._open_import_menu)
        self._menu_button = IconButton(theme, "menu", "More about the library")
        self._menu_button.clicked.connect(self._open_menu)
        self.notices = LibraryNotices(theme)
        self._lay_out()

    def header_widgets(self) -> list[QWidget]:
        return [self._import, self._menu_button]

    def commands(self) -> list[Action]:
        return [
            Action("library.file", "Import a model file", self._import_file, icon="import"),
            Action("library.folder", "Import a folder of models", self._import_folder, icon="folder-add"),
            Action("library.verify", "Verify all models", self.controller.verify_all, icon="verified"),
            Action("library.duplicates", "Look for equal files", self.controller.find_equal, icon="merge"),
        ]

    def activated(self) -> None:
        self.controller.refresh()
        self.controller.watch(on=True)
        self.list.setFocus(Qt.FocusReason.OtherFocusReason)

    def deactivated(self) -> None:
        self.controller.watch(on=False)

    async def shut_down(self) -> None:
        self.deactivated()

    def find_here(self) -> None:
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def show_kept(self, file_id: str) -> None:
        """Show a file, with what it keeps in sight."""
        self._current, _, quant = file_id.partition(":")
        self._wanted = file_id if quant else ""
        self.controller.refresh()

    # Building

    def _lay_out(self) -> None:
        theme = self.theme
        left = QWidget()
        column = vbox(left, margins=(0, SPACE.medium, 0, 0), spacing=SPACE.small)
        top = hbox(margins=(SPACE.large, 0, SPACE.medium, 0))
        top.addWidget(self.search)
        column.addLayout(top)
        column.addWidget(self.notices)
        self._none = EmptyState(theme, "search", "No model of the library has this name.")
        self._list_stack = QStackedWidget()
        self._list_stack.addWidget(self.list)
        self._list_stack.addWidget(self._none)
        column.addWidget(self._list_stack, 1)
        foot = Pane(theme, ground="surface", edge="top")
        below = vbox(foot, margins=(SPACE.large, SPACE.small, SPACE.large, SPACE.medium), spacing=SPACE.tiny)
        self._disk = Label(theme, role="small", tone="secondary", wrap=True)
        self._disk_bar = ShareBar(theme, "Disk used", height=MEASURE.bar)
        below.addWidget(self._disk)
        below.addWidget(self._disk_bar)
        deleted = Button(theme, "Recently deleted", kind="quiet", icon="delete", small=True)
        deleted.clicked.connect(lambda: self.services.go_to("deleted"))
        below.addWidget(deleted, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(foot)
        self.panes = TwoPanes(theme, left, self.detail)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.panes)
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)

    # What the controller shows

    @property
    def in_sight(self) -> bool:
        return self.isVisible()

    def show_models(self, models: list[LibraryModel]) -> None:
        """Show the library's models; the one shown before stays."""
        self.models.show(models)
        self._search_state()
        row = self.models.row_of(self._current)
        if row >= 0:
            self.list.blockSignals(True)
            self.list.setCurrentIndex(self.models.index(row))
            self.list.blockSignals(False)
            self._show_current()
            if self._wanted:
                self.detail.show_kept(self._wanted)
                self.panes.show_detail()
                self._wanted = ""
        else:
            self._current = ""
            self.detail.show_model(None)

    def show_usage(self, usage: DiskUsage) -> None:
        """Show what the models take, and what is left."""
        self._usage = {one.id: one for one in usage.models}
        volume = usage.volumes[0] if usage.volumes else None
        many = amounts.counted(max(0, self.models.count), "model")
        words = f"{many}, {amounts.size(usage.total)}"
        if volume is not None:
            words += f" · {amounts.size(volume.free)} free of {amounts.size(volume.total)}"
            for other in usage.volumes[1:]:
                words += f", {amounts.size(other.free)} on {other.folders[0]}"
            used = 1 - volume.free / volume.total if volume.total else 0.0
            self._disk_bar.set_share(used, "caution" if used > 0.9 else "accent")
            self._disk_bar.setToolTip(f"{used:.0%} of the disk are used")
        self._disk.setText(words)
        self._show_current()

    @cached_property
    def imports(self) -> ImportSheet:
        """What could be imported; made when it is first wanted."""
        from slmdesk.gui.library.importing import ImportSheet

        sheet = ImportSheet(self.theme)
        sheet.closed.connect(self.close_imports)
        sheet.wanted.connect(self.controller.take)
        self._stack.addWidget(sheet)
        return sheet

    def wait_for_imports(self) -> None:
        self.imports.wait()
        self._stack.setCurrentWidget(self.imports)
        self.imports.setFocus()

    def show_candidates(self, found: Sequence[Candidate]) -> None:
        self.imports.show_candidates(found)

    def close_imports(self) -> None:
        """Back to the list."""
        self._stack.setCurrentIndex(0)
        self.list.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_imported(self, model_id: str) -> None:
        """Whichever was shown before, what has just come is shown from the next listing on."""
        self._current = model_id
        self.search.clear()
        self.panes.show_detail()

    def show_loading(self, *, on: bool) -> None:
        self.detail.set_busy(on=on)

    def say(self, notice: LibraryNotice) -> None:
        self.notices.put(notice)

    def unsay(self, key: str) -> None:
        self.notices.take_away(key)

    # What the person does

    def open_model(self, model_id: str) -> None:
        """Show a model beside the list."""
        self._current = model_id
        self._show_current()
        self.panes.show_detail()

    def _moved(self, model_id: str) -> None:
        # Where the detail lies over the list, arrow keys only move; Enter opens.
        self._current = model_id
        if not self.panes.narrow:
            self.open_model(model_id)

    def _show_current(self) -> None:
        model = self.models.model(self.models.index(self.models.row_of(self._current)))
        if model is not None:
            self.detail.show_model(model, self._usage.get(model.id))

    def _search(self, words: str) -> None:
        self.models.search(words)
        self._search_state()

    def _search_state(self) -> None:
        self._list_stack.setCurrentIndex(1 if not self.models.shown and self.search.text() else 0)

    def _remove_model(self, model_id: str) -> None:
        model = self.models.model(self.models.index(self.models.row_of(model_id)))
        if model is not None:
            self.controller.remove(list(model.files), model.name)

    def _import_file(self) -> None:
        self.services.go_to(self.id)
        self.controller.ask_file()

    def _import_folder(self) -> None:
        self.services.go_to(self.id)
        self.controller.ask_folder()

    def _open_import_menu(self) -> None:
        menu = Menu(self.theme, parent=self)
        menu.add("A model file …", self.controller.ask_file, icon="file")
        menu.add("A folder …", self.controller.ask_folder, icon="folder")
        menu.addSeparator()
        for title, look in self.controller.other_programs():
            menu.add(f"From {title}", look, icon="import")
        menu.open_below(self._import)

    def _open_menu(self) -> None:
        controller = self.controller
        menu = Menu(self.theme, parent=self)
        menu.add("Verify all models", controller.verify_all, icon="verified")
        menu.add("Look for newer versions", controller.check_upstream, icon="changed")
        menu.add("Look for equal files", controller.find_equal, icon="merge")
        menu.add("Look for unfinished files", controller.find_orphans, icon="partial")
        menu.addSeparator()
        menu.add("Show the models folder", lambda: controller.show_folder(None), icon="folder")
        menu.add("Move the models folder …", controller.move_folder, icon="switch")
        menu.add("Choose models folders", lambda: self.services.go_to("settings"), icon="settings")
        menu.open_below(self._menu_button)
