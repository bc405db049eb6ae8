"""The page of a first start. It is left by starting with a model, or by going anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from slmdesk.gui.first_run import marker
from slmdesk.gui.first_run.first_run_controller import FirstRunController
from slmdesk.gui.first_run.rows import BuiltInRow, FolderRow, RecommendedRow
from slmdesk.gui.page import Page, Remedy, WindowServices
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.catalog.advise import Advice
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.widgets.panels import ErrorPanel
    from slmdesk.library.new_folder import Room

_LATER = "Everything here can be changed later in Settings."


class FirstRunPage(Page):
    """The models folder, the machine in one line, and two ways to begin.

    Attributes:
        folder, machine, model, built_in: the rows.
    """

    id = marker.PAGE
    title = "Welcome to SLM Desk"
    icon = "idea"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.folder = FolderRow(theme)
        self.machine = CardRow(theme, "This machine", " ", icon="memory")
        self.model = RecommendedRow(theme)
        self.built_in = BuiltInRow(theme)
        self.others = Button(theme, "Look at other models", kind="quiet", icon="catalog")
        self._problem: ErrorPanel | None = None
        self._focused: Button | None = None
        self.controller = controller = FirstRunController(services, self)
        self.folder.change.clicked.connect(controller.choose_folder)
        self.model.download.clicked.connect(controller.download)
        self.built_in.start.clicked.connect(lambda: services.go_to("chat"))
        self.others.clicked.connect(lambda: services.go_to("catalog"))
        self._lay_out()

    def begin(self) -> None:
        self.controller.begin()

    def activated(self) -> None:
        self.controller.activated()

    def deactivated(self) -> None:
        self.controller.deactivated()

    # What the controller shows

    @property
    def in_sight(self) -> bool:
        return self.isVisible()

    def show_folder(self, folder: Path, *, locked: bool) -> None:
        self.folder.show_folder(folder, locked=locked)

    def show_room(self, room: Room | None) -> None:
        self.folder.show_room(room)

    def show_folder_problem(self, error: SlmDeskError | None) -> None:
        self.folder.show_problem(error)

    def show_machine(self, line: str) -> None:
        self.machine.text.setText(line)
        self.machine.setAccessibleDescription(line)

    def show_starter(self, name: str) -> None:
        self.built_in.show_starter(name)

    def show_advice(self, advice: Advice | None) -> None:
        self.model.show_advice(advice)
        self.built_in.start.set_kind("secondary" if advice else "primary")

    def show_choosing_folder(self, *, on: bool) -> None:
        self._show_busy(self.folder.change, on=on)

    def show_starting_download(self, *, on: bool) -> None:
        self._show_busy(self.model.download, on=on)

    def _show_busy(self, button: Button, *, on: bool) -> None:
        """What the button began goes on. It gets the focus back, which Qt moves off a disabled one."""
        if on and button.hasFocus():
            self._focused = button
        button.set_busy(on)
        if not on and self._focused is button:
            self._focused = None
            if button.isVisible():
                button.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_problem(self, error: SlmDeskError | None, remedy: Remedy | None = None) -> None:
        """Why the download could not begin, above the models; None puts it away."""
        from slmdesk.gui.widgets.panels import ErrorPanel

        if self._problem is not None:
            let_go(self._problem, self)
            self._problem = None
        if error is not None:
            self._problem = ErrorPanel(self.theme, error, action=remedy)
            self._problem.closed.connect(lambda: self.show_problem(None))
            self._column.insertWidget(self._column.indexOf(self._models), self._problem)
            self._area.ensureWidgetVisible(self.model)

    def _lay_out(self) -> None:
        theme = self.theme
        self._area = ScrollingColumn(widest=MEASURE.pages, bottom=SPACE.large)
        self._column = column = self._area.column
        column.addWidget(
            Label(
                theme,
                f"Small language models on your own machine: where they are kept, and one to begin with. {_LATER}",
                tone="secondary",
                wrap=True,
            )
        )
        column.addSpacing(SPACE.small)
        here = GroupCard(theme)
        here.add_row(self.folder)
        here.add_row(self.machine)
        column.addWidget(here)
        column.addSpacing(SPACE.small)
        column.addWidget(Label(theme, "Recommended for this machine", role="emphasis"))
        self._models = GroupCard(theme)
        self._models.add_row(self.model)
        self._models.add_row(self.built_in)
        column.addWidget(self._models)
        below = QHBoxLayout()
        below.addWidget(self.others)
        below.addStretch(1)
        column.addLayout(below)
        column.addStretch(1)
        layout = vbox(self, margins=0)
        layout.addWidget(self._area)
