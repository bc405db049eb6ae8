"""Errors at the top of the window: each over the page it happened on, until it is put away or what failed works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Pane
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.page import Remedy
    from slmdesk.gui.theme import Theme
    from slmdesk.gui.widgets.panels import ErrorPanel

MOST = 3
EVERYWHERE = ""
"""The page of what concerns the whole program: a defect, a folder that is missing."""


class ErrorPanels(Pane):
    """Newest first, `MOST` at most."""

    def __init__(self, theme: Theme, heir: Callable[[], QWidget]) -> None:
        super().__init__(theme, ground="window", edge="bottom")
        self._heir = heir  # where the focus of a panel that goes is wanted
        self._page = EVERYWHERE
        self._panels: list[tuple[ErrorPanel, str, str]] = []  # with the page and the work it came from
        self._column = vbox(
            self, margins=(SPACE.wide, SPACE.medium, SPACE.wide, SPACE.medium), spacing=SPACE.small
        )
        self.hide()

    @property
    def errors(self) -> list[BaseException]:
        """What is shown over the current page, newest first."""
        return [panel.error for panel, page, _ in self._panels if page in {EVERYWHERE, self._page}]

    def add(self, error: BaseException, remedy: Remedy | None, *, page: str, work: str = "") -> None:
        """Show an error over `page`. `work` names what failed: when that works, the panel goes by itself."""
        from slmdesk.gui.widgets.panels import ErrorPanel

        for panel, _, _ in list(self._panels):
            if type(panel.error) is type(error) and str(panel.error) == str(error):
                self._drop(panel)
        panel = ErrorPanel(self.theme, error, action=remedy)
        panel.closed.connect(lambda: self._drop(panel))
        over = page if isinstance(error, SlmDeskError) else EVERYWHERE
        self._panels.insert(0, (panel, over, work))
        self._column.insertWidget(0, panel)
        for old, _, _ in self._panels[MOST:]:
            self._drop(old)
        self._show()

    def go_to(self, page: str) -> None:
        """Another page is shown: the errors of the others wait there."""
        self._page = page
        self._show()

    def worked(self, work: str) -> None:
        """What failed before has worked now."""
        for panel, _, failed in list(self._panels):
            if failed and failed == work:
                self._drop(panel)

    def _drop(self, panel: ErrorPanel) -> None:
        if any(one is panel for one, _, _ in self._panels):
            self._panels = [entry for entry in self._panels if entry[0] is not panel]
            self._column.removeWidget(panel)
            let_go(panel, self._heir())
            self._show()

    def _show(self) -> None:
        for panel, page, _ in self._panels:
            panel.setVisible(page in {EVERYWHERE, self._page})
        self.setVisible(bool(self.errors))
