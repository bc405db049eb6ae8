"""The composition root: builds every room once and hands the pieces to whoever starts: the window, each command, the
process that does the jobs, the service."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.catalog.catalog import Catalog
    from slmdesk.chat.arranging import ChatArranging
    from slmdesk.chat.chats import Chats
    from slmdesk.chat.importing import ChatImporting
    from slmdesk.chat.presets import ChatPresets
    from slmdesk.core.database import Database
    from slmdesk.core.events import EventBus
    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.jobs.job_store import JobStore
    from slmdesk.core.secrets import Secrets
    from slmdesk.core.space import Space
    from slmdesk.downloads.downloads import Downloads
    from slmdesk.engines.devices import DeviceList
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.engines.self_test import SelfTest
    from slmdesk.fitting import Fitting
    from slmdesk.hub.access import HubAccess
    from slmdesk.hub.logins import Logins
    from slmdesk.hub_source import HubQuantizing
    from slmdesk.library.actions import LibraryActions
    from slmdesk.library.created import CreatedModels
    from slmdesk.library.importing import Importer
    from slmdesk.library.library import Library
    from slmdesk.library.orphans import Orphans
    from slmdesk.library.trash import Trash
    from slmdesk.library.upstream import Upstream
    from slmdesk.memory.calibration import Calibration
    from slmdesk.pulling import Pulling
    from slmdesk.quantize.convert import Converter
    from slmdesk.quantize.file_tools.tool_room import FileTools
    from slmdesk.quantize.room import Quantizing
    from slmdesk.serving.connector import ServiceConnector
    from slmdesk.serving.keys import ApiKeys
    from slmdesk.toolchains.toolchains import Toolchains
    from slmdesk.tools.toolbox import Tools

IN_MEMORY = Path(":memory:")  # SQLite's own name for it
_HARDLY_ANY = 4 * 1024 * 1024  # bytes of free space with which next to nothing can be kept


class Application:
    """Everything a front end works with.

    Made at once: each room is imported and built when it is asked for, so that a list of models costs no more than
    the library. The database opens at its first use or in `open`; the service starts at the first question asked
    of it.

    Attributes:
        problems: what is wrong with folders or settings, after `build`.
    """

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        *,
        secrets: Secrets | None = None,
        database: Database | None = None,
        problems: Sequence[SlmDeskError] = (),
    ) -> None:
        self.paths = paths
        self.settings = settings
        self.problems = list(problems)
        self._environ = os.environ if environ is None else environ
        if secrets is not None:
            self.secrets = secrets
        if database is not None:
            self.database = database

    @classmethod
    def build(cls, environ: Mapping[str, str] | None = None, *, keep_chats: bool = True) -> Application:
        """For this user, with the folders made and the settings read.

        Without `keep_chats` the database is one in memory: conversations work and leave nothing behind.
        What is wrong with folders or settings lands in `problems`. Raises only
        `SlmDeskError("home_invalid")`, because without a home there is nothing to build on.
        """
        application = cls.look(environ)
        problems = application.problems
        try:
            application.paths.ensure()
        except SlmDeskError as error:
            problems.append(error)
        application.settings.load()
        problems.extend(application.settings.problems)
        if not keep_chats:
            application.database = _database(IN_MEMORY)
        return application

    @classmethod
    def look(cls, environ: Mapping[str, str] | None = None) -> Application:
        """For a command that only looks: no folder is made, and the settings are read when one is asked for.

        Raises `SlmDeskError("home_invalid")`.
        """
        env = os.environ if environ is None else environ
        paths = Paths.resolve(env)
        return cls(paths, Settings(paths.settings_file, env), env)

    def with_settings(self, settings: Settings) -> Application:
        """The same user's rooms under other settings; database and secrets are shared."""
        return Application(self.paths, settings, self._environ, secrets=self.secrets, database=self.database)

    @cached_property
    def events(self) -> EventBus:
        from slmdesk.core.events import EventBus

        return EventBus()

    @cached_property
    def database(self) -> Database:
        return _database(self.paths.database)

    @cached_property
    def secrets(self) -> Secrets:
        from slmdesk.core.secrets import Secrets

        return Secrets()

    @cached_property
    def library(self) -> Library:
        from slmdesk.library.library import Library

        return Library(self.paths, self.settings)

    @cached_property
    def connector(self) -> ServiceConnector:
        from slmdesk.serving.connector import ServiceConnector

        return ServiceConnector(self.paths, self.settings)

    @cached_property
    def chats(self) -> Chats:
        from slmdesk.chat.chats import Chats

        return Chats(
            self.database,
            self.connector,
            self.library,
            self.settings,
            self.events,
            tools=lambda: self.tools,
        )

    @cached_property
    def arranging(self) -> ChatArranging:
        from slmdesk.chat.arranging import ChatArranging

        return ChatArranging(self.database, self.chats, self.events)

    @cached_property
    def chat_importing(self) -> ChatImporting:
        from slmdesk.chat.importing import ChatImporting

        return ChatImporting(self.database, self.chats, self.events)

    @cached_property
    def chat_presets(self) -> ChatPresets:
        from slmdesk.chat.presets import ChatPresets

        return ChatPresets(self.database)

    @cached_property
    def tools(self) -> Tools:
        """Tools that models may call, and the servers they come from."""
        from slmdesk.tools.kept import ToolKeeping
        from slmdesk.tools.toolbox import Tools

        return Tools(ToolKeeping(self.paths.tools, self.secrets), self.hub, self.settings)

    @cached_property
    def hub(self) -> HubAccess:
        from slmdesk.hub.access import HubAccess

        return HubAccess(self.settings, self.secrets, self._environ)

    @cached_property
    def jobs(self) -> Jobs:
        from slmdesk.core.jobs.job_queue import Jobs

        return Jobs(self.database, self.paths, self.secrets, made_with=self._made_with)

    @cached_property
    def job_store(self) -> JobStore:
        """The jobs' rows, for the process that does them."""
        from slmdesk.core.jobs.job_store import JobStore

        return JobStore(self.database)

    @cached_property
    def space(self) -> Space:
        from slmdesk.core.space import Space

        return Space(self.database)

    @cached_property
    def calibration(self) -> Calibration:
        """What loads took, beside what was expected."""
        from slmdesk.memory.fit import calibration_in

        return calibration_in(self.paths.data)

    @cached_property
    def downloads(self) -> Downloads:
        from slmdesk.downloads.downloads import Downloads

        return Downloads(
            self.hub,
            self.jobs,
            self.space,
            self.library,
            secrets=self.secrets,
            default_root=self.paths.models,
        )

    @cached_property
    def devices(self) -> DeviceList:
        """What models can be computed on, asked when it is first needed."""
        from slmdesk.engines.devices import DeviceList

        return DeviceList(self.paths.backends)

    @cached_property
    def fitting(self) -> Fitting:
        """Forecasts: will a model run here."""
        from slmdesk.fitting import Fitting

        return Fitting(self.paths.data, self.settings, self.library, self.catalog, self.devices)

    @cached_property
    def catalog(self) -> Catalog:
        from slmdesk.catalog.catalog import Catalog

        return Catalog(
            self.hub,
            self.database,
            self.settings,
            data=self.paths.data,
            resources=self.paths.resources,
            devices=self.devices,
        )

    @property
    def api_keys(self) -> ApiKeys:
        """Keys for programs that use the service."""
        from slmdesk.serving.keys import ApiKeys

        return ApiKeys(self.paths.api_keys)

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

    @cached_property
    def quantizing(self) -> Quantizing:
        from slmdesk.quantize.room import Quantizing

        return Quantizing(
            self.paths, self.database, self.library, self.jobs, self.settings, devices=self.devices
        )

    @property
    def hub_quantizing(self) -> HubQuantizing:
        """Quantizing what is still on a hub."""
        from slmdesk.hub_source import HubQuantizing

        return HubQuantizing(self.catalog, self.pulling, self.quantizing)

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

    @cached_property
    def created_models(self) -> CreatedModels:
        """Models that stand for others, with what is done otherwise."""
        from slmdesk.library.created import CreatedModels

        return CreatedModels(self.database, self.library)

    @property
    def importer(self) -> Importer:
        from slmdesk.library.importing import Importer

        return Importer(self.library)

    @property
    def trash(self) -> Trash:
        from slmdesk.library.trash import Trash

        return Trash(self.library, self.created_models)

    @property
    def upstream(self) -> Upstream:
        from slmdesk.library.upstream import Upstream

        return Upstream(self.library, self.hub)

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
        """Stop running answers (what they wrote is kept), let go of the service and close the database: whatever of
        it was built."""
        built = vars(self)
        for name in ("chats", "tools", "connector", "catalog", "hub"):
            if name in built:
                await built[name].close()
        if "database" in built:
            self.database.close()

    def _made_with(self) -> dict[str, Any]:
        """What a job is made with now. A hub or proxy that cannot be used stops no job that needs none."""
        from slmdesk.core.made_with import kept_settings

        made = kept_settings(self.settings)
        with suppress(SlmDeskError):
            made |= self.hub.way().to_json()
        return made


def _database(path: Path) -> Database:
    from slmdesk.core.database import Database
    from slmdesk.schema import MIGRATIONS

    return Database(path, MIGRATIONS)


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
