"""The life of one service: listen, load, serve, end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from slmdesk import __version__
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret
from slmdesk.core.processes import process_create_time
from slmdesk.serving.app import Activity, build_app
from slmdesk.serving.discovery import ServiceState, remove_state, write_state
from slmdesk.serving.gate import Gate
from slmdesk.serving.model_routes import Identity
from slmdesk.serving.models import Models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from slmdesk.serving.start import Announcer, Ending, ServeOptions, ServiceRooms

log = logging.getLogger(__name__)

DEFAULT_PORT = 8765  # of a service started by hand
_SWEEP_S = 5.0
_TEST_AFTER_S = 20.0  # without an answer; a window tests sooner
_LAST_ANSWERS_S = 3.0  # for clients to read their last events when the service ends


class Service:
    """One service, whose place is claimed already. `run` returns when it has ended."""

    def __init__(self, rooms: ServiceRooms, options: ServeOptions) -> None:
        self._rooms = rooms
        self._paths = rooms.paths
        self._settings = rooms.settings
        self._options = options
        self._ending: asyncio.Future[Ending] | None = None
        self._activity = Activity()
        self._models = Models(
            rooms.library,
            rooms.settings,
            rooms.paths.logs / "engine.log",
            rooms.calibration,
            rooms.safe_steps,
            devices=rooms.devices,
            for_many=not options.on_demand,
        )

    async def run(self, announcer: Announcer) -> Ending:
        """Serve until something ends it, and tell what did.

        Raises `port_in_use`, `address_unusable`, and what a model of `options.models` cannot be loaded for.
        """
        self._ending = asyncio.get_running_loop().create_future()
        with _signals(self.stop):
            listener = self._listen()
            try:
                return await self._serve(listener, announcer)
            finally:
                listener.close()

    def stop(self, reason: Ending = "asked") -> None:
        """Begin to end. Harmless when it is ending already."""
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(reason)

    def _listen(self) -> socket.socket:
        host, port = self._address()
        try:
            return _bind(host, port)
        except SlmDeskError as error:
            if not self._options.on_demand or error.code != "port_in_use":
                raise
            log.warning("%s Taking another one.", error.message)
            return _bind(host, 0)

    def _address(self) -> tuple[str, int]:
        options = self._options
        host = options.host or str(self._settings.get("service.host")) or "127.0.0.1"
        port = int(self._settings.get("service.port")) or (0 if options.on_demand else DEFAULT_PORT)
        return host, port if options.port is None else options.port

    async def _serve(self, listener: socket.socket, announcer: Announcer) -> Ending:
        assert self._ending is not None
        host, port = self._address()[0], int(listener.getsockname()[1])
        state = self._state(host, port)
        gate = Gate(
            host=host,
            port=port,
            token=state.token,
            token_required=self._options.on_demand,
            origins=self._options.allow_origins,
        )
        identity = Identity(state.pid, state.version, state.started_by, time.monotonic())
        app = build_app(self._models, gate, self._activity, identity, self.stop)
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_LAST_ANSWERS_S,
            handle_signals=False,
        )
        await runner.setup()
        try:
            for name in self._options.models:
                await self._models.give(name)
            await web.SockSite(runner, listener, backlog=128).start()
            write_state(self._paths.service_state, state)
            log.info("answering at %s, process %d, started by %s", state.url, state.pid, state.started_by)
            await self._load_given(announcer)
            if not self._ending.done():
                announcer.ready(state.url, state.pid, host=host)
            async with self._tested_when_idle():
                return await self._until_end()
        finally:
            # First the file, so that nobody attaches any more; the place stays taken until all is over.
            remove_state(self._paths.service_state, state.pid)
            await asyncio.gather(*(site.stop() for site in runner.sites))
            await self._models.stop()
            await runner.cleanup()
            log.info("ended")

    @contextlib.asynccontextmanager
    async def _tested_when_idle(self) -> AsyncIterator[None]:
        """After an installation or an update the engine's arithmetic is tested beside, while no model is in use."""
        began = time.monotonic()

        def idle_s() -> float:
            slots = self._models.slots
            last = max([began, *(slot.last_used for slot in slots)])
            busy = any(slot.users or slot.loading is not None for slot in slots)
            return 0.0 if busy else time.monotonic() - last

        test = self._rooms.self_test.run_when_idle(idle_s, after_s=_TEST_AFTER_S)
        testing = asyncio.create_task(test, name="self-test when idle")
        try:
            yield
        finally:
            testing.cancel()
            await asyncio.wait({testing})
            if not testing.cancelled() and (error := testing.exception()) is not None:
                log.error("the self-test failed in a way it should not", exc_info=error)

    async def _load_given(self, announcer: Announcer) -> None:
        assert self._ending is not None
        for name in self._options.models:
            load = asyncio.create_task(self._load_one(name, announcer))
            both: set[asyncio.Future[Any]] = {load, self._ending}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not load.done():
                load.cancel()
                await asyncio.wait({load})
                return
            load.result()

    async def _load_one(self, name: str, announcer: Announcer) -> None:
        async with self._models.use(name, trusted=True, on_progress=lambda f: announcer.loading(name, f)):
            pass

    async def _until_end(self) -> Ending:
        assert self._ending is not None
        while True:
            limit = self._idle_limit()
            rest = min(_SWEEP_S, max(0.05, limit / 4)) if limit else _SWEEP_S
            done, _ = await asyncio.wait({self._ending}, timeout=rest)
            if done:
                log.info("ending: %s", self._ending.result())
                return self._ending.result()
            await self._models.sweep()
            if limit and self._activity.idle_s > limit:
                log.info("nobody used the service for %.0f s", self._activity.idle_s)
                self.stop("idle")

    def _idle_limit(self) -> float:
        """Seconds without use after which it ends; 0: never."""
        if not self._options.on_demand:
            return 0.0
        if self._options.idle_s is not None:
            return self._options.idle_s
        return 60.0 * int(self._settings.get("service.idle_minutes"))

    def _state(self, host: str, port: int) -> ServiceState:
        token = secrets.token_urlsafe(32)
        register_secret(token)
        return ServiceState(
            port=port,
            pid=os.getpid(),
            create_time=process_create_time(),
            token=token,
            version=__version__,
            url=f"http://{_reachable(host)}:{port}",
            started_by="demand" if self._options.on_demand else "hand",
        )


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `port_in_use` or `address_unusable`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, 10013, 10048}:
            raise SlmDeskError(
                "port_in_use",
                f"Port {port} on {host} cannot be used: {error.strerror or error}.",
                "Choose another one, or end the program that uses it.",
            ) from error
        raise SlmDeskError(
            "address_unusable",
            f"The service cannot answer at {host}: {error.strerror or error}.",
            "Use 127.0.0.1, or an address of this machine.",
        ) from error


def _reachable(host: str) -> str:
    """How programs on this machine reach a service bound to `host`."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared with, not bound to
        return "[::1]" if host == "::" else "127.0.0.1"
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _signals(stop: Callable[[Ending], None]) -> Iterator[None]:
    """Ctrl-C and requests to end, while the block runs. A second Ctrl-C ends at once; engines end with us."""
    loop = asyncio.get_running_loop()
    interrupted = False

    def on_interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(130)
        interrupted = True
        stop("interrupted")

    actions: dict[str, Callable[[], None]] = {
        "SIGINT": on_interrupt,
        "SIGBREAK": on_interrupt,
        "SIGTERM": lambda: stop("terminated"),
        "SIGHUP": lambda: stop("terminated"),
    }
    previous = {}
    for name, action in actions.items():
        number = getattr(signal, name, None)
        if number is None:
            continue
        if sys.platform == "win32":
            previous[number] = signal.signal(number, lambda *_, act=action: loop.call_soon_threadsafe(act))
        else:
            previous[number] = signal.getsignal(number)
            loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number, handler in previous.items():
            if sys.platform != "win32":
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
