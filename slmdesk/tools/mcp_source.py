"""One MCP server as a source of tools: the parent of the process that speaks with it.

The process is started when a tool is wanted and ended when none was for a while. Whatever the server does ends at the
process: a wrong word, silence, a flood, or its death is a `SlmDeskError` here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from slmdesk.core.child import SpokenChild
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import redact
from slmdesk.core.processes import self_command
from slmdesk.inference.wire import converted, encoded
from slmdesk.tools.tool import MOST_ARGUMENTS, OfferedTool, ToolOutcome
from slmdesk.tools.wire import Order, ServerSpec, ToolsOffered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.tools.server import McpServer

log = logging.getLogger(__name__)

ServerState = Literal["idle", "starting", "running", "failed"]

IDLE_S = 300.0  # a server that no tool was asked of for this long is ended
_PATIENCE_S = 10.0  # what the process between may take beside the server
_FAREWELL_S = 1.5
_MOST_SILENT = 2  # calls in a row without an answer, after which the server is started anew


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """How a server is. `title`, `version`: what it calls itself; `problem`: why it failed; `left_out`: sentences."""

    state: ServerState = "idle"
    title: str = ""
    version: str = ""
    tools: tuple[OfferedTool, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: SlmDeskError | None = None
    tail: tuple[str, ...] = ()


class McpSource:
    """`spec` tells how the server is started now; asking for it may raise `SlmDeskError`."""

    def __init__(
        self,
        server: McpServer,
        spec: Callable[[], Awaitable[ServerSpec]],
        *,
        most: Callable[[], int],
        idle_s: float = IDLE_S,
    ) -> None:
        """`most`: characters of a result that are kept."""
        self.server = server
        self._spec = spec
        self._most = most
        self._idle_s = idle_s
        self._lock = asyncio.Lock()
        self._child: SpokenChild | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._silent = 0
        self._over = False  # the server is ending, and the process that speaks with it
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._health = ServerHealth()

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def health(self) -> ServerHealth:
        """How it is, with the last lines of its log; without anything that is a secret."""
        tail = self._child.tail if self._child is not None else self._health.tail
        return replace(self._health, tail=tuple(map(redact, tail)))

    async def tools(self) -> tuple[OfferedTool, ...]:
        """What the server offers; starts it. Raises why it cannot be asked."""
        await self._start()
        return self._health.tools

    async def ping(self) -> None:
        """Ask whether it is there; starts it. Raises why it does not answer."""
        await self._ask(Order("ping", limit_s=_PATIENCE_S))

    async def call(self, tool: str, arguments: dict[str, Any], limit_s: float) -> ToolOutcome:
        """Call one of its tools. What the tool itself refuses is a failed outcome.

        Raises `tool_arguments_invalid`, `tool_timeout`, or why the server cannot be asked.
        """
        if len(encoded(arguments)) > MOST_ARGUMENTS * 4:
            raise SlmDeskError(
                "tool_arguments_invalid", "The arguments are too long.", "Call the tool with less."
            )
        began = time.monotonic()
        order = Order("call", tool=tool, arguments=arguments, limit_s=limit_s, most=self._most())
        event = await self._ask(order)
        seconds = time.monotonic() - began
        return ToolOutcome(str(event["text"]), bool(event["failed"]), seconds, int(event["left_out"]))

    async def close(self) -> None:
        """End the server and the process that speaks with it. What waits for it gets an error."""
        await self._close()
        if self._ending:
            await asyncio.wait(self._ending)

    # One order

    async def _ask(self, order: Order) -> dict[str, Any]:
        await self._start()
        child = self._child
        assert child is not None
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._stay()
        try:
            await child.say(msgspec.to_builtins(msgspec.structs.replace(order, id=number)))
            async with asyncio.timeout(order.limit_s + _PATIENCE_S):
                event = await answer
        except TimeoutError:
            self.end_soon()
            raise SlmDeskError(
                "tool_timeout",
                f"“{self.name}” did not answer and was ended.",
                "Try again; it starts anew then.",
            ) from None
        except asyncio.CancelledError:
            with suppress(OSError):
                await child.say(msgspec.to_builtins(Order("cancel", id=number)))
            raise
        finally:
            self._waiting.pop(number, None)
            self._stay()
        if event["event"] != "refused":
            self._silent = 0
            return event
        error = SlmDeskError.from_json(event["error"])
        if event.get("over"):
            self._over = True
            self._health = replace(self._health, state="failed", problem=error)
        self._silent = self._silent + 1 if error.code == "tool_timeout" else 0
        if self._silent >= _MOST_SILENT:
            self.end_soon()
        raise error

    def _stay(self) -> None:
        """It is used: it may stay for a while, and as long as a call is under way."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if not self._waiting and self._child is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._idle_s, self.end_soon)

    def end_soon(self) -> None:
        """`close` in a task of its own; what waits gets an error."""
        task = asyncio.create_task(self._close(), name=f"ending {self.name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _close(self) -> None:
        async with self._lock:
            await self._end()

    # The process

    async def _start(self) -> None:
        async with self._lock:
            if (
                self._child is not None
                and self._reader is not None
                and not (self._over or self._reader.done())
            ):
                return
            await self._end()
            self._health = ServerHealth("starting")
            try:
                await self._begin(await self._spec())
            except SlmDeskError as error:
                tail = tuple(self._child.tail) if self._child is not None else ()
                await self._end()
                self._health = ServerHealth("failed", problem=error, tail=tail)
                raise
            except BaseException:
                await self._end()
                raise
            self._stay()

    async def _begin(self, spec: ServerSpec) -> None:
        loop = asyncio.get_running_loop()
        self._ready = ready = loop.create_future()
        self._silent, self._over = 0, False
        self._child = await SpokenChild.start(self_command("tool-server"), encoded(spec), grace_s=0.5)
        self._reader = asyncio.create_task(self._read(self._child), name=f"tools of {self.name}")
        try:
            async with asyncio.timeout(spec.start_s + _PATIENCE_S):
                await ready
        except TimeoutError:
            raise SlmDeskError(
                "tool_server_silent", f"“{self.name}” did not start in time.", "Try again."
            ) from None

    async def _read(self, child: SpokenChild) -> None:
        """Until the process ends: hand each event to who waits for it."""
        problem = SlmDeskError(
            "tool_server_failed", f"“{self.name}” ended.", "It starts again when it is needed."
        )
        try:
            async for event in child.events():
                self._take(event)
        except SlmDeskError as error:
            problem = error
        except ValueError:  # a line longer than any that the process makes
            problem = SlmDeskError("tool_server_failed", f"“{self.name}” said what cannot be read.", "")
        except Exception:
            log.exception("the words of a server of tools could not be read")
        log.info("the server of tools %s ended: %s", self.name, redact(str(problem)))
        self._health = replace(self._health, state="failed", problem=problem, tail=tuple(child.tail))
        self._fail(problem)

    def _take(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "ready" | "tools":
                tools = (converted(tool, ToolsOffered) for tool in event["tools"])
                self._health = ServerHealth(
                    "running",
                    str(event["title"]),
                    str(event["version"]),
                    tuple(
                        OfferedTool(
                            self.name,
                            tool.name,
                            tool.description,
                            tool.parameters,
                            tool.title,
                            tool.read_only,
                        )
                        for tool in tools
                    ),
                    tuple(event["left_out"]),
                )
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(None)
            case "called" | "refused" | "pong":
                answer = self._waiting.get(event["id"])
                if answer is not None and not answer.done():
                    answer.set_result(event)

    def _fail(self, problem: SlmDeskError) -> None:
        for waiting in (self._ready, *self._waiting.values()):
            if waiting is not None and not waiting.done():
                waiting.set_exception(problem)
                waiting.exception()  # it may be that nobody waits any more

    async def _end(self) -> None:
        """End the process: in order first, so that a server by HTTP hears that its session is over."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        child, reader = self._child, self._reader
        if child is None:
            return
        if reader is not None and not reader.done():
            reader.cancel()
            await asyncio.wait({reader})
            self._health = ServerHealth(tail=tuple(child.tail))
            self._fail(
                SlmDeskError("tool_server_off", f"“{self.name}” was ended.", "It starts again when needed.")
            )
        await child.say(msgspec.to_builtins(Order("end")))
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _FAREWELL_S)
        await child.end()
        self._child = self._reader = None
