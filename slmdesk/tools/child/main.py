"""The process that speaks with one MCP server, for as long as its parent wants.

It is not tied to its parent by the kernel, as other children are: a parent that is gone has closed stdin, and then the
server is ended in order, with all it started, before this process ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from slmdesk import __version__
from slmdesk.core.child import defect, hear_parent, own_stdout
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import decoded
from slmdesk.tools.tool import cut
from slmdesk.tools.wire import Order, ServerSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mcp import Client

    from slmdesk.core.child import Tell

_FAREWELL_S = 4.0  # for the server to end once the parent is gone


def main() -> int:
    """The child: a spec, then orders on stdin; events on stdout; the server's log on stderr."""
    logging.disable(logging.CRITICAL)  # what the packages log of broken servers is told as an error
    tell = own_stdout()
    loop = asyncio.new_event_loop()
    orders: asyncio.Queue[Order | None] = asyncio.Queue()

    def hear(line: str) -> None:
        with suppress(SlmDeskError):
            loop.call_soon_threadsafe(orders.put_nowait, decoded(line, Order))

    def parent_is_gone() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(orders.put_nowait, None)
        timer = threading.Timer(_FAREWELL_S, os._exit, (0,))
        timer.daemon = True
        timer.start()

    line = hear_parent(hear, parent_is_gone)
    if not line:
        return 0
    try:
        spec = decoded(line, ServerSpec)
        return loop.run_until_complete(_serve(spec, orders, tell))
    except SlmDeskError as error:
        tell({"event": "error", "error": error.to_json()})
    except Exception as error:  # noqa: BLE001 - the last place where a defect can become words
        problem = defect("tool_server_failed", "The server of tools could not be asked", error)
        tell({"event": "error", "error": problem.to_json()})
    # A thread that still listens, or a server that cannot be ended, holds nothing up.
    return 1


async def _serve(spec: ServerSpec, orders: asyncio.Queue[Order | None], tell: Tell) -> int:
    connection = ServerConnection(spec, tell)
    work = asyncio.create_task(connection.run())
    running: dict[int, asyncio.Task[None]] = {}
    while True:
        hearing = asyncio.ensure_future(orders.get())
        await asyncio.wait((hearing, work), return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            hearing.cancel()
            break
        order = hearing.result()
        if order is None or order.do == "end":
            connection.ending.set()
            break
        if order.do == "cancel":
            if call := running.pop(order.id, None):
                call.cancel()
            continue
        running[order.id] = task = asyncio.create_task(connection.answer(order))
        task.add_done_callback(lambda _task, number=order.id: running.pop(number, None))  # type: ignore[misc]
    for task in running.values():
        task.cancel()
    await work
    return 0


class ServerConnection:
    """One server, from its start to its end; `ending` is set to end it."""

    def __init__(self, spec: ServerSpec, tell: Tell) -> None:
        self.ending = asyncio.Event()
        self._spec = spec
        self._tell = tell
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()
        if spec.kind == "stdio":
            from slmdesk.tools.child.stdio import StartedServer

            self._started: StartedServer | None = StartedServer(spec)
            self._reached = None
        else:
            from slmdesk.tools.child.http import ReachedServer

            self._started, self._reached = None, ReachedServer(spec)

    async def run(self) -> None:
        """Connect, tell what is offered, stay until it is to end. Raises `SlmDeskError` for what went wrong."""
        try:
            async with self._transport() as transport:
                await self._talk(transport)
        except SlmDeskError:
            raise
        except Exception as error:
            raise await self._explained(error) from error

    async def answer(self, order: Order) -> None:
        """Do one order and tell what came of it; an order of the parent's to forget it tells nothing."""
        await self._ready.wait()
        assert self._client is not None
        try:
            async with asyncio.timeout(order.limit_s):
                if order.do == "ping":
                    await _alive(self._client)
                    self._tell({"event": "pong", "id": order.id})
                else:
                    await self._call(self._client, order)
        except TimeoutError:
            error = SlmDeskError(
                "tool_timeout",
                f"The server did not answer within {order.limit_s:g} seconds.",
                "Try again, or allow it more time in the settings.",
            )
            self._tell({"event": "refused", "id": order.id, "error": error.to_json()})
        except Exception as error:  # noqa: BLE001 - a broken answer of a server is the answer
            problem = await self._explained(error)
            over = self._started is not None and self._started.over
            self._tell({"event": "refused", "id": order.id, "error": problem.to_json(), "over": over})

    async def _call(self, client: Client, order: Order) -> None:
        from slmdesk.tools.child.content import as_text

        result = await client.call_tool(order.tool, order.arguments)
        text, left_out = cut(as_text(result), order.most)
        self._tell(
            {"event": "called", "id": order.id, "text": text, "failed": result.is_error, "left_out": left_out}
        )

    @asynccontextmanager
    async def _transport(self) -> AsyncGenerator[Any]:
        if self._started is not None:
            yield self._started.streams()
            return
        assert self._reached is not None
        from mcp.client.streamable_http import streamable_http_client

        from slmdesk.tools.wire import LARGEST_MESSAGE

        async with self._reached.client() as http:
            yield streamable_http_client(
                self._reached.url, http_client=http, max_sse_event_size=LARGEST_MESSAGE
            )

    async def _talk(self, transport: Any) -> None:
        from mcp import Client
        from mcp_types import Implementation

        # `auto` asks in the newest way first, and a server that knows only the older one in that.
        client = Client(
            transport,
            client_info=Implementation(name="slmdesk", version=__version__),
            message_handler=self._heard,
            cache=None,
        )
        starting = asyncio.create_task(self._begin(client))
        ending = asyncio.create_task(self.ending.wait())
        try:
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not starting.done():
                starting.cancel()
                with suppress(asyncio.CancelledError):
                    await starting
        if not starting.cancelled():
            await starting

    async def _begin(self, client: Client) -> None:
        """All within one task: the package's scopes are left by the task that entered them."""
        deadline = asyncio.get_running_loop().time() + self._spec.start_s
        try:
            async with asyncio.timeout_at(deadline) as limit, client:
                await self._offer(client, limit)
        except TimeoutError as error:
            raise await self._silent() from error

    async def _offer(self, client: Client, limit: asyncio.Timeout) -> None:
        """What went wrong is explained while the server is there: later it was ended by us."""
        self._client = client
        try:
            await self._tell_tools(client, first=True)
            limit.reschedule(None)
            self._ready.set()
            await self._stay(client)
        except Exception as error:
            raise await self._explained(error) from error

    async def _stay(self, client: Client) -> None:
        """Until it is to end, or the server is gone."""
        gone = asyncio.create_task(self._gone())
        while not self.ending.is_set():
            waits = [asyncio.create_task(event.wait()) for event in (self.ending, self._changed)]
            await asyncio.wait((*waits, gone), return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if gone.done() and not self.ending.is_set():
                raise await self._ended()
            if self._changed.is_set():
                self._changed.clear()
                await self._tell_tools(client)
        gone.cancel()

    async def _gone(self) -> None:
        if self._started is None:
            await asyncio.Event().wait()  # the way by HTTP has no end of its own
            return
        await self._started.gone()

    async def _tell_tools(self, client: Client, *, first: bool = False) -> None:
        from slmdesk.tools.child.content import listed

        tools, left_out = await listed(client) if client.server_capabilities.tools is not None else ([], [])
        told = client.server_info
        self._tell(
            {
                "event": "ready" if first else "tools",
                "title": (told.title or told.name)[:200] if told else "",
                "version": told.version[:60] if told else "",
                "tools": msgspec.to_builtins(tools),
                "left_out": left_out,
            }
        )

    async def _heard(self, message: Any) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _explained(self, error: BaseException) -> SlmDeskError:
        """What an error of the package means to a person."""
        if (known := _own(error)) is not None:
            return known
        if self._reached is not None and (problem := self._reached.problem(error)) is not None:
            return problem
        if self._started is not None:
            if self._started.too_large:
                from slmdesk.tools.child.http import too_large

                return too_large()
            if await self._started.status() is not None:
                return await self._ended()
        words = _words(error)
        return SlmDeskError("tool_server_failed", f"The server answers with an error: {words}", "")

    async def _ended(self) -> SlmDeskError:
        assert self._started is not None
        if self._started.too_large:
            from slmdesk.tools.child.http import too_large

            return too_large()
        status = await self._started.status()
        tail = self._started.process.stderr_tail if self._started.process is not None else []
        from slmdesk.tools.child.endings import explained

        return explained(status, tail)

    async def _silent(self) -> SlmDeskError:
        unreadable = self._started.unreadable if self._started is not None else ""
        if unreadable:
            return SlmDeskError(
                "tool_server_silent",
                f"What was started is no MCP server: it printed “{unreadable[:80]}”.",
                "Check the command; some servers need an argument such as “stdio”.",
            )
        return SlmDeskError(
            "tool_server_silent",
            f"The server did not answer within {self._spec.start_s:g} seconds.",
            "Check that it is a server of tools (MCP), and try again.",
        )


async def _alive(client: Client) -> None:
    """Ask whether a server is there. The newest ones know no ping."""
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
        await client.list_tools(cache_mode="refresh")
    else:
        await client.send_ping()


def _own(error: BaseException) -> SlmDeskError | None:
    """An error of ours, alone or in a group that the package made of it."""
    if isinstance(error, BaseExceptionGroup):
        found = [_own(one) for one in error.exceptions]
        return next((one for one in found if one is not None), None)
    return error if isinstance(error, SlmDeskError) else None


def _words(error: BaseException) -> str:
    """One line of an error, or of the first one in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:400] + ("." if text[-1:].isalnum() else "")
