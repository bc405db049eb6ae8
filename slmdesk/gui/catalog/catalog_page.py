"""The Catalog page: find a model that fits, and bring it here."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QStackedWidget, QWidget

from slmdesk.gui.actions import Action
from slmdesk.gui.catalog.catalog_controller import CatalogController
from slmdesk.gui.catalog.catalog_detail import CatalogDetail
from slmdesk.gui.catalog.filters import Filters
from slmdesk.gui.catalog.results import ResultList, Results
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import SearchField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.two_panes import TwoPanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slmdesk.catalog.advise import Advice
    from slmdesk.catalog.pages import Comparison
    from slmdesk.catalog.records import CatalogEntry
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
    """

    id: ClassVar[str] = "catalog"
    title: ClassVar[str] = "Catalog"
    icon: ClassVar[str] = "catalog"
    can_find: ClassVar[bool] = True

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.controller = controller = CatalogController(services, self)
        self.search = SearchField(theme, "Search models, or paste an address")
        self.search.textChanged.connect(lambda _: self.look())
        self.search.left.connect(self._to_list)
        self.filters = Filters(theme)
        self.filters.changed.connect(self.look)
        self.model = Results(controller, self)
        self.results = ResultList(theme, self.model)
        self.results.opened.connect(self.open_entry)
        self.results.download_wanted.connect(controller.download_best)
        self.results.more_wanted.connect(controller.more)
        self.results.up.connect(lambda: self.search.setFocus(Qt.FocusReason.BacktabFocusReason))
        self.detail = CatalogDetail(theme, controller.file_here, self.help_choose)
        self._advise = Button(theme, "Help me choose", kind="quiet", icon="idea")
        self._advise.clicked.connect(self.help_choose)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._look_closer)
        self.results.looked_at.connect(self._rest.start)
        self._connect_detail()
        self._lay_out()

    def header_widgets(self) -> list[QWidget]:
        return [self._advise]

    def commands(self) -> list[Action]:
        return [
            Action("catalog.find", "Find a model", self._find_action, "Ctrl+Shift+F", icon="search"),
            Action("catalog.advise", "Help me choose a model", self._advise_action, icon="idea"),
        ]

    def begin(self) -> None:
        self.look()

    def activated(self) -> None:
        self.controller.refresh()
        self.search.setFocus(Qt.FocusReason.OtherFocusReason)

    def open_repo(self, repo: str, *, ask_token: bool = False) -> None:
        """Show a repository of the hub; with `ask_token` it is said that it wants an access token."""
        self._stack.setCurrentIndex(0)
        self.controller.open_repo(repo, ask_token=ask_token)

    def network_changed(self) -> None:
        self.look()
        self.controller.network_changed()

    async def shut_down(self) -> None:
        self.detail.close_up()

    # Building

    def _connect_detail(self) -> None:
        detail, controller, services = self.detail, self.controller, self.services
        detail.download_wanted.connect(controller.download)
        detail.chat_wanted.connect(services.visit.chat_with)
        detail.repo_wanted.connect(controller.open_files)
        detail.context_wanted.connect(controller.judge_again)
        detail.compare_toggled.connect(controller.choose_for_comparing)
        detail.page_wanted.connect(controller.show_on_hub)
        detail.retry.connect(controller.open_files)
        detail.downloads_wanted.connect(lambda: services.go_to("downloads"))
        detail.token_given.connect(controller.take_token)
        detail.again.connect(controller.try_again)

    @cached_property
    def advice(self) -> AdviceSheet:
        """The three questions; made when they are first asked."""
        from slmdesk.gui.catalog.sheets import AdviceSheet

        sheet = AdviceSheet(self.theme)
        sheet.closed.connect(self.close_sheet)
        sheet.opened.connect(self.open_repo)
        sheet.answered.connect(self._answer)
        self._stack.addWidget(sheet)
        return sheet

    @cached_property
    def comparison(self) -> CompareModelsSheet:
        """Models side by side; made when it is first wanted."""
        from slmdesk.gui.catalog.sheets import CompareModelsSheet

        sheet = CompareModelsSheet(self.theme)
        sheet.closed.connect(self.close_sheet)
        sheet.opened.connect(self.open_repo)
        self._stack.addWidget(sheet)
        return sheet

    def _lay_out(self) -> None:
        theme = self.theme
        left = QWidget()
        column = vbox(left, margins=(0, SPACE.medium, 0, 0), spacing=SPACE.small)
        top = vbox(margins=(SPACE.large, 0, SPACE.medium, 0), spacing=SPACE.small)
        top.addWidget(self.search)
        top.addWidget(self.filters)
        column.addLayout(top)
        self._note = QWidget()
        note = hbox(self._note, margins=(SPACE.large, 0, SPACE.medium, 0), spacing=SPACE.tiny)
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
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)

    def _make_foot(self) -> QWidget:
        """The bar of the models chosen for comparing."""
        theme = self.theme
        self._foot = Pane(theme, ground="surface", edge="top")
        row = hbox(
            self._foot, margins=(SPACE.large, SPACE.small, SPACE.medium, SPACE.small), spacing=SPACE.small
        )
        self._foot_words = Label(theme, role="small", tone="secondary")
        row.addWidget(self._foot_words, 1)
        clear = Button(theme, "Clear", kind="quiet", small=True)
        clear.clicked.connect(self.controller.clear_compared)
        self._compare = Button(theme, "Compare", small=True, icon="compare")
        self._compare.clicked.connect(self.compare)
        row.addWidget(clear)
        row.addWidget(self._compare)
        self._foot.hide()
        return self._foot

    # What the controller shows

    def show_free_memory(self, available: int) -> None:
        self.filters.memory = available

    def show_results(self, entries: Iterable[CatalogEntry], *, from_top: bool) -> None:
        self.model.show(entries)
        if from_top:
            self.results.scrollToTop()

    def add_results(self, entries: Iterable[CatalogEntry]) -> int:
        return self.model.take(entries)

    def has_result(self, entry_id: str) -> bool:
        return self.model.row_of(entry_id) >= 0

    def mark_result(self, entry_id: str) -> None:
        self.results.mark(entry_id)

    def show_result_anew(self, entry_id: str) -> None:
        self.model.touch(entry_id)

    def show_results_anew(self) -> None:
        self.results.viewport().update()

    def fills_view(self) -> bool:
        return self.results.look_again()

    def show_detail(self) -> None:
        self.panes.show_detail()

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

    def show_compared(self, repos: list[str]) -> None:
        """The bar at the foot."""
        self._foot.setVisible(bool(repos))
        many = len(repos)
        self._foot_words.setText(
            "Choose another model to compare." if many == 1 else f"{many} models to compare"
        )
        self._compare.setEnabled(many >= 2)

    def show_comparison(self, found: Comparison) -> None:
        self.comparison.show_comparison(found)

    def show_machine(self, words: str) -> None:
        self.advice.show_machine(words)

    def show_advice(self, found: Sequence[Advice]) -> None:
        self.advice.show_advice(found)

    def close_sheet(self) -> None:
        self._stack.setCurrentIndex(0)
        self.search.setFocus(Qt.FocusReason.OtherFocusReason)

    # What the person does

    def look(self) -> None:
        """Search anew with the words and filters in force."""
        self.controller.search(self.filters.query(self.search.text()))

    def open_entry(self, entry_id: str) -> None:
        """Show one of the results beside the list."""
        entry = next((one for one in self.model.entries if one.id == entry_id), None)
        if entry is not None:
            self.panes.show_detail()
            self.controller.open(entry)

    def help_choose(self) -> None:
        """Ask the three questions."""
        self._stack.setCurrentWidget(self.advice)
        self.advice.setFocus()
        self._answer()

    def _answer(self) -> None:
        sheet = self.advice
        self.controller.advise(sheet.use.value, sheet.priority.value, sheet.language.value)

    def compare(self) -> None:
        """Show the models chosen side by side."""
        self.comparison.wait()
        self._stack.setCurrentWidget(self.comparison)
        self.comparison.setFocus()
        self.controller.compare()

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

    def _look_closer(self) -> None:
        if self.isVisible():
            self.controller.look_closer(self.results.visible_entries())
