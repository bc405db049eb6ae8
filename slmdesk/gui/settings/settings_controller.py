"""Changing settings from their page: stored at once, with Undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.setting_table import find_setting
from slmdesk.gui.live_settings import change_words

if TYPE_CHECKING:
    from slmdesk.core.setting_table import Value
    from slmdesk.core.settings import Source
    from slmdesk.gui.page import WindowServices


class SettingsView(Protocol):
    """What the controller shows."""

    def show_value(self, key: str, value: Value, source: Source) -> None: ...
    def show_wrong(self, key: str, words: str) -> None: ...


class SettingsController:
    """Every action on one setting."""

    def __init__(self, services: WindowServices, view: SettingsView) -> None:
        self._services = services
        self._live = services.live
        self._view = view
        services.live.changed.connect(self._changed)

    def show(self, key: str) -> None:
        """Show the value that counts, and where it comes from."""
        settings = self._live.settings
        self._view.show_value(key, settings.get(key), settings.source(key))

    def _changed(self, key: str, _value: object) -> None:
        self.show(key)

    def change(self, key: str, value: object) -> None:
        """Store a value and offer to undo it; what is wrong with it is said beside it."""
        self._services.run(self._change(key, value), f"changing {key}")

    async def _change(self, key: str, value: object) -> None:
        before = self._live.stored(key)
        try:
            stored = await self._live.set(key, value)
        except SlmDeskError as error:
            if error.code != "setting_invalid":
                self.show(key)
                raise
            # What only the disk can say is in the message; else the hint has the limits.
            whole = find_setting(key).form == "certificates"
            self._view.show_wrong(key, f"{error.message} {error.hint}" if whole else error.hint)
            return
        self.show(key)
        self._services.toast(change_words(key, stored), lambda: self._restore(key, before))

    def reset(self, key: str) -> None:
        """Take the default again and offer to undo that."""
        self._services.run(self._reset(key), f"resetting {key}")

    async def _reset(self, key: str) -> None:
        before = self._live.stored(key)
        await self._live.restore(key, None)
        self.show(key)
        title = find_setting(key).title
        self._services.toast(f"{title} is back to its default.", lambda: self._restore(key, before))

    def _restore(self, key: str, value: Value | None) -> None:
        self._services.run(self._live.restore(key, value), f"undoing {key}")
