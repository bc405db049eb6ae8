"""Which tools the conversation shown may use: the button below the composer, and its menu.

The window is painted with it, so what the room needs is imported when it is used.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.widgets.menu import Menu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.chat.chat_controller import ChatController
    from slmdesk.gui.chat.composer import Composer
    from slmdesk.gui.page import WindowServices
    from slmdesk.tools.selection import ToolSelection
    from slmdesk.tools.toolbox import ServerEntry

_BUILT_IN = {"built-in/calculator": "Calculator", "built-in/current_time": "Current time"}


class ToolChoosing:
    """Keeps what is chosen for a chat that has not begun; that of a conversation is kept with it."""

    def __init__(self, services: WindowServices, controller: ChatController, composer: Composer) -> None:
        self._services = services
        self._controller = controller
        self._composer = composer
        self._button = composer.tools_button
        self._for_new: ToolSelection | None = None
        self.menu: Menu | None = None
        """The menu while it is open."""
        self._button.clicked.connect(self.open)
        self.show()

    def _chosen(self) -> ToolSelection | None:
        """What the conversation shown has; None where none has begun."""
        tree = self._controller.tree
        return tree.conversation.tools if tree is not None else None

    @property
    def selection(self) -> ToolSelection:
        """What the conversation shown may use."""
        from slmdesk.tools.selection import NO_TOOLS

        return self._chosen() or self._for_new or NO_TOOLS

    def begun(self) -> None:
        """The chat that had not begun is a conversation now, or another one is shown."""
        self._for_new = None
        self.show()

    def show(self) -> None:
        """Say on the button what is chosen."""
        chosen = self._chosen() or self._for_new
        names = [_short(name) for name in chosen.names] if chosen is not None else []
        names += [Path(file).name for file in chosen.files] if chosen is not None else []
        words = "Tools" if not names else names[0] if len(names) == 1 else f"{len(names)} tools"
        self._composer.set_tools(words, len(names), ", ".join(names) or "none")

    def open(self) -> None:
        """Show the menu, with the servers there are."""
        self._services.run(self._open(), "chat: tools")

    async def _open(self) -> None:
        tools = self._services.application.tools
        entries: Sequence[ServerEntry] = ()
        problem: SlmDeskError | None = None
        try:
            entries = await tools.servers()
        except SlmDeskError as error:
            problem = error
        self._show_menu(entries)
        if problem is not None:
            raise problem

    def _show_menu(self, entries: Sequence[ServerEntry]) -> None:
        menu = self.menu = Menu(self._button.theme, parent=self._button)
        menu.setAccessibleName("Tools of this conversation")
        for key, title in _BUILT_IN.items():
            self._tick(menu, title, key)
        for file in self.selection.files:
            action = menu.add(f"Read {Path(file).name}", partial(self._drop_file, file))
            action.setCheckable(True)
            action.setChecked(True)
        menu.add("Let it read a file …", self._pick, icon="file")
        menu.addSeparator()
        for entry in entries:
            if entry.server.enabled:
                self._tick(menu, entry.server.name, entry.server.name)
        menu.add("Servers of tools …", self._to_servers, icon="server")
        menu.aboutToHide.connect(self._closed)
        menu.popup(self._button.mapToGlobal(QPoint(0, -menu.sizeHint().height())))

    def _to_servers(self) -> None:
        self._services.visit.tool_servers()

    def _closed(self) -> None:
        menu, self.menu = self.menu, None
        if menu is not None:
            menu.deleteLater()
        self._composer.field.setFocus()

    def _tick(self, menu: Menu, title: str, name: str) -> None:
        action = menu.add(title, partial(self._turn, name))
        action.setCheckable(True)
        action.setChecked(name in self.selection.names)

    def _turn(self, name: str) -> None:
        names = self.selection.names
        kept = tuple(one for one in names if one != name) if name in names else (*names, name)
        self._keep(kept, self.selection.files)

    def _drop_file(self, file: str) -> None:
        selection = self.selection
        self._keep(selection.names, tuple(one for one in selection.files if one != file))

    def _pick(self) -> None:
        self._services.run(self._pick_file(), "chat: a file to read")

    async def _pick_file(self) -> None:
        from slmdesk.gui.dialogs import open_file
        from slmdesk.gui.tasks import in_thread
        from slmdesk.tools.builtin.picked_files import picked

        path = await open_file(self._button.window(), "A text file the model may read")
        if path is not None:
            selection = self.selection
            files = await in_thread(picked, (*selection.files, str(path)))
            self._keep(selection.names, files)

    def _keep(self, names: tuple[str, ...], files: tuple[str, ...]) -> None:
        from slmdesk.tools.selection import ToolSelection

        selection = ToolSelection(names, files)
        tree = self._controller.tree
        if tree is None:
            self._for_new = selection
        else:
            # At once, so that the next choice knows of it.
            tree.conversation = replace(tree.conversation, tools=selection)
            kept = self._services.application.chats.set_tools(tree.conversation.id, selection)
            self._services.run(kept, "chat: tools")
        self.show()


def _short(name: str) -> str:
    """A tool's title, or a server's name."""
    return _BUILT_IN.get(name) or name.removeprefix("built-in/")
