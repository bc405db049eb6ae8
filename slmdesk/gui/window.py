"""The window: rail, header, pages and status strip, and what it does for the pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QByteArray, QSize, Qt, Signal
from PySide6.QtWidgets import QSizePolicy, QStackedWidget, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.actions import Action, Actions
from slmdesk.gui.dropping import Dropping
from slmdesk.gui.error_panels import EVERYWHERE, ErrorPanels
from slmdesk.gui.job_watch import JobWatch, summary
from slmdesk.gui.loaded import LoadedWatch
from slmdesk.gui.rail import Rail
from slmdesk.gui.strip import StatusStrip
from slmdesk.gui.tasks import Tasks
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.undoing import Undoing
from slmdesk.gui.visits import Visits
from slmdesk.gui.widgets.base import ElidedLabel, Pane
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from PySide6.QtGui import QCloseEvent, QKeyEvent, QResizeEvent

    from slmdesk.application import Application
    from slmdesk.core.settings import Settings
    from slmdesk.core.state import StateFile
    from slmdesk.gui.live_settings import LiveSettings
    from slmdesk.gui.page import Page, Remedy, WindowServices
    from slmdesk.gui.palette import Palette
    from slmdesk.gui.widgets.toast import Toast

T = TypeVar("T")


@dataclass(frozen=True)
class PageSpec:
    """A page the window can show. It is built when it is first shown.

    `foot` puts it at the foot of the rail, `listed=False` leaves it out of the rail; `shortcut` comes before the
    number every listed page has. `early` are
    actions (id, title, shortcut, icon) that are offered before the page is built: they build and show it and
    then run the page's own action of that id.
    """

    id: str
    title: str
    icon: str
    build: Callable[[WindowServices], Page]
    foot: bool = False
    listed: bool = True
    shortcut: str = ""
    early: tuple[tuple[str, str, str, str], ...] = ()


class MainWindow(QWidget):
    """The frame. Implements `WindowServices`. It begins with the page `begin`, or with the one it was closed on.

    Attributes:
        actions_known: every action, for shortcuts and the palette.
        strip: the status strip.

    Signals:
        close_wanted: the person closed the window; it stays until `close_now`.
        attached: the application is there and the event loop runs.
        near: the id of a page that may be wanted soon.
    """

    close_wanted = Signal()
    attached = Signal()
    near = Signal(str)

    def __init__(
        self,
        theme: Theme,
        live: LiveSettings,
        state: StateFile,
        specs: Sequence[PageSpec],
        *,
        begin: str = "",
    ) -> None:
        super().__init__()
        self.theme = theme
        self.live = live
        self.state = state
        self.setWindowTitle("SLM Desk")
        self.setMinimumSize(MEASURE.minimum_width, MEASURE.minimum_height)
        self._specs = {spec.id: spec for spec in specs}
        self._pages: dict[str, Page] = {}
        self._current = ""
        self._application: Application | None = None
        self._closing = False
        self.notices = ErrorPanels(theme, lambda: self._pages[self._current])
        self._tasks = Tasks(self._failed, self.notices.worked)
        self._toast: Toast | None = None
        self._holds_toasts = False
        self._palette: Palette | None = None
        self._undoing = Undoing()
        self._begun: set[str] = set()
        self._ready: asyncio.Event | None = None  # what waits for the application
        self._errand: Callable[[], object] | None = (
            None  # of the latest visit, until the application is there
        )
        self.visit = Visits(self)
        self.jobs = JobWatch(self)
        self.loaded = LoadedWatch(self)
        self.actions_known = Actions(self)
        self._lay_out()
        Dropping(self, self._content)
        self._declare_actions()
        self._restore_geometry(begin)

    # What pages ask of the window.

    @property
    def settings(self) -> Settings:
        return self.live.settings

    @property
    def application(self) -> Application:
        if self._application is None:
            raise RuntimeError("the application is built after the first paint; use it from `Page.begin` on")
        return self._application

    @property
    def has_application(self) -> bool:
        return self._application is not None

    def run(self, work: Coroutine[Any, Any, T], where: str = "") -> asyncio.Task[T]:
        if self.has_application:
            return self._tasks.start(work, where)
        task = self._tasks.start(self._once_ready(work), where)
        task.add_done_callback(lambda _task: work.close())  # where the window closed before it could begin
        return task

    def when_ready(self, errand: Callable[[], object]) -> None:
        """Do something now, or once the application is there; then the latest such errand alone is done."""
        if self.has_application:
            errand()
        else:
            self._errand = errand

    def toast(self, text: str, undo: Callable[[], object] | None = None, undo_text: str = "Undo") -> None:
        if self._toast is None:
            from slmdesk.gui.widgets.toast import Toast

            self._toast = Toast(self.theme, self._content, self._foot_height)
            self._toast.held = self._holds_toasts
        # What a button like "Open" does is no change to be undone.
        undoable = undo is not None and undo_text == "Undo"
        self._toast.tell(text, self._undoing.add(text, undo) if undoable and undo else undo, undo_text)

    def _foot_height(self) -> int:
        return self._pages[self._current].foot_height()

    def show_error(
        self, error: BaseException, remedy: Remedy | None = None, *, everywhere: bool = False
    ) -> None:
        self.notices.add(error, remedy, page=EVERYWHERE if everywhere else self._current)

    def go_to(self, page_id: str) -> None:
        if page_id == self._current:
            return
        page = self.page(page_id)
        before = self._pages.get(self._current)
        if before is not None:
            before.deactivated()
        self._current = page_id
        spec = self._specs[page_id]
        self._title.setText(spec.title)
        self._stack.setCurrentWidget(page)
        self.notices.go_to(page_id)
        self._header_slots.setCurrentIndex(self._stack.currentIndex())
        if spec.listed:
            self._rail.set_current(page_id)
        else:
            self._rail.set_none()
        # Tab goes on from here into the page, and no button wears a focus ring unasked.
        page.setFocus(Qt.FocusReason.OtherFocusReason)
        if self.has_application:
            self._activate(page)
        if self._toast is not None:
            self._toast.place()

    def network_changed(self) -> None:
        """Tell the pages that the program works offline now, or no longer."""
        for page in self._pages.values():
            page.network_changed()

    # What the program does with the window.

    @property
    def current(self) -> str:
        """The id of the current page."""
        return self._current

    @property
    def errors_shown(self) -> list[BaseException]:
        """The errors in the panels at the top, newest first."""
        return self.notices.errors

    @property
    def message(self) -> str:
        """The toast's words; "" when there is none."""
        return self._toast.message if self._toast is not None and self._toast.isVisible() else ""

    def hold_messages(self) -> None:
        """From now on a message stays until the next one, or until it is put away."""
        self._holds_toasts = True
        if self._toast is not None:
            self._toast.held = True

    def put_message_away(self) -> None:
        """Hide the toast, if there is one."""
        if self._toast is not None:
            self._toast.put_away()

    def undo(self) -> bool:
        """Undo the latest change, also one whose message is gone. False when there is none."""
        if self._toast is not None and self._toast.isVisible() and self._toast.offers_undo:
            return self._toast.undo()
        undone = self._undoing.undo()
        if undone:
            self.toast(f"Undone: {undone}")
        return bool(undone)

    def open_palette(self) -> None:
        """Open the palette of every action, or close it."""
        self.palette_of_actions().open()

    def palette_of_actions(self) -> Palette:
        if self._palette is None:
            from slmdesk.gui.finding import Finder
            from slmdesk.gui.palette import Palette

            self._palette = Palette(self.theme, self.actions_known, self)
            self._finder = Finder(self, self._palette)
        return self._palette

    def attach(self, application: Application) -> None:
        """Hand over the application; the event loop must run. Its problems are shown, the page goes on."""
        self._application = application
        for problem in application.problems:
            self.show_error(problem, everywhere=True)
        if self._current:
            self._activate(self._pages[self._current])
        self.jobs.start(application.jobs, self.run)
        if self._ready is not None:
            self._ready.set()
        if self._errand is not None:
            self._errand()
        self.attached.emit()

    def bring_up(self) -> None:
        """Show the window in front of the others."""
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    async def shut_down(self) -> None:
        """End the pages and every task; the window may be closed afterwards."""
        self.state.update(
            {
                "window.geometry": bytes(self.saveGeometry().toBase64().data()).decode(),
                "window.place": self._current,
            }
        )
        for page in self._pages.values():
            await page.shut_down()
        await self._tasks.end()

    def close_now(self) -> None:
        """Close without asking anybody."""
        self._closing = True
        self.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._closing:
            event.accept()
        else:
            event.ignore()
            self.close_wanted.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # Not a shortcut: popups, a search, a title being changed and an edited message take Esc first.
        if event.key() == Qt.Key.Key_Escape and not event.modifiers():
            self._pages[self._current].escape()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._rail.set_narrow(event.size().width() < MEASURE.narrow)

    def _activate(self, page: Page) -> None:
        if page.id not in self._begun:
            self._begun.add(page.id)
            page.begin()
        page.activated()

    async def _once_ready(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncio

        if self._ready is None:
            self._ready = asyncio.Event()
        await self._ready.wait()
        return await work

    # Building.

    def _lay_out(self) -> None:
        theme = self.theme
        self._rail = Rail(theme)
        self._rail.chosen.connect(self.go_to)
        self._rail.near.connect(self.near)
        for spec in self._specs.values():
            if spec.listed:
                self._rail.add(spec.id, spec.title, spec.icon, foot=spec.foot)
        header = Pane(theme, ground="window", edge="bottom")
        header.setFixedHeight(MEASURE.header)
        self._title = ElidedLabel(theme, role="emphasis")
        self._header_slots = QStackedWidget()
        self._header_slots.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        row = hbox(header, margins=(SPACE.wide, 0, SPACE.medium, 0), spacing=SPACE.large)
        row.addWidget(self._title)
        row.addWidget(self._header_slots, 1)

        self._stack = QStackedWidget()
        self._content = QWidget()
        column = vbox(self._content, margins=0, spacing=0)
        column.addWidget(header)
        column.addWidget(self.notices)
        column.addWidget(self._stack, 1)

        self.strip = StatusStrip(theme)
        self.strip.jobs_wanted.connect(lambda: self.go_to("downloads"))
        self.jobs.changed.connect(lambda: self.strip.show_jobs(summary(self.jobs.jobs)))
        across = hbox(spacing=0)
        across.addWidget(self._rail)
        across.addWidget(self._content, 1)
        whole = vbox(self, margins=0, spacing=0)
        whole.addLayout(across, 1)
        whole.addWidget(self.strip)
        for part in (self._rail, header, self.notices, self.strip):
            theme.dress(part)

    def _declare_actions(self) -> None:
        for spec in self._specs.values():
            self.actions_known.add(
                Action(each, title, self._early(spec.id, each), shortcut, icon)
                for each, title, shortcut, icon in spec.early
            )
        numbers = iter(range(1, 10))
        for spec in self._specs.values():
            number = f"Ctrl+{next(numbers)}" if spec.listed else ""
            keys = (spec.shortcut, number) if spec.shortcut else (number, "")
            go = Action(
                f"go.{spec.id}", f"Go to {spec.title}", self._goer(spec.id), keys[0], spec.icon, also=keys[1]
            )
            self.actions_known.add((go,))
        self.actions_known.add(
            (
                Action("palette", "Show all actions", self.open_palette, "Ctrl+K", listed=False),
                Action("find", "Search on this page", self._find, "Ctrl+F", "search", self._can_find),
                Action(
                    "undo",
                    "Undo the last change",
                    self.undo,
                    "Ctrl+Z",
                    "undo",
                    lambda: self._undoing.possible,
                ),
                Action("quit", "Close SLM Desk", self.close, "Ctrl+Q", "close"),
            )
        )

    def _find(self) -> None:
        self._pages[self._current].find_here()

    def _can_find(self) -> bool:
        return self._pages[self._current].can_find

    def _goer(self, page_id: str) -> Callable[[], None]:
        return lambda: self.go_to(page_id)

    def _early(self, page_id: str, action_id: str) -> Callable[[], None]:
        def run() -> None:
            before = self.actions_known.get(action_id)
            self.go_to(page_id)
            if self.actions_known.get(action_id) is not before:
                self.actions_known.run(action_id)

        return run

    def page(self, page_id: str) -> Page:
        """The page, built if it is not yet."""
        page = self._pages.get(page_id)
        if page is None:
            page = self._specs[page_id].build(self)
            self._pages[page_id] = page
            slot = QWidget()
            row = hbox(slot, margins=0, spacing=SPACE.small)
            row.addStretch(1)
            for widget in page.header_widgets():
                row.addWidget(widget)
            # In this order Tab goes as one reads: from what stands in the header on into the page.
            self._header_slots.addWidget(slot)
            self._stack.addWidget(page)
            self.theme.dress(page)
            self.actions_known.add(page.commands())
        return page

    def _restore_geometry(self, begin: str) -> None:
        saved = self.state.get("window.geometry")
        restored = isinstance(saved, str) and self.restoreGeometry(QByteArray.fromBase64(saved.encode()))
        if not restored:
            # Large scaling leaves a small screen: the whole window stands on it, with a margin for its frame.
            room = self.screen().availableSize() - QSize(SPACE.wide, SPACE.huge + SPACE.wide)
            self.resize(QSize(MEASURE.window_width, MEASURE.window_height).boundedTo(room))
        page = self.state.get("window.place")
        known = isinstance(page, str) and page in self._specs and self._specs[page].listed
        self.go_to(begin or (page if known else next(iter(self._specs))))

    def _failed(self, error: BaseException, where: str) -> None:
        if not isinstance(error, SlmDeskError):
            from slmdesk.gui.report import log_uncaught

            log_uncaught(error, where)
        self.notices.add(error, None, page=self._current, work=where)
