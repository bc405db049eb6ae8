"""What one page asks of another: the window goes there, and the other page does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from slmdesk.gui.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slmdesk.gui.window import MainWindow

P = TypeVar("P", bound=Page)


class Visits:
    """One method an errand. Before the application is there, the latest one waits for it."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window

    def chat_with(self, model: str) -> None:
        """A new chat with this model: a file of the library by its id or path."""
        from slmdesk.gui.chat.chat_page import ChatPage

        self._to(ChatPage, lambda page: page.new_chat(model))

    def conversation(self, conversation_id: int) -> None:
        """That conversation."""
        from slmdesk.gui.chat.chat_page import ChatPage

        self._to(ChatPage, lambda page: page.open(conversation_id))

    def repository(self, repo: str, *, ask_token: bool = False) -> None:
        """A repository of the hub; with `ask_token` it is said that it wants an access token."""
        from slmdesk.gui.catalog.catalog_page import CatalogPage

        self._to(CatalogPage, lambda page: page.open_repo(repo, ask_token=ask_token))

    def kept_values(self, file_id: str) -> None:
        """What a file of the library keeps for itself: how it is loaded and asked."""
        from slmdesk.gui.library.library_page import LibraryPage

        self._to(LibraryPage, lambda page: page.show_kept(file_id))

    def imports(self, paths: list[Path]) -> None:
        """What could be imported of these files and folders."""
        from slmdesk.gui.library.library_page import LibraryPage

        self._to(LibraryPage, lambda page: page.controller.look_at(paths))

    def quantize(self, source: str) -> None:
        """This source: a file of the library by its id, a path, or a repository of the hub."""
        from slmdesk.gui.quantize.quantize_page import QuantizePage

        self._to(QuantizePage, lambda page: page.choose_source(source))

    def tool(self, tool: str, values: Mapping[str, str]) -> None:
        """One of the single steps, with these fields of its form filled in."""
        from slmdesk.gui.quantize.quantize_page import QuantizePage

        self._to(QuantizePage, lambda page: page.open_tools(tool, values))

    def tool_servers(self) -> None:
        """The servers of tools."""
        from slmdesk.gui.settings.settings_page import SettingsPage

        self._to(SettingsPage, lambda page: page.show_tool_servers())

    def _to(self, kind: type[P], errand: Callable[[P], object]) -> None:
        window = self._window
        window.go_to(kind.id)

        def run() -> None:
            page = window.page(kind.id)
            assert isinstance(page, kind)
            errand(page)

        window.when_ready(run)
