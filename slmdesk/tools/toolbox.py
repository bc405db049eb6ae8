"""The room of tools: every action of a person with servers and tools is a method here, and so is calling a tool."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.logs import register_secret
from slmdesk.core.processes import names_a_secret
from slmdesk.hub.errors import offline_error
from slmdesk.tools.builtin.picked_files import picked
from slmdesk.tools.builtin.source import ALWAYS_THERE, BuiltIn
from slmdesk.tools.mcp_source import IDLE_S, McpSource, ServerHealth
from slmdesk.tools.selection import ToolSelection
from slmdesk.tools.server import read_pasted
from slmdesk.tools.tool import BUILT_IN, OfferedTool, ToolOutcome, cut, named, read_arguments
from slmdesk.tools.wire import START_S, ServerSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.core.settings import Settings, Value
    from slmdesk.hub.access import HubAccess
    from slmdesk.tools.kept import KeptTools, ToolKeeping
    from slmdesk.tools.server import McpServer, NewServer
    from slmdesk.tools.tool import ToolSource

log = logging.getLogger(__name__)

_TAIL = 50  # lines of a server's log that are shown


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of one question by the names the model is told, and what could not be offered."""

    by_name: dict[str, OfferedTool]
    problems: tuple[SlmDeskError, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """A server, and how it is in this process."""

    server: McpServer
    health: ServerHealth

    def to_json(self) -> dict[str, Any]:
        health = self.health
        told: dict[str, Any] = {
            **self.server.to_json(),
            "state": health.state if self.server.enabled else "off",
            "title": health.title,
            "version": health.version,
            "tools": [tool.to_json() for tool in health.tools],
            "left_out": list(health.left_out),
            "notes": list(self.server.notes),
        }
        if health.problem is not None:
            told["problem"] = health.problem.to_json()
        return told


class Tools:
    """One instance a process, used on one event loop. Servers end when they are not used, and with `close`."""

    def __init__(
        self,
        keeping: ToolKeeping,
        hub: HubAccess,
        settings: Settings,
        *,
        start_s: float = START_S,
        idle_s: float = IDLE_S,
    ) -> None:
        """`hub` knows the proxies and whether the person wants to be offline."""
        self._keeping = keeping
        self._hub = hub
        self._settings = settings
        self._start_s = start_s
        self._idle_s = idle_s
        self._sources: dict[str, McpSource] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe = settings.subscribe(self._setting_changed)

    @property
    def most_calls(self) -> int:
        """How many times in a row a model may call tools in one answer."""
        return int(self._settings.get("tools.most_steps"))

    # Servers

    async def servers(self) -> tuple[ServerEntry, ...]:
        """All servers with their state; starts none. Raises `tools_damaged`, `file_unreadable`."""
        kept = await self._kept()
        return tuple(ServerEntry(server, self._health(server)) for server in kept.servers)

    async def add(self, new: Iterable[NewServer], *, replace: bool = False) -> tuple[McpServer, ...]:
        """Keep servers, all of them or none. Raises `tool_server_exists` unless they may `replace` others."""
        added = await asyncio.to_thread(self._keeping.add, list(new), replace=replace)
        for server in added:
            await self._let_go(server.name)
        return tuple(added)

    async def add_pasted(self, text: str, *, replace: bool = False) -> tuple[McpServer, ...]:
        """Keep the servers of a pasted `{"mcpServers": …}`. Raises `tool_server_invalid`, `tool_server_exists`."""
        return await self.add(read_pasted(text), replace=replace)

    async def remove(self, name: str) -> NewServer:
        """End and forget a server; what comes back can be given to `add` again. Raises `tool_server_missing`."""
        gone = await asyncio.to_thread(self._keeping.remove, name)
        await self._let_go(gone.server.name)
        return gone

    async def enable(self, name: str, on: bool) -> McpServer:
        """Use a server, or end it and leave it alone. Raises `tool_server_missing`."""
        server = await asyncio.to_thread(self._keeping.enable, name, on)
        await self._let_go(server.name)
        return server

    async def check(self, name: str) -> ServerEntry:
        """Start a server, or ask one that runs, and tell how it is. Raises why it cannot be used."""
        kept = await self._kept()
        source = await self._source(kept.server(name))
        await source.tools()
        await source.ping()
        return ServerEntry(source.server, source.health)

    async def log(self, name: str) -> tuple[str, ...]:
        """The last lines a server wrote in this process."""
        return self._health((await self._kept()).server(name)).tail[-_TAIL:]

    # Tools

    async def choose(self, names: Sequence[str], files: Sequence[str] = ()) -> ToolSelection:
        """A selection by what a person typed: built-in tools by their names, servers, "server/tool", "all".

        Raises `tool_unknown` for what is none of them, and what `picked` raises.
        """
        kept = await self._kept()
        built_in = {tool.name: tool.key for tool in ALWAYS_THERE}
        chosen: dict[str, None] = {}
        for name in map(str.strip, names):
            server = next(
                (s.name for s in kept.servers if s.name.casefold() == name.partition("/")[0].casefold()), ""
            )
            if name == "all":
                chosen |= dict.fromkeys([BUILT_IN, *(s.name for s in kept.servers if s.enabled)])
            elif name == BUILT_IN or name in built_in.values():
                chosen[name] = None
            elif name in built_in:
                chosen[built_in[name]] = None
            elif server:
                chosen["/".join((server, *name.split("/")[1:]))] = None
            else:
                known = ", ".join((*built_in, *(s.name for s in kept.servers), "all"))
                raise SlmDeskError(
                    "tool_unknown", f"There are no tools called “{name[:60]}”.", f"There are: {known}."
                )
        return ToolSelection(tuple(chosen), await asyncio.to_thread(picked, files))

    async def offered(self, selection: ToolSelection) -> OfferedTools:
        """The tools of a selection; starts the servers it needs. What cannot be had is among the problems."""
        found: list[OfferedTool] = []
        problems: list[SlmDeskError] = []

        async def ask(name: str) -> tuple[OfferedTool, ...]:
            return await (await self._source_called(name, selection)).tools()

        asked = (ask(name) for name in selection.sources)
        for got in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(got, SlmDeskError):
                problems.append(got)
            elif isinstance(got, BaseException):
                raise got
            else:
                found += [tool for tool in got if selection.holds(tool)]
        return OfferedTools(named(tuple(found)), tuple(problems))

    async def call(self, tool: OfferedTool, arguments: str, selection: ToolSelection) -> ToolOutcome:
        """Call a tool with the arguments a model wrote. What goes wrong is a failed outcome, in words for the model."""
        most = int(self._settings.get("tools.result_characters"))
        try:
            source = await self._source_called(tool.server, selection)
            limit_s = float(self._settings.get("tools.call_seconds"))
            outcome = await source.call(tool.name, read_arguments(arguments), limit_s)
        except SlmDeskError as error:
            return ToolOutcome(str(error), failed=True)
        text, left_out = cut(outcome.text, most)
        return ToolOutcome(text, outcome.failed, outcome.seconds, outcome.left_out + left_out)

    async def is_allowed(self, tool: OfferedTool) -> bool:
        """Whether the person said that this tool may always be called. A file that cannot be read allows nothing."""
        with suppress(SlmDeskError):
            return tool.key in (await self._kept()).always
        return False

    async def always(self) -> tuple[str, ...]:
        """The keys of the tools that may always be called: "server/tool"."""
        return (await self._kept()).always

    async def allow(self, key: str, *, always: bool) -> None:
        """Let a tool always be called without asking, or have it asked for again."""
        await asyncio.to_thread(self._keeping.allow, key, always)

    async def close(self) -> None:
        """End every server that this process started."""
        self._unsubscribe()
        await asyncio.gather(*(source.close() for source in self._sources.values()))

    # Sources

    async def _kept(self) -> KeptTools:
        self._loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self._keeping.read)

    def _health(self, server: McpServer) -> ServerHealth:
        source = self._sources.get(server.name)
        return source.health if source is not None and source.server == server else ServerHealth()

    async def _source_called(self, name: str, selection: ToolSelection) -> ToolSource:
        if name == BUILT_IN:
            return BuiltIn(selection.files)
        return await self._source((await self._kept()).server(name))

    async def _source(self, server: McpServer) -> McpSource:
        """The source of a server as it is kept now. Raises `tool_server_off`, `offline`."""
        if not server.enabled:
            raise SlmDeskError(
                "tool_server_off", f"The server “{server.name}” is turned off.", "Turn it on first."
            )
        if not server.on_this_machine and self._hub.offline:
            await self._let_go(server.name)
            raise offline_error()
        source = self._sources.get(server.name)
        if source is None or source.server != server:
            await self._let_go(server.name)
            source = self._sources[server.name] = McpSource(
                server,
                lambda: self._spec(server),
                most=lambda: int(self._settings.get("tools.result_characters")),
                idle_s=self._idle_s,
            )
        return source

    async def _spec(self, server: McpServer) -> ServerSpec:
        """How it is started, with its secrets. Raises `tool_server_missing`, and what a wrong proxy raises."""
        new = await asyncio.to_thread(self._keeping.with_values, server)
        for name, value in new.env.items():
            if names_a_secret(name):
                register_secret(value)
        for value in new.headers.values():
            register_secret(value)
            register_secret(value.rpartition(" ")[2])
        if server.kind == "stdio":
            return ServerSpec(
                "stdio",
                server.command,
                server.args,
                new.env,
                server.cwd,
                offline=self._hub.offline,
                start_s=self._start_s,
            )
        url = f"{server.url}?{new.query}" if server.has_query else server.url
        if server.on_this_machine:
            return ServerSpec("http", url=url, headers=new.headers, start_s=self._start_s)
        route = await self._hub.find_route()
        return ServerSpec(
            "http",
            url=url,
            headers=new.headers,
            proxies=route.proxies,
            ca_file=route.ca_file,
            start_s=self._start_s,
        )

    async def _let_go(self, name: str) -> None:
        source = self._sources.pop(name, None)
        if source is not None:
            await source.close()

    def _setting_changed(self, key: str, _value: Value) -> None:
        """“Work offline” ends the connections to other machines at once."""
        if key == "network.offline" and self._loop is not None and self._hub.offline:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._leave_network)

    def _leave_network(self) -> None:
        for source in self._sources.values():
            if not source.server.on_this_machine:
                source.end_soon()
