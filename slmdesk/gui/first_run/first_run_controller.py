"""What happens on the page of a first start: a folder is chosen, the machine looked at, a model recommended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.names import STARTER, short_name
from slmdesk.gui.first_run import marker, words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.catalog.advise import Advice
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import Remedy, WindowServices
    from slmdesk.library.new_folder import Room

FOLDERS = "library.folders"


class FirstRunView(Protocol):
    """What the controller shows."""

    @property
    def in_sight(self) -> bool:
        """Whether the page is the one that is shown."""
        ...

    def show_folder(self, folder: Path, *, locked: bool) -> None: ...
    def show_room(self, room: Room | None) -> None: ...
    def show_folder_problem(self, error: SlmDeskError | None) -> None: ...
    def show_machine(self, line: str) -> None: ...
    def show_starter(self, name: str) -> None: ...
    def show_advice(self, advice: Advice | None) -> None: ...
    def show_problem(self, error: SlmDeskError | None, remedy: Remedy | None = None) -> None: ...
    def show_choosing_folder(self, *, on: bool) -> None: ...
    def show_starting_download(self, *, on: bool) -> None: ...


class FirstRunController:
    """Attributes:
    advice: the model that is recommended, once it is known; None when none fits.
    known: whether the models were looked at.
    free: bytes where models are kept; None until it was looked up.
    """

    def __init__(self, services: WindowServices, view: FirstRunView) -> None:
        self._services = services
        self._view = view
        self.advice: Advice | None = None
        self.known = False
        self.free: int | None = None
        self._found: Sequence[Advice] = ()
        self._built_in = "Desk Guide"

    def begin(self) -> None:
        """Look at what does not change while the page is open."""
        if self._services.application.library.usual_model == STARTER:
            self._built_in = short_name(STARTER)
            self._view.show_starter(self._built_in)
        self._services.run(self._look_at_machine(), "looking at this machine")
        self._services.run(self._choose_model(), "choosing a model")

    def activated(self) -> None:
        """The page is shown: it comes again at the next start unless it is left."""
        marker.keep_open(self._services.state)
        self._services.run(self._look_at_folder(), "looking at the models folder")

    def deactivated(self) -> None:
        """The page was left."""
        marker.keep_done(self._services.state)

    # The folder

    def choose_folder(self) -> None:
        """Ask for another models folder."""
        self._services.run(self._choose_folder(), "choosing a folder")

    async def _choose_folder(self) -> None:
        from asyncio import to_thread

        from slmdesk.core.space import existing_parent
        from slmdesk.gui.dialogs import choose_folder

        now = await to_thread(existing_parent, self._services.application.library.folders[0])
        folder = await choose_folder(self._services.window(), "Choose a folder for models", folder=now)
        if folder is not None:
            await self.take_folder(folder)

    async def take_folder(self, folder: Path) -> None:
        """Keep models in `folder` from now on, with Undo; refused with the reason where nothing can be written."""
        from asyncio import to_thread

        from slmdesk.library.new_folder import try_folder

        settings, library = self._services.settings, self._services.application.library
        self._view.show_choosing_folder(on=True)
        try:
            await to_thread(try_folder, folder)
            before = str(settings.get(FOLDERS))
            own = self._services.application.paths.models
            others = library.folders[1:]
            kept = [folder, *(each for each in others if each != folder)]
            value = "" if kept == [own] else os.pathsep.join(map(str, kept))
            await self._set_folders(value)
        except SlmDeskError as error:
            self._view.show_folder_problem(error)
            return
        finally:
            self._view.show_choosing_folder(on=False)
        self._services.toast(
            f"New models are kept in {folder.name or folder}.",
            lambda: self._services.run(self._set_folders(before), "undoing the models folder"),
        )

    async def _set_folders(self, value: str) -> None:
        from asyncio import to_thread

        settings = self._services.settings
        if value:
            await to_thread(settings.set, FOLDERS, value)
        else:
            await to_thread(settings.reset, FOLDERS)
        self._services.application.library.forget_listing()
        await self._look_at_folder()

    async def _look_at_folder(self) -> None:
        from asyncio import to_thread

        from slmdesk.core.space import MARGIN_BYTES
        from slmdesk.library.new_folder import room_in

        folder = self._services.application.library.folders[0]
        locked = self._services.settings.source(FOLDERS) == "environment"
        self._view.show_folder(folder, locked=locked)
        try:
            room = await to_thread(room_in, folder)
        except SlmDeskError as error:
            self._view.show_room(None)
            self._view.show_folder_problem(error)
            self.free = 0
        else:
            self._view.show_room(room)
            self._view.show_folder_problem(None)
            self.free = room.free - MARGIN_BYTES
        self.recommend()

    # The machine and the model

    async def _look_at_machine(self) -> None:
        from asyncio import to_thread

        from slmdesk.core import cores, hardware

        total, available = await to_thread(hardware.memory)
        physical = (await to_thread(cores.look)).physical
        self._view.show_machine(words.machine(total, available, physical, None))
        # Drivers may take seconds to answer; nothing here waits for them.
        found = await to_thread(hardware.probe)
        self._view.show_machine(words.machine(total, available, physical, found.gpus))

    async def _choose_model(self) -> None:
        from slmdesk.catalog.advise import Preferences

        catalog = self._services.application.catalog
        found = list(await catalog.advise(Preferences()))
        # Where the disk is small, what is quick is small, too.
        found += await catalog.advise(Preferences(priority="speed"))
        self._found, self.known = found, True
        self.recommend()

    def recommend(self) -> None:
        """Show the model that fits the memory and the disk, once both are known."""
        if self.known and self.free is not None:
            self.advice = words.recommended(self._found, self.free)
            self._view.show_advice(self.advice)

    def download(self) -> None:
        """Fetch what is recommended, and begin a chat with it when it is here."""
        self._services.run(self._download(), "starting a download")

    async def _download(self) -> None:
        from slmdesk.gui.downloads.when_ready import wish_chat

        advice = self.advice
        if advice is None:
            return
        services, view = self._services, self._view
        view.show_problem(None)
        view.show_starting_download(on=True)
        try:
            job = await self._start(advice)
        except SlmDeskError as error:
            settings = ("Open Settings", lambda: services.go_to("settings"))
            view.show_problem(error, settings if error.code == "offline" else None)
            return
        finally:
            view.show_starting_download(on=False)
        wish_chat(services.state, job.id)
        if view.in_sight:
            services.go_to("chat")
        services.toast(
            f"{job.title} is coming. {self._built_in} answers meanwhile.",
            lambda: services.go_to("downloads"),
            "Show",
        )

    async def _start(self, advice: Advice) -> Job:
        from slmdesk.pulling import PullRequest

        application = self._services.application
        page = await application.catalog.model_page(advice.repo)
        request = PullRequest(advice.repo, advice.quant, page=page, or_best=True, name=advice.model.name)
        return await application.pulling.pull(request)
