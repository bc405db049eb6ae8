"""What a page is, and what the window does for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from PySide6.QtCore import Qt

from slmdesk.gui.widgets.base import Ground, Pane

if TYPE_CHECKING:
    import asyncio

    from PySide6.QtWidgets import QWidget

    from slmdesk.application import Application
    from slmdesk.core.settings import Settings
    from slmdesk.core.state import StateFile
    from slmdesk.gui.actions import Action
    from slmdesk.gui.job_watch import JobWatch
    from slmdesk.gui.live_settings import LiveSettings
    from slmdesk.gui.loaded import LoadedWatch
    from slmdesk.gui.theme import Theme
    from slmdesk.gui.visits import Visits

T = TypeVar("T")
Remedy = tuple[str, Callable[[], object]]
"""A button that mends something: its text and what it does."""


class WindowServices(Protocol):
    """What a page may ask of the window."""

    @property
    def theme(self) -> Theme: ...

    @property
    def settings(self) -> Settings:
        """The settings; read them at any time, also before the first paint."""
        ...

    @property
    def state(self) -> StateFile:
        """What the window remembers, e.g. where a splitter stood."""
        ...

    @property
    def live(self) -> LiveSettings:
        """The settings, with a signal when one changes and a way to change one that does not block."""
        ...

    @property
    def has_application(self) -> bool:
        """Whether `application` is there by now."""
        ...

    @property
    def application(self) -> Application:
        """Everything else. Only there from `Page.begin` on, and in what `run` runs: it is built after the first
        paint."""
        ...

    def run(self, work: Coroutine[Any, Any, T], where: str = "") -> asyncio.Task[T]:
        """Start `work`, as soon as the application is there; an error is shown at the top of the window.

        Cancelled when the window closes. The event loop must run.
        """
        ...

    def toast(self, text: str, undo: Callable[[], object] | None = None, undo_text: str = "Undo") -> None:
        """Tell what was done, with a button that undoes it."""
        ...

    def show_error(self, error: BaseException, remedy: Remedy | None = None) -> None:
        """Show a panel at the top of the window: the error's own words, or a report of a defect."""
        ...

    def go_to(self, page_id: str) -> None:
        """Make another page the current one."""
        ...

    @property
    def visit(self) -> Visits:
        """The ways to other pages, with what is to be done there."""
        ...

    @property
    def jobs(self) -> JobWatch:
        """All jobs as they are now; empty until the application is there."""
        ...

    @property
    def loaded(self) -> LoadedWatch:
        """What the service holds in memory; looked at every two seconds."""
        ...

    def window(self) -> QWidget:
        """The window, as parent for dialogs."""
        ...


class Page(Pane):
    """One page of the window: its widgets, and the view that its controller knows.

    A subclass builds its widgets and then its controller in the constructor, which must stay light: no event loop
    runs yet there, and `services.application` may not be there yet. Both are from `begin` on, and in what
    `services.run` runs.

    Attributes:
        services: the window's side.
        id, title, icon: for the rail, the header and the palette; `icon` has a filled variant.
        surface: the ground of the page.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    icon: ClassVar[str]
    surface: ClassVar[Ground] = "surface"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services.theme, ground=self.surface)
        self.services = services
        self.setAccessibleName(self.title)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    def header_widgets(self) -> list[QWidget]:
        """Made once: what stands at the right of the header while the page is current."""
        return []

    def commands(self) -> list[Action]:
        """What the palette offers, also while another page is current."""
        return []

    def foot_height(self) -> int:
        """Pixels at the lower edge that a passing message must not cover: where a person writes, say."""
        return 0

    def begin(self) -> None:
        """Once, before the page is `activated` for the first time: the application is there, the event loop runs."""

    def activated(self) -> None:
        """The page became the current one."""

    can_find: ClassVar[bool] = False
    """Whether the page has a search field; `find_here` then puts the focus there (Ctrl+F)."""

    def find_here(self) -> None:
        """Put the focus into the search field of this page."""

    def escape(self) -> None:
        """Esc was pressed somewhere in the window and nothing nearer (a popup, a search, a field) took it."""

    def network_changed(self) -> None:
        """The person had the program keep away from the network, or go back to it."""

    def deactivated(self) -> None:
        """Another page becomes the current one."""

    async def shut_down(self) -> None:
        """The window closes: end what the page began."""
