"""The composition root: builds every room once and hands the pieces to a front end."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.chat.chats import Chats
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.events import EventBus
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.made_with import kept_settings
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.core.space import Space
from slmdesk.hub.access import HubAccess
from slmdesk.library.library import Library
from slmdesk.schema import MIGRATIONS
from slmdesk.serving.connector import ServiceConnector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.catalog.catalog import Catalog
    from slmdesk.downloads.downloads import Downloads
    from slmdesk.engines.devices import DeviceList
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.engines.self_test import SelfTest
    from slmdesk.fitting import Fitting
    from slmdesk.hub.logins import Logins
    from slmdesk.library.actions import LibraryActions
    from slmdesk.library.importing import Importer
    from slmdesk.library.orphans import Orphans
    from slmdesk.library.trash import Trash
    from slmdesk.pulling import Pulling
    from slmdesk.quantize.convert import Converter
    from slmdesk.quantize.file_tools.tool_room import FileTools
    from slmdesk.quantize.room import Quantizing
    from slmdesk.toolchains.toolchains import Toolchains

IN_MEMORY = Path(":memory:")  # SQLite's own name for it
_HARDLY_ANY = 4 * 1024 * 1024  # bytes of free space with which next to nothing can be kept


@dataclass(slots=True)
class Application:
    """Everything a front end works with.

    `build` is cheap: it reads the settings file and opens nothing else. The database opens at its first
    use or in `open`; the service starts at the first question asked of it. Catalog, downloads and quantizing are
    imported and built when they are asked for: a window that only chats does without them.
    """

    paths: Paths
    settings: Settings
    events: EventBus
    database: Database
    secrets: Secrets
    library: Library
    connector: ServiceConnector
    chats: Chats
    jobs: Jobs
    hub: HubAccess
    problems: list[SlmDeskError] = field(default_factory=list)
    _downloads: Downloads | None = None
    _catalog: Catalog | None = None
    _quantizing: Quantizing | None = None
    _devices: DeviceList | None = None
    _fitting: Fitting | None = None

    @classmethod
    def build(cls, environ: Mapping[str, str] | None = None, *, keep_chats: bool = True) -> Application:
        """Put the rooms together for this user.

        Without `keep_chats` the database is one in memory: conversations work and leave nothing behind.
        What is wrong with folders or settings lands in `problems`. Raises only
        `SlmDeskError("home_invalid")`, because without a home there is nothing to build on.
        """
        env = os.environ if environ is None else environ
        paths = Paths.resolve(env)
        problems: list[SlmDeskError] = []
        try:
            paths.ensure()
        except SlmDeskError as error:
            problems.append(error)
        settings = Settings(paths.settings_file, env)
        settings.load()
        problems.extend(settings.problems)
        events = EventBus()
        database = Database(paths.database if keep_chats else IN_MEMORY, MIGRATIONS)
        library = Library(paths, settings)
        connector = ServiceConnector(paths, settings)
        chats = Chats(database, connector, library, settings, events)
        secrets = Secrets()
        hub = HubAccess(settings, secrets, env)
        queue = Jobs(database, paths, secrets, made_with=lambda: _made_with(settings, hub))
        return cls(
            paths,
            settings,
            events,
            database,
            secrets,
            library,
            connector,
            chats,
            queue,
            hub,
            problems,
        )

    @property
    def downloads(self) -> Downloads:
        if self._downloads is None:
            from slmdesk.downloads.downloads import Downloads

            self._downloads = Downloads(
                self.hub,
                self.jobs,
                Space(self.database),
                self.library,
                secrets=self.secrets,
                default_root=self.paths.models,
            )
        return self._downloads

    @property
    def devices(self) -> DeviceList:
        """What models can be computed on, asked when it is first needed."""
        if self._devices is None:
            from slmdesk.engines.devices import DeviceList

            self._devices = DeviceList(self.paths.backends)
        return self._devices

    @property
    def fitting(self) -> Fitting:
        """Forecasts: will a model run here."""
        if self._fitting is None:
            from slmdesk.fitting import Fitting

            self._fitting = Fitting(self.paths.data, self.settings, self.library, self.catalog, self.devices)
        return self._fitting

    @property
    def catalog(self) -> Catalog:
        if self._catalog is None:
            from slmdesk.catalog.catalog import Catalog

            self._catalog = Catalog(
                self.hub,
                self.database,
                self.settings,
                data=self.paths.data,
                resources=self.paths.resources,
                devices=self.devices,
            )
        return self._catalog

    @property
    def logins(self) -> Logins:
        """A hub's token, a proxy's login."""
        from slmdesk.hub.logins import Logins

        return Logins(self.hub, self.secrets)

    @property
    def pulling(self) -> Pulling:
        """Downloading a model of a hub."""
        from slmdesk.pulling import Pulling

        return Pulling(self.catalog, self.downloads)

    @property
    def quantizing(self) -> Quantizing:
        if self._quantizing is None:
            from slmdesk.quantize.room import Quantizing

            self._quantizing = Quantizing(
                self.paths, self.database, self.library, self.jobs, self.settings, devices=self.devices
            )
        return self._quantizing

    @property
    def file_tools(self) -> FileTools:
        from slmdesk.quantize.file_tools.tool_room import FileTools

        return FileTools(self.paths, self.library, self.jobs)

    @property
    def safe_steps(self) -> SafeSteps:
        """What is remembered of native faults. Made anew at each call, for the machine as it is; blocks shortly."""
        from slmdesk.engines.safe_steps import safe_steps_in

        return safe_steps_in(self.paths.data)

    @property
    def self_test(self) -> SelfTest:
        from slmdesk.engines.self_test import SelfTest

        return SelfTest(self.paths, self.settings)

    @property
    def toolchains(self) -> Toolchains:
        from slmdesk.toolchains.toolchains import Toolchains

        return Toolchains(self.paths, self.settings)

    @property
    def converter(self) -> Converter:
        from slmdesk.quantize.convert import Converter

        return Converter(self.toolchains, self.paths.resources / "toolchains")

    @property
    def library_actions(self) -> LibraryActions:
        """What a person can have done to the library."""
        from slmdesk.library.actions import LibraryActions

        return LibraryActions(self.library, self.jobs)

    @property
    def importer(self) -> Importer:
        from slmdesk.library.importing import Importer

        return Importer(self.library)

    @property
    def trash(self) -> Trash:
        from slmdesk.library.trash import Trash

        return Trash(self.library)

    @property
    def orphans(self) -> Orphans:
        from slmdesk.library.orphans import Orphans

        return Orphans(self.library)

    async def open(self) -> SlmDeskError | None:
        """Open the database now and recover what a crash left behind; interrupted jobs go on.

        Returns the problem (also kept in `problems`) instead of raising it: a front end starts without
        conversations and says so.
        """
        try:
            await self.chats.open()
            await self.jobs.wake()
        except SlmDeskError as error:
            self.problems.append(error)
            return error
        return None

    async def first_look(self) -> list[SlmDeskError]:
        """What is wrong with this machine's disks, for a window that starts: the database does not open, a models
        folder is not there, nothing can be written any more. Nothing raises."""
        found: list[SlmDeskError] = []
        try:
            await self.chats.open()
        except SlmDeskError as error:
            found.append(error)
        found += await self.library.missing_folders()
        if not any(problem.code == "disk_full" for problem in found):
            found += await asyncio.to_thread(_full, self.paths.data)
        return found

    async def close(self) -> None:
        """Stop running answers (what they wrote is kept), let go of the service and close the database."""
        await self.chats.close()
        await self.connector.close()
        if self._catalog is not None:
            await self._catalog.close()
        await self.hub.close()
        self.database.close()


def _made_with(settings: Settings, hub: HubAccess) -> dict[str, Any]:
    """What a job is made with now. A hub or proxy that cannot be used stops no job that needs none."""
    made = kept_settings(settings)
    with suppress(SlmDeskError):
        made |= hub.way().to_json()
    return made


def _full(folder: Path) -> list[SlmDeskError]:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return []
    if free >= _HARDLY_ANY:
        return []
    return [
        SlmDeskError(
            "disk_full",
            f"The disk with {folder} is full.",
            "Free some space there. Until then conversations, settings and models cannot be kept.",
        )
    ]
