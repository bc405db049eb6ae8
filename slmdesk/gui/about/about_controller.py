"""What the About page shows of this installation: its folders, its parts, their licences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.gui.about.components import component_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slmdesk.gui.page import WindowServices


class AboutView(Protocol):
    """What the controller shows."""

    def show_folders(self, folders: Sequence[tuple[str, Path]]) -> None: ...
    def show_versions(self, versions: Mapping[str, str]) -> None: ...
    def offer_licences(self, page: Path) -> None: ...


class AboutController:
    """Reads once what does not change while the window is open."""

    def __init__(self, services: WindowServices, view: AboutView) -> None:
        self._services = services
        self._view = view

    def begin(self) -> None:
        """Show where the program keeps what, and of what it is made."""
        paths = self._services.application.paths
        self._view.show_folders(
            (
                ("Settings", paths.config),
                ("Conversations", paths.data),
                ("Models", paths.models),
                ("Logs", paths.logs),
            )
        )
        page = paths.resources / "licences.html"
        if page.is_file():  # only a packaged program carries it: it alone brings the parts along
            self._view.offer_licences(page)
        self._services.run(self._read_versions(), "reading versions")

    async def _read_versions(self) -> None:
        from asyncio import to_thread

        self._view.show_versions(await to_thread(component_versions))
