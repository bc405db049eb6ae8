"""The life of one service: listen, load, serve, end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from slmdesk import __version__
from slmdesk.core.logs import register_secret
from slmdesk.core.processes import process_create_time
from slmdesk.library.blobs import Blobs
from slmdesk.serving.answers import Answers
from slmdesk.serving.app import Activity, Front, build_app
from slmdesk.serving.bodies import Bodies
from slmdesk.serving.connections import ConnectionLimits, Door
from slmdesk.serving.creating import Creating
from slmdesk.serving.discovery import ServiceState, remove_state, write_state
from slmdesk.serving.gate import Gate
from slmdesk.serving.keys import KeyBook
from slmdesk.serving.listening import (
    LOOPBACK,
    Listeners,
    access_of,
    bind,
    listen,
    listen_as_ollama,
    reachable,
)
from slmdesk.serving.metrics import Metrics
from slmdesk.serving.model_routes import Identity, ModelRoutes
from slmdesk.serving.models import Models
from slmdesk.serving.ollama_models import OllamaModels
from slmdesk.serving.pulls import Pulls
from slmdesk.serving.rates import Rates
from slmdesk.serving.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from slmdesk.serving.gate import Access
    from slmdesk.serving.start import Announcer, Ending, ServeOptions, ServiceRooms

log = logging.getLogger(__name__)

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
        self._door: Door | None = None
        self._models = Models(
            rooms.library,
            rooms.settings,
            rooms.paths.logs / "engine.log",
            rooms.calibration,
            rooms.safe_steps,
            created=rooms.created_models,
            devices=rooms.devices,
            for_many=not options.on_demand,
        )

    async def run(self, announcer: Announcer) -> Ending:
        """Serve until something ends it, and tell what did.

        Raises `port_in_use`, `address_unusable`, `tls_invalid`, `key_needed`, `pattern_invalid`, and what a model of
        `options.models` cannot be loaded for.
        """
        self._ending = asyncio.get_running_loop().create_future()
        with _signals(self.stop), contextlib.ExitStack() as sockets:
            tls = tls_context(self._options.tls_cert, self._options.tls_key)
            public = sockets.enter_context(listen(self._options, self._settings))
            # Our own front ends know no certificate: they have a port of their own where others speak TLS.
            own = sockets.enter_context(bind(LOOPBACK, 0)) if tls is not None else None
            ollama = listen_as_ollama(self._options, self._settings)
            if ollama is not None:
                sockets.enter_context(ollama)
            return await self._serve(Listeners(public, own, tls, ollama), announcer)

    def stop(self, reason: Ending = "asked") -> None:
        """Begin to end. Harmless when it is ending already."""
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(reason)

    async def _serve(self, listeners: Listeners, announcer: Announcer) -> Ending:
        assert self._ending is not None
        keys = KeyBook(self._paths.api_keys, self._options.api_key)
        access = access_of(self._options, self._settings, keys, listeners)
        state = self._state(access)
        runner = web.AppRunner(
            self._app(Gate(access, state.token, keys), state, listeners.ollama_port),
            handler_cancellation=True,
            shutdown_timeout=_LAST_ANSWERS_S,
            handle_signals=False,
        )
        await runner.setup()
        assert runner.server is not None
        door = self._door = Door(runner.server, ConnectionLimits.of(self._settings))
        servers: list[asyncio.Server] = []
        try:
            for name in self._options.models:
                await self._models.give(name)
            servers += await listeners.open(door, float(self._settings.get("service.header_seconds")))
            write_state(self._paths.service_state, state)
            log.info("answering at %s, process %d, started by %s", state.url, state.pid, state.started_by)
            await self._load_given(announcer)
            if not self._ending.done():
                url = f"{access.scheme}://{reachable(access.host)}:{access.port}"
                announcer.ready(
                    url,
                    state.pid,
                    host=access.host,
                    key_needed=not access.waived,
                    ollama_url=f"{access.scheme}://{reachable(access.host)}:{access.ollama_port}"
                    if access.ollama_port
                    else "",
                )
            async with self._tested_when_idle():
                return await self._until_end()
        finally:
            # First the file, so that nobody attaches any more; the place stays taken until all is over.
            remove_state(self._paths.service_state, state.pid)
            for server in servers:
                server.close()
            await self._models.stop()
            await runner.cleanup()
            await self._rooms.close()
            door.close()
            log.info("ended")

    def _app(self, gate: Gate, state: ServiceState, ollama_port: int) -> web.Application:
        metrics = Metrics(
            self._models.describe,
            lambda: self._door.connections if self._door is not None else 0,
            lambda: self._models.waiting,
        )
        bodies = Bodies.of(self._settings)
        rates = Rates(lambda: int(self._settings.get("service.requests_per_minute")))
        identity = Identity(state.pid, state.version, state.started_by, time.monotonic(), ollama_port)
        return build_app(
            Front(gate, self._activity, bodies, rates, metrics),
            self._models,
            Answers(self._models),
            ModelRoutes(self._models, self._activity, identity, metrics, self.stop),
            self._changes(bodies),
            most_body=bodies.most,
        )

    def _changes(self, bodies: Bodies) -> OllamaModels:
        rooms, models = self._rooms, self._models
        pulls, blobs = Pulls(models, rooms.pulling, rooms.jobs), Blobs(rooms.library)
        creating = Creating(
            rooms.library,
            models,
            rooms.created_models,
            blobs=blobs,
            pulls=pulls,
            quantizing=rooms.quantizing,
            jobs=rooms.jobs,
        )
        return OllamaModels(
            models,
            rooms.created_models,
            pulls=pulls,
            creating=creating,
            blobs=blobs,
            trash=rooms.trash,
            bodies=bodies,
        )

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
        def told(fraction: float) -> None:
            announcer.loading(name, fraction)

        async with self._models.use(name, trusted=True, on_progress=told, serves=None):
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

    def _state(self, access: Access) -> ServiceState:
        token = secrets.token_urlsafe(32)
        register_secret(token)
        register_secret(self._options.api_key)
        host, port = (LOOPBACK, access.private_port) if access.private_port else (access.host, access.port)
        return ServiceState(
            port=port,
            pid=os.getpid(),
            create_time=process_create_time(),
            token=token,
            version=__version__,
            url=f"http://{reachable(host)}:{port}",
            started_by="demand" if self._options.on_demand else "hand",
        )


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
