"""How a service is asked to start, and its claim to the one place a user has for it.

Nothing heavy is imported here: of ten services started at once, nine end again, and should do so cheaply.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.discovery import ServiceState, UserLock, read_state

if TYPE_CHECKING:
    from slmdesk.core.jobs.job_queue import Jobs
    from slmdesk.core.paths import Paths
    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.engines.safe_steps import SafeSteps
    from slmdesk.engines.self_test import SelfTest
    from slmdesk.library.created import CreatedModels
    from slmdesk.library.library import Library
    from slmdesk.library.trash import Trash
    from slmdesk.memory.calibration import Calibration
    from slmdesk.serving.creating import Quantizer
    from slmdesk.serving.pulls import Fetcher

_CLAIM_S = 20.0  # how long to wait for another service of this user that is just ending
_LOOK_AGAIN_S = 0.05

Ending = Literal["asked", "idle", "interrupted", "terminated"]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How `slmdesk serve` was called. None: the setting, or the default, decides."""

    models: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    ollama_port: int | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    api_key: str = field(default="", repr=False)
    tls_cert: str = ""
    tls_key: str = ""
    as_json: bool = False
    on_demand: bool = False
    idle_s: float | None = None


class ServiceRooms(Protocol):
    """What a service works with; the composition root has it. Nothing is built before it is asked for."""

    @property
    def paths(self) -> Paths: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def library(self) -> Library: ...

    @property
    def created_models(self) -> CreatedModels: ...

    @property
    def trash(self) -> Trash: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def pulling(self) -> Fetcher: ...

    @property
    def quantizing(self) -> Quantizer: ...

    async def close(self) -> None: ...

    @property
    def calibration(self) -> Calibration: ...

    @property
    def safe_steps(self) -> SafeSteps: ...

    @property
    def devices(self) -> DeviceList: ...

    @property
    def self_test(self) -> SelfTest: ...


class Announcer(Protocol):
    """What the service tells whoever started it."""

    def loading(self, model: str, fraction: float) -> None: ...

    def ready(self, url: str, pid: int, *, host: str, key_needed: bool, ollama_url: str = "") -> None: ...


class AlreadyServedError(Exception):
    """Started on demand, and another service of this user answers already: nothing to do."""


def claim(paths: Paths, *, on_demand: bool) -> UserLock:
    """Take this user's one place, to be freed at the end; blocks while another service is just ending.

    An idle service that was started on demand makes way for one started by hand. Raises `AlreadyServedError` (on
    demand only), `service_running`, `service_busy` or `service_start_failed`.
    """
    lock = UserLock.of_service(paths)
    deadline = time.monotonic() + _CLAIM_S
    asked = False
    while not lock.take():
        state = read_state(paths.service_state)
        if state is not None and state.alive:
            if on_demand:
                raise AlreadyServedError
            if state.started_by == "hand":
                raise SlmDeskError(
                    "service_running",
                    f"A service of yours answers at {state.url} already.",
                    "Use that one, or end it first.",
                )
            if not asked:
                asyncio.run(_ask_to_make_way(state))
                asked = True
        if time.monotonic() > deadline:
            raise SlmDeskError(
                "service_start_failed",
                "Another service of yours holds the place and does not answer.",
                "End the other slmdesk processes and try again.",
            )
        time.sleep(_LOOK_AGAIN_S)
    return lock


async def _ask_to_make_way(state: ServiceState) -> None:
    from slmdesk.serving.client import ServiceClient, service_gone

    client = ServiceClient(state.url, state.token)
    try:
        await client.shutdown(if_idle=True)
    except SlmDeskError as error:
        if error.code == "service_busy":
            raise SlmDeskError(
                "service_busy",
                "The service that the window uses is answering right now, and there is one service a user.",
                "Start this one when the answer is complete.",
            ) from error
        if not service_gone(error):
            raise
    finally:
        await client.close()
