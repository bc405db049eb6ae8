"""The Catalog page: find a model that fits, and bring it here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from slmdesk.gui.actions import Action
from slmdesk.gui.catalog.catalog_detail import CatalogDetail
from slmdesk.gui.catalog.filters import Filters
from slmdesk.gui.catalog.results import ResultList, Results
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.two_panes import TwoPanes

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.records import CatalogEntry
    from slmdesk.gui.catalog.catalog_controller import CatalogController
    from slmdesk.gui.catalog.row_words import BestOffer
    from slmdesk.gui.catalog.sheets import AdviceSheet, CompareModelsSheet
    from slmdesk.gui.page import Remedy, WindowServices

REST_MS = 500
"""Rows that stay in sight this long are looked at more closely."""


class CatalogPage(Page):
    """Translates between widgets and `CatalogController`.

    Attributes:
        search: the field that has the focus.
        results: the list.
        detail: the pane at the right.
        controller: there from the first `activated` on.
    """

    id: ClassVar[str] = "catalog"
    title: ClassVar[str] = "Catalog"
    icon: ClassVar[str] = "catalog"
    can_find: ClassVar[bool] = True

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.controller: CatalogController | None = None
        self.search = SearchField(theme, "Search models, or paste an address")
        self.search.textChanged.connect(lambda _: self.look())
        self.search.left.connect(self._to_list)
        self.filters = Filters(theme)
        self.filters.changed.connect(self.look)
        self.model = Results(self._offer_of, self)
        self.model.state_of = self._state_of
        self.results = ResultList(theme, self.model)
        self.results.opened.connect(self.open_entry)
        self.results.download_wanted.connect(self._download_best)
        self.results.more_wanted.connect(self._more)
        self.results.up.connect(lambda: self.search.setFocus(Qt.FocusReason.BacktabFocusReason))
        self.detail = CatalogDetail(theme, self._file_here, self.help_choose)
        self._advise = Button(theme, "Help me choose", kind="quiet", icon="idea")
        self._advise.clicked.connect(self.help_choose)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._look_closer)
        self.results.looked_at.connect(self._rest.start)
        self._compare_sheet: CompareModelsSheet | None = None
        self._advice_sheet: AdviceSheet | None = None
        self._lay_out()
        services.jobs.changed.connect(self._jobs_changed)

    def header_widgets(self) -> list[QWidget]:
        return [self._advise]

    def commands(self) -> list[Action]:
        return [
            Action("catalog.find", "Find a model", self._find_action, "Ctrl+Shift+F", icon="search"),
            Action("catalog.advise", "Help me choose a model", self._advise_action, icon="idea"),
        ]

    def activated(self) -> None:
        if self.controller is None:
            from slmdesk.gui.catalog.catalog_controller import CatalogController

            self.controller = CatalogController(self.services, self)
            self.model.catalog = self.services.application.catalog
            self.controller.refresh()
            self.look()
        else:
            self.controller.refresh()
        self.search.setFocus(Qt.FocusReason.OtherFocusReason)

    def asked(self, what: str, value: str) -> None:
        if what in {"catalog", "token", "show"} and value and self.controller is not None:
            self._stack.setCurrentIndex(0)
            self.controller.open_repo(value, ask_token=what == "token")

    def network_changed(self) -> None:
        if self.controller is not None:
            self.look()
            self.controller.network_changed()

    async def shut_down(self) -> None:
        self.detail.close_up()

    # Building

    def _lay_out(self) -> None:
        theme = self.theme
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, SPACE.medium, 0, 0)
        column.setSpacing(SPACE.small)
        top = QVBoxLayout()
        top.setContentsMargins(SPACE.large, 0, SPACE.medium, 0)
        top.setSpacing(SPACE.small)
        top.addWidget(self.search)
        top.addWidget(self.filters)
        column.addLayout(top)
        self._note = QWidget()
        note = QHBoxLayout(self._note)
        note.setContentsMargins(SPACE.large, 0, SPACE.medium, 0)
        note.setSpacing(SPACE.tiny)
        mark = Icon(theme, "offline", size=MEASURE.icon_small, colour="caution")
        note.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
        self._note_words = Label(theme, role="small", tone="caution", wrap=True)
        note.addWidget(self._note_words, 1)
        self._note_button = Button(theme, "Try again", kind="link", small=True)
        self._note_button.clicked.connect(lambda _checked: self._mend_note())
        self._mend_note: Callable[[], object] = self.look
        note.addWidget(self._note_button, 0, Qt.AlignmentFlag.AlignTop)
        self._note.hide()
        column.addWidget(self._note)
        self._empty = EmptyState(
            theme,
            "search",
            "No model has this name and passes the filters.",
            action=("Clear the filters", self.filters.clear),
        )
        self._list_stack = QStackedWidget()
        self._list_stack.addWidget(self.results)
        self._list_stack.addWidget(self._empty)
        column.addWidget(self._list_stack, 1)
        column.addWidget(self._make_foot())
        self.panes = TwoPanes(theme, left, self.detail)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.panes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)

    def _make_foot(self) -> QWidget:
        """The bar of the models chosen for comparing."""
        theme = self.theme
        self._foot = Pane(theme, ground="surface", edge="top")
        row = QHBoxLayout(self._foot)
        row.setContentsMargins(SPACE.large, SPACE.small, SPACE.medium, SPACE.small)
        row.setSpacing(SPACE.small)
        self._foot_words = Label(theme, role="small", tone="secondary")
        row.addWidget(self._foot_words, 1)
        clear = Button(theme, "Clear", kind="quiet", small=True)
        clear.clicked.connect(self._clear_compared)
        self._compare = Button(theme, "Compare", small=True, icon="compare")
        self._compare.clicked.connect(self.compare)
        row.addWidget(clear)
        row.addWidget(self._compare)
        self._foot.hide()
        return self._foot

    # What the controller shows

    def show_note(self, words: str, remedy: Remedy | None = None) -> None:
        """One line on why the hub did not answer, with what helps, or else a new try; "" when it did."""
        self._note_words.setText(words)
        name, self._mend_note = remedy or ("Try again", self.look)
        self._note_button.setText(name)
        self._note.setVisible(bool(words))

    def show_found(self, *, searching: bool) -> None:
        """After entries came: the list, or that there is nothing."""
        nothing = not self.model.entries and not searching
        self._list_stack.setCurrentIndex(1 if nothing else 0)

    def show_compared(self, names: list[str]) -> None:
        """The bar at the foot."""
        self._foot.setVisible(bool(names))
        many = len(names)
        self._foot_words.setText(
            "Choose another model to compare." if many == 1 else f"{many} models to compare"
        )
        self._compare.setEnabled(many >= 2)

    # What the person does

    def look(self) -> None:
        """Search anew with the words and filters in force."""
        if self.controller is not None:
            self.controller.search(self.filters.query(self.search.text()))

    def open_entry(self, entry_id: str) -> None:
        """Show one of the results beside the list."""
        if self.controller is None:
            return
        entry = next((one for one in self.model.entries if one.id == entry_id), None)
        if entry is not None:
            self.panes.show_detail()
            self.controller.open(entry)

    def _download_best(self, entry_id: str) -> None:
        if self.controller is not None:
            self.controller.download_best(entry_id)

    def help_choose(self) -> None:
        """Ask the three questions."""
        if self.controller is None:
            return
        if self._advice_sheet is None:
            from slmdesk.gui.catalog.sheets import AdviceSheet

            self._advice_sheet = AdviceSheet(self.theme)
            self._advice_sheet.closed.connect(self._close_sheet)
            self._advice_sheet.opened.connect(self._open_from_sheet)
            self._advice_sheet.asked.connect(self._ask)
            self._stack.addWidget(self._advice_sheet)
        self._stack.setCurrentWidget(self._advice_sheet)
        self._advice_sheet.setFocus()
        self._ask()

    def _ask(self) -> None:
        if self.controller is not None and self._advice_sheet is not None:
            self.controller.advise(self._advice_sheet)

    def compare(self) -> None:
        """Show the models chosen side by side."""
        if self.controller is None:
            return
        if self._compare_sheet is None:
            from slmdesk.gui.catalog.sheets import CompareModelsSheet

            self._compare_sheet = CompareModelsSheet(self.theme)
            self._compare_sheet.closed.connect(self._close_sheet)
            self._compare_sheet.opened.connect(self._open_from_sheet)
            self._stack.addWidget(self._compare_sheet)
        self._compare_sheet.wait()
        self._stack.setCurrentWidget(self._compare_sheet)
        self._compare_sheet.setFocus()
        self.controller.compare(self._compare_sheet)

    def _clear_compared(self) -> None:
        if self.controller is not None:
            self.controller.clear_compared()

    def _close_sheet(self) -> None:
        self._stack.setCurrentIndex(0)
        self.search.setFocus(Qt.FocusReason.OtherFocusReason)

    def _open_from_sheet(self, repo: str) -> None:
        self._stack.setCurrentIndex(0)
        if self.controller is not None:
            self.controller.open_repo(repo)

    def _find_action(self) -> None:
        self.services.go_to(self.id)
        self.find_here()

    def find_here(self) -> None:
        self._stack.setCurrentIndex(0)
        self.panes.hide_detail()
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def _advise_action(self) -> None:
        self.services.go_to(self.id)
        self.help_choose()

    def _to_list(self) -> None:
        """Down goes into the list; Enter opens the first result."""
        if not self.model.entries:
            return
        if not self.results.currentIndex().isValid():
            self.results.setCurrentIndex(self.model.index(0))
        self.results.setFocus(Qt.FocusReason.TabFocusReason)

    def _more(self) -> None:
        if self.controller is not None:
            self.controller.more()

    def _look_closer(self) -> None:
        if self.controller is not None and self.isVisible():
            self.controller.look_closer(self.results.visible_entries())

    def _jobs_changed(self) -> None:
        if self.controller is not None:
            self.controller.jobs_changed()

    # What the rows and the table ask

    def _offer_of(self, entry: CatalogEntry) -> BestOffer:
        if self.controller is None:
            from slmdesk.gui.catalog.row_words import BestOffer

            return BestOffer("", None, exact=False)
        return self.controller.offer_of(entry)

    def _state_of(self, entry: CatalogEntry) -> str:
        return self.controller.state_of(entry) if self.controller is not None else ""

    def _file_here(self, repo: str, choice: Choice) -> str:
        return self.controller.file_here(repo, choice) if self.controller is not None else ""
