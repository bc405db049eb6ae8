"""The place of a first start. It is left by starting with a model, or by going anywhere else."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.names import STARTER, short_name
from slmdesk.gui.first_run import marker, words
from slmdesk.gui.first_run.rows import BuiltInRow, FolderRow, RecommendedRow
from slmdesk.gui.page import Page, WindowServices
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.pulling import PullRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slmdesk.catalog.advise import Advice
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.widgets.panels import ErrorPanel

FOLDERS = "library.folders"
_LATER = "Everything here can be changed later in Settings."


@contextmanager
def _busy(button: Button) -> Iterator[None]:
    """The button shows that what it began goes on. It keeps the focus, which Qt moves off a disabled one."""
    focused = button.hasFocus()
    button.set_busy(True)
    try:
        yield
    finally:
        button.set_busy(False)
        if focused and button.isVisible():
            button.setFocus(Qt.FocusReason.OtherFocusReason)


class FirstRunPage(Page):
    """The models folder, the machine in one line, and two ways to begin.

    Attributes:
        folder, machine, model, built_in: the rows.
        advice: the model that is recommended, once it is known; None when none fits.
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
        self.advice: Advice | None = None
        self.known = False
        self._found: Sequence[Advice] = ()
        self._looked = False
        self._free: int | None = None  # bytes where models are kept; None until it was looked up
        self._problem: ErrorPanel | None = None
        self.others = Button(theme, "Look at other models", kind="quiet", icon="catalog")
        self.folder.change.clicked.connect(lambda: services.run(self._choose_folder(), "choosing a folder"))
        self.model.download.clicked.connect(lambda: services.run(self._download(), "starting a download"))
        self.built_in.start.clicked.connect(lambda: services.go_to("chat"))
        self.others.clicked.connect(lambda: services.go_to("catalog"))
        self._lay_out()

    def activated(self) -> None:
        marker.keep_open(self.services.state)
        if self.services.application.library.usual_model == STARTER:
            self.built_in.show_starter(short_name(STARTER))
        self.services.run(self._look_at_folder(), "looking at the models folder")
        if not self._looked:
            self._looked = True
            self.services.run(self._look_at_machine(), "looking at this machine")
            self.services.run(self._choose_model(), "choosing a model")

    def deactivated(self) -> None:
        marker.keep_done(self.services.state)

    async def take_folder(self, folder: Path) -> None:
        """Keep models in `folder` from now on, with Undo; refused with the reason where nothing can be written."""
        from slmdesk.library.new_folder import try_folder

        settings, library = self.services.settings, self.services.application.library
        try:
            with _busy(self.folder.change):
                await asyncio.to_thread(try_folder, folder)
            before = str(settings.get(FOLDERS))
            own = self.services.application.paths.models
            others = library.folders[1:]
            kept = [folder, *(each for each in others if each != folder)]
            value = "" if kept == [own] else os.pathsep.join(map(str, kept))
            await self._set_folders(value)
        except SlmDeskError as error:
            self.folder.show_problem(error)
            return
        self.services.toast(
            f"New models are kept in {folder.name or folder}.",
            lambda: self.services.run(self._set_folders(before), "undoing the models folder"),
        )

    async def _set_folders(self, value: str) -> None:
        settings = self.services.settings
        if value:
            await asyncio.to_thread(settings.set, FOLDERS, value)
        else:
            await asyncio.to_thread(settings.reset, FOLDERS)
        self.services.application.library.forget_listing()
        await self._look_at_folder()

    async def _choose_folder(self) -> None:
        from slmdesk.core.space import existing_parent
        from slmdesk.gui.dialogs import choose_folder

        now = await asyncio.to_thread(existing_parent, self.services.application.library.folders[0])
        folder = await choose_folder(self.services.window(), "Choose a folder for models", folder=now)
        if folder is not None:
            await self.take_folder(folder)

    async def _look_at_folder(self) -> None:
        from slmdesk.core.space import MARGIN_BYTES
        from slmdesk.library.new_folder import room_in

        folder = self.services.application.library.folders[0]
        locked = self.services.settings.source(FOLDERS) == "environment"
        self.folder.show_folder(folder, locked=locked)
        try:
            room = await asyncio.to_thread(room_in, folder)
        except SlmDeskError as error:
            self.folder.show_room(None)
            self.folder.show_problem(error)
            self._free = 0
        else:
            self.folder.show_room(room)
            self.folder.show_problem(None)
            self._free = room.free - MARGIN_BYTES
        self._recommend()

    async def _look_at_machine(self) -> None:
        from slmdesk.core import cores, hardware

        total, available = await asyncio.to_thread(hardware.memory)
        physical = (await asyncio.to_thread(cores.look)).physical
        self._show_machine(words.machine(total, available, physical, None))
        # Drivers may take seconds to answer; nothing here waits for them.
        found = await asyncio.to_thread(hardware.probe)
        self._show_machine(words.machine(total, available, physical, found.gpus))

    def _show_machine(self, line: str) -> None:
        self.machine.text.setText(line)
        self.machine.setAccessibleDescription(line)

    async def _choose_model(self) -> None:
        from slmdesk.catalog.advise import Preferences

        catalog = self.services.application.catalog
        found = list(await catalog.advise(Preferences()))
        # Where the disk is small, what is quick is small, too.
        found += await catalog.advise(Preferences(priority="speed"))
        self._found, self.known = found, True
        self._recommend()

    def _recommend(self) -> None:
        if not self.known or self._free is None:
            return
        self.advice = words.recommended(self._found, self._free)
        self.model.show_advice(self.advice)
        self.built_in.start.set_kind("secondary" if self.advice else "primary")

    async def _download(self) -> None:
        from slmdesk.gui.downloads.when_ready import wish_chat

        advice = self.advice
        if advice is None:
            return
        self._put_away()
        try:
            with _busy(self.model.download):
                job = await self._start(advice)
        except SlmDeskError as error:
            self._show_problem(error)
            return
        wish_chat(self.services.state, job.id)
        if self.isVisible():
            self.services.go_to("chat")
        self.services.toast(
            f"{job.title} is coming. {self.built_in.title.text()} answers meanwhile.",
            lambda: self.services.go_to("downloads"),
            "Show",
        )

    async def _start(self, advice: Advice) -> Job:
        application = self.services.application
        page = await application.catalog.model_page(advice.repo)
        request = PullRequest(advice.repo, advice.quant, page=page, or_best=True, name=advice.model.name)
        return await application.pulling.pull(request)

    def _show_problem(self, error: SlmDeskError) -> None:
        from slmdesk.gui.widgets.panels import ErrorPanel

        self._put_away()
        action = None
        if error.code == "offline":
            action = ("Open Settings", lambda: self.services.go_to("settings"))
        self._problem = ErrorPanel(self.theme, error, action=action)
        self._problem.closed.connect(self._put_away)
        self._column.insertWidget(self._column.indexOf(self._models), self._problem)
        self._area.ensureWidgetVisible(self.model)

    def _put_away(self) -> None:
        if self._problem is not None:
            let_go(self._problem, self)
            self._problem = None

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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._area)
