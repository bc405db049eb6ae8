"""Finding the user's service, or starting it: what every front end does first."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING

from slmdesk import __version__
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import HOME_VARIABLE, Paths
from slmdesk.core.processes import process_alive, self_command, start_detached
from slmdesk.serving.client import ServiceClient, service_gone
from slmdesk.serving.discovery import ServiceState, UserLock, read_state

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.settings import Settings

log = logging.getLogger(__name__)

_START_S = 60.0  # a cold disk and a busy processor included
_ENDING_S = 2.0  # seconds that a process may take to end once it answers no more
_LOOK_AGAIN_S = 0.05
_LOG_TAIL = 8 * 1024  # bytes
_LOG_LIMIT = 512 * 1024


class ServiceConnector:
    """Attaches to the service of this user. Used on one event loop; `client`s belong to it."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        self._paths = paths
        self._settings = settings
        self._state: ServiceState | None = None
        self._client: ServiceClient | None = None
        self._one_at_a_time = asyncio.Lock()

    async def connect(self, *, start: bool = True) -> ServiceClient:
        """A client of the running service, which is started when there is none.

        Any number of processes may do this at once; they end up at one service. Raises `service_unreachable`
        (with `start` false, or when a running service does not answer) or `service_start_failed`.
        """
        async with self._one_at_a_time:
            client = await self._attach()
            if client is not None:
                return client
            if not start:
                raise SlmDeskError(
                    "service_unreachable", "No service is running.", "Send a message to start it."
                )
            return await self._start()

    async def attached(self) -> ServiceClient | None:
        """A client if a service is running; none is started."""
        async with self._one_at_a_time:
            return await self._attach()

    def forget(self) -> None:
        """Look for the service again at the next `connect`: the one known was lost."""
        self._state = None

    async def close(self) -> None:
        """Let go of the service; it goes on for others, and ends when nobody uses it."""
        if self._client is not None:
            await self._client.close()
        self._client = self._state = None

    async def _attach(self) -> ServiceClient | None:
        """The known client while its service lives, or one to the service of the state file."""
        if self._client is not None and self._state is not None and self._state.alive:
            return self._client
        state = await asyncio.to_thread(_living, self._paths.service_state)
        if state is None:
            return None
        client = ServiceClient(state.url, state.token)
        try:
            health = await client.health()
        except SlmDeskError as error:
            if not service_gone(error):
                raise
            if not await self._ends(state):
                raise
            return None
        if health.get("pid") != state.pid:
            return None
        if state.version != __version__ and state.started_by == "demand" and await _made_way(client):
            return None
        if self._client is not None:
            await self._client.close()
        self._state, self._client = state, client
        return client

    async def _ends(self, state: ServiceState) -> bool:
        """Whether a service that does not answer is just ending: its process may take a moment to be gone."""
        deadline = time.monotonic() + _ENDING_S
        while state.alive and read_state(self._paths.service_state) == state:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_AGAIN_S)
        return True

    async def _start(self) -> ServiceClient:
        """Start a service, or wait for the one that another process is starting."""
        deadline = time.monotonic() + _START_S
        with UserLock.of_start(self._paths) as lock:
            while time.monotonic() < deadline:
                if await asyncio.to_thread(lock.take):
                    # Another process may have started it while this one waited for its turn.
                    return await self._attach() or await self._launch(deadline)
                await asyncio.sleep(_LOOK_AGAIN_S)
                client = await self._attach()
                if client is not None:
                    return client
        raise _start_failed("Another program started it, and it did not answer in time.")

    async def _launch(self, deadline: float) -> ServiceClient:
        output = self._paths.logs / "service-start.log"
        begin = await asyncio.to_thread(_room_in, output)
        command = self_command("serve", "--on-demand", "--json")
        log.info("starting the service")
        pid = await asyncio.to_thread(start_detached, command, output, env=self._environment())
        while time.monotonic() < deadline:
            client = await self._attach()
            if client is not None:
                return client
            if not process_alive(pid):
                # It may have found another service, or failed.
                client = await self._attach()
                if client is not None:
                    return client
                raise await asyncio.to_thread(_reason, output, begin)
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise _start_failed("It did not answer in time.")

    def _environment(self) -> dict[str, str]:
        """The service must find the same folders, also where they were not given by the environment."""
        home = self._paths.runtime.parent
        given = Paths.resolve({HOME_VARIABLE: str(home)})
        return {HOME_VARIABLE: str(home)} if given == self._paths else {}


def _living(path: Path) -> ServiceState | None:
    """The state file, if the process that wrote it still runs."""
    state = read_state(path)
    return state if state is not None and state.alive else None


async def _made_way(client: ServiceClient) -> bool:
    """Ask a service of another version of the program to end; it stays while it answers somebody."""
    try:
        await client.shutdown(if_idle=True)
    except SlmDeskError:
        return False
    return True


def _room_in(path: Path) -> int:
    """Keep the file short; where the output of the next start begins in it."""
    try:
        size = path.stat().st_size
        if size > _LOG_LIMIT:
            path.write_bytes(b"")
            return 0
    except OSError:
        return 0
    return size


def _reason(output: Path, begin: int) -> SlmDeskError:
    """Why a service that ended at once did so: its error event, or the end of what it printed."""
    try:
        with output.open("rb") as file:
            file.seek(begin)
            text = file.read()[-_LOG_TAIL:].decode("utf-8", "replace")
    except OSError as error:
        return _start_failed(f"Its output cannot be read: {error.strerror or error}.")
    for line in reversed(text.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("error"), dict):
            told = SlmDeskError.from_json(event["error"])
            return SlmDeskError(
                "service_start_failed",
                f"The service could not start: {told.message}",
                told.hint,
                details=told.details,
            )
    return _start_failed("It ended at once.", text)


def _start_failed(reason: str, details: str = "") -> SlmDeskError:
    return SlmDeskError(
        "service_start_failed",
        f"The service could not start. {reason}",
        "Try again. The file service.log in the folder of logs holds what it did.",
        details=details,
    )
