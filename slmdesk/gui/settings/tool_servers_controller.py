"""Between the Settings page and the room of tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.page import WindowServices
    from slmdesk.tools.server import NewServer
    from slmdesk.tools.toolbox import ServerEntry, Tools


class ToolServersView(Protocol):
    """What the controller shows."""

    def show_servers(self, entries: Sequence[ServerEntry], always: Sequence[str]) -> None: ...
    def show_checking(self, name: str, *, on: bool) -> None: ...
    def show_add_problem(self, error: SlmDeskError) -> None: ...
    def show_added(self) -> None: ...


class ToolServersController:
    """Reads when the page is looked at; every action of a person is one method."""

    def __init__(self, services: WindowServices, view: ToolServersView) -> None:
        self._services = services
        self._view = view

    @property
    def _tools(self) -> Tools:
        return self._services.application.tools

    def activated(self) -> None:
        """The page is looked at."""
        self._services.run(self._read(), "reading the servers of tools")

    async def _read(self) -> None:
        self._view.show_servers(await self._tools.servers(), await self._tools.always())

    def add(self, name: str, what: str, values: str) -> None:
        """Add a server as the form has it, and look how it is."""
        self._services.run(self._add(name, what, values), "adding a server of tools")

    async def _add(self, name: str, what: str, values: str) -> None:
        from slmdesk.tools.typed import read_typed

        try:
            added = await self._tools.add(read_typed(name, what, values))
        except SlmDeskError as error:
            self._view.show_add_problem(error)
            return
        self._view.show_added()
        await self._read()
        for server in added:
            if server.enabled:
                await self._check(server.name)
        problem = self._services.application.secrets.known_problem
        if problem is not None and any(server.env_names or server.header_names for server in added):
            self._services.show_error(problem)

    def remove(self, name: str) -> None:
        """Forget a server; the toast undoes it."""
        self._services.run(self._remove(name), "removing a server of tools")

    async def _remove(self, name: str) -> None:
        gone = await self._tools.remove(name)
        await self._read()
        self._services.toast(
            f"Removed “{gone.server.name}”.",
            lambda: self._services.run(self._put_back(gone), "undoing a removed server of tools"),
        )

    async def _put_back(self, gone: NewServer) -> None:
        await self._tools.add([gone])
        await self._read()

    def enable(self, name: str, *, on: bool) -> None:
        """Use a server, or leave it alone."""
        self._services.run(self._enable(name, on=on), "turning a server of tools on or off")

    async def _enable(self, name: str, *, on: bool) -> None:
        await self._tools.enable(name, on)
        await self._read()

    def check(self, name: str) -> None:
        """Start a server and show how it is."""
        self._services.run(self._check(name), "checking a server of tools")

    async def _check(self, name: str) -> None:
        self._view.show_checking(name, on=True)
        try:
            await self._tools.check(name)
        except SlmDeskError:
            pass  # its row says so
        finally:
            self._view.show_checking(name, on=False)
            await self._read()

    def ask_again(self, key: str) -> None:
        """Ask before this tool is called, as before."""
        self._services.run(self._ask_again(key), "asking again before a tool is called")

    async def _ask_again(self, key: str) -> None:
        await self._tools.allow(key, always=False)
        await self._read()
