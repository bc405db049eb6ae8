"""The settings as the window sees them: changes arrive on Qt's thread, and writing never blocks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from slmdesk.core.setting_table import Setting, Value, find_setting

if TYPE_CHECKING:
    from slmdesk.core.settings import Settings


class LiveSettings(QObject):
    """Wraps `Settings`.

    Signals:
        changed: key and value in force, emitted on the window's thread whoever made the change.
    """

    changed = Signal(str, object)

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.settings = settings
        # Emitting from another thread queues the signal for this object's own thread.
        self._unsubscribe = settings.subscribe(self.changed.emit)

    def follow(self, settings: Settings) -> None:
        """From now on speak of this object, which reads the same file."""
        self._unsubscribe()
        self.settings = settings
        self._unsubscribe = settings.subscribe(self.changed.emit)

    def get(self, key: str) -> Any:
        return self.settings.get(key)

    async def set(self, key: str, value: object) -> Value:
        """Write the value; the file is written in a thread. Raises as `Settings.set` does."""
        import asyncio

        return await asyncio.to_thread(self.settings.set, key, value)

    async def restore(self, key: str, value: Value | None) -> None:
        """Put back what was there before: a value, or (None) the default."""
        import asyncio

        if value is None:
            await asyncio.to_thread(self.settings.reset, key)
        else:
            await asyncio.to_thread(self.settings.set, key, value)

    def stored(self, key: str) -> Value | None:
        """The value the file holds, or None when the default counts."""
        return self.get(key) if self.settings.source(key) == "file" else None

    def stop(self) -> None:
        """Hear no more changes."""
        self._unsubscribe()


def value_words(setting: Setting, value: Value) -> str:
    """A value as a person reads it: "on", "automatic", "30 minutes", "Dark"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if setting.special and value in {setting.minimum, ""}:
        return setting.special
    if setting.form == "folders" and not value:
        return "the program's own folder"
    if isinstance(value, str):
        if setting.choices:
            return choice_words(value)
        first = value.strip().splitlines()[0] if value.strip() else "empty"
        return f"“{first[:40]}…”" if len(value) > 40 else first
    number = f"{value:g}" if isinstance(value, float) else f"{value:,}"
    return f"{number} {setting.unit}".rstrip()


_CHOICES = {"drop_oldest": "Leave out the oldest", "keep_ends": "Keep both ends", "refuse": "Refuse"}


def choice_words(choice: str) -> str:
    """A choice as it is written on a button; names of formats stay as they are."""
    if choice in _CHOICES:
        return _CHOICES[choice]
    return choice.capitalize() if choice.isalpha() else choice


def change_words(key: str, value: Value) -> str:
    """What the toast says after a change."""
    setting = find_setting(key)
    if setting.form == "multiline":
        return f"{setting.title} changed."
    if isinstance(value, bool):
        return f"{setting.title} is {value_words(setting, value)} now."
    return f"{setting.title} changed to {value_words(setting, value)}."
