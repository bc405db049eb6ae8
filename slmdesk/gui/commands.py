"""The actions that belong to the program itself, not to a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from slmdesk.core.setting_table import find_setting
from slmdesk.gui.actions import Action
from slmdesk.gui.live_settings import change_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.core.setting_table import Value
    from slmdesk.gui.live_settings import LiveSettings
    from slmdesk.gui.window import MainWindow

TEXT_SIZE = "appearance.text_size"
THEME = "appearance.theme"
OFFLINE = "network.offline"


class Commands:
    """Makes the program's actions. Those that change a setting say so in a toast with Undo."""

    def __init__(self, window: MainWindow, live: LiveSettings) -> None:
        self._window = window
        self._live = live
        self._size_wanted: int | None = None  # the text size that is being stored

    def all(self) -> list[Action]:
        return [
            Action("theme.light", "Use light colours", self._setter(THEME, "light"), icon="light"),
            Action("theme.dark", "Use dark colours", self._setter(THEME, "dark"), icon="dark"),
            Action("theme.system", "Use the system's colours", self._setter(THEME, "system"), icon="window"),
            Action(
                "text.larger", "Make text larger", lambda: self._resize(1), "Ctrl+=", "text", also="Ctrl++"
            ),
            Action("text.smaller", "Make text smaller", lambda: self._resize(-1), "Ctrl+-", "text"),
            Action("offline.on", "Work offline", self._setter(OFFLINE, True), "", "offline", self._online),
            Action("offline.off", "Work online", self._setter(OFFLINE, False), "", "online", self._offline),
            Action("folder.models", "Show the folder of models", lambda: self._show("models"), icon="folder"),
            Action("folder.logs", "Show the folder of logs", lambda: self._show("logs"), icon="folder"),
        ]

    async def store(self, key: str, value: object) -> None:
        """Change a setting and offer to undo it. Raises as `Settings.set` does."""
        before = self._live.stored(key)
        self._tell(key, await self._live.set(key, value), before)

    def _tell(self, key: str, stored: Value, before: Value | None) -> None:
        window, live = self._window, self._live
        window.toast(
            change_words(key, stored), lambda: window.run(live.restore(key, before), f"undoing {key}")
        )

    def _setter(self, key: str, value: object) -> Callable[[], object]:
        return lambda: self._window.run(self.store(key, value), f"changing {key}")

    def _resize(self, by: int) -> None:
        setting = find_setting(TEXT_SIZE)
        least, most = int(setting.minimum or 0), int(setting.maximum or 0)
        now = self._live.get(TEXT_SIZE) if self._size_wanted is None else self._size_wanted
        size = min(max(now + by, least), most)
        if size == now:
            return
        storing = self._size_wanted is not None
        self._size_wanted = size
        if not storing:
            self._window.run(self._store_size(), "changing the text size")

    async def _store_size(self) -> None:
        """Write the size, and again while keys were pressed meanwhile: each press counts from the one before."""
        before = self._live.stored(TEXT_SIZE)
        try:
            while self._size_wanted not in {None, self._live.get(TEXT_SIZE)}:
                await self._live.set(TEXT_SIZE, self._size_wanted)
        finally:
            self._size_wanted = None
        self._tell(TEXT_SIZE, self._live.get(TEXT_SIZE), before)

    def _online(self) -> bool:
        return not self._live.get(OFFLINE) and self._live.settings.source(OFFLINE) != "environment"

    def _offline(self) -> bool:
        return bool(self._live.get(OFFLINE)) and self._live.settings.source(OFFLINE) != "environment"

    def _show(self, name: str) -> None:
        folder = getattr(self._window.application.paths, name)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
