"""The values of the settings: the environment's, then those of `settings.toml`, then the defaults."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.core.setting_checks import check_certificates
from slmdesk.core.setting_table import (
    BY_NAME,
    SETTINGS,
    Setting,
    Value,
    find_setting,
    groups,
    settings_table_markdown,
    variable_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = [
    "SETTINGS",
    "Setting",
    "Settings",
    "Source",
    "Value",
    "find_setting",
    "groups",
    "settings_table_markdown",
]

Source = Literal["default", "file", "environment"]

_VERSION = "version"
_NEWEST = 2
"""The version of the file, at its top. Without one a value that repeats a former default means today's default; it is
written with the first such value that is meant."""


class Settings:
    """The values in force. Safe with several threads; callbacks run on the thread that sets a value."""

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._environ = os.environ if environ is None else environ
        self._lock = threading.RLock()
        self._file: dict[str, Value] = {}
        self._environment: dict[str, Value] = {}
        self._problems: list[SlmDeskError] = []
        self._callbacks: list[Callable[[str, Value], None]] = []
        self._loaded = False

    @property
    def path(self) -> Path:
        return self._path

    @property
    def problems(self) -> list[SlmDeskError]:
        """What was wrong in the file and the environment at the last load; each such value is defaulted."""
        self._ensure_loaded()
        return list(self._problems)

    def load(self) -> None:
        """Read file and environment (again). Never raises: what is wrong is told in `problems`."""
        with self._lock:
            problems: list[SlmDeskError] = []
            try:
                tables = self._read()
            except SlmDeskError as error:
                problems.append(error)
                tables = {}
            self._file = _from_tables(tables, self._path, problems)
            self._environment = _from_environment(self._environ, problems)
            self._problems = problems
            self._loaded = True

    def get(self, key: str) -> Any:
        """The value in force: of the setting's type. Raises `SlmDeskError("setting_unknown")`."""
        self._ensure_loaded()
        setting = find_setting(key)
        with self._lock:
            if setting.key in self._environment:
                return self._environment[setting.key]
            return self._file.get(setting.key, setting.default)

    def source(self, key: str) -> Source:
        """Where the value in force comes from."""
        self._ensure_loaded()
        name = find_setting(key).key
        with self._lock:
            if name in self._environment:
                return "environment"
            return "file" if name in self._file else "default"

    def set(self, key: str, value: object) -> Value:
        """Check `value` (text is parsed by the setting's type), store it in the file, tell the subscribers.

        Returns the value stored. While the environment overrides the setting, the file changes and the value
        in force does not. Raises `setting_unknown`, `setting_invalid`, `file_unwritable` or `disk_full`.
        """
        setting = find_setting(key)
        checked = setting.parse(value) if isinstance(value, str) else setting.validate(value)
        if setting.form == "certificates":
            check_certificates(setting.key, str(checked))
        self._store(setting, checked)
        return checked

    def reset(self, key: str) -> None:
        """Take the setting out of the file, so that its default counts again. Raises as `set` does."""
        self._store(find_setting(key), None)

    def subscribe(self, callback: Callable[[str, Value], None]) -> Callable[[], None]:
        """Call `callback(key, value in force)` after each change made through this object."""
        with self._lock:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return unsubscribe

    def _ensure_loaded(self) -> None:
        with self._lock:
            if not self._loaded:
                self.load()

    def _store(self, setting: Setting, value: Value | None) -> None:
        with self._lock:
            self._ensure_loaded()
            before = self.get(setting.key)
            # Read again first: the command line may have changed another setting while the window was open.
            try:
                tables = self._read()
            except SlmDeskError as error:
                if error.code != "settings_damaged":
                    raise
                self._keep_damaged()
                tables = {}
            _upgrade(tables, meant=value in setting.former)
            _place(tables, setting, value)
            import tomli_w

            atomic_write(self._path, tomli_w.dumps(tables))
            self.load()
            now = self.get(setting.key)
            callbacks = list(self._callbacks) if now != before else []
        for callback in callbacks:
            callback(setting.key, now)

    def _read(self) -> dict[str, Any]:
        import tomllib

        try:
            return tomllib.loads(self._path.read_text("utf-8-sig"))  # some editors begin with a mark
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SlmDeskError(
                "settings_unreadable",
                f"{self._path} cannot be read: {error.strerror or error}.",
                "Check its permissions. Until then every setting has its default.",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SlmDeskError(
                "settings_damaged",
                f"{self._path} is not valid TOML: {error}.",
                "Correct the file. Changing any setting keeps it under another name and begins a new one.",
            ) from error

    def _keep_damaged(self) -> None:
        kept = self._path.with_name(f"{self._path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            self._path.replace(kept)
        except OSError as error:
            raise SlmDeskError(
                "file_unwritable",
                f"{self._path} is damaged and cannot be moved aside: {error.strerror or error}.",
                "Correct or delete the file.",
            ) from error


def _from_tables(tables: dict[str, Any], path: Path, problems: list[SlmDeskError]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    old = _is_old(tables)
    for name, value in _flat(tables):
        if name == _VERSION:
            continue
        setting = BY_NAME.get(name)
        if setting is None:
            problems.append(
                SlmDeskError(
                    "setting_unknown",
                    f"{path} holds {name!r}, which this version does not know.",
                    "It is left as it is. Check the spelling, or remove it.",
                )
            )
            continue
        try:
            checked = setting.validate(value)
        except SlmDeskError as error:
            problems.append(
                SlmDeskError(error.code, f"In {path}: {error.message}", f"{error.hint} The default is used.")
            )
            continue
        if old and checked in setting.former:
            continue
        if name == setting.key or setting.key not in values:
            values[setting.key] = checked
    return values


def _is_old(tables: dict[str, Any]) -> bool:
    version = tables.get(_VERSION)
    return not isinstance(version, int) or version < _NEWEST


def _upgrade(tables: dict[str, Any], *, meant: bool) -> None:
    """Take out of an old file what repeats former defaults; with `meant` one of them is to be kept from now on."""
    if _is_old(tables):
        for name, value in _flat(tables):
            setting = BY_NAME.get(name)
            if setting is not None and value in setting.former:
                _place(tables, setting, None)
        if meant:
            tables[_VERSION] = _NEWEST


def _from_environment(environ: Mapping[str, str], problems: list[SlmDeskError]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, setting in BY_NAME.items():
        text = environ.get(variable_of(name))
        if text is None or setting.key in values:
            continue
        try:
            values[setting.key] = setting.parse(text)
        except SlmDeskError as error:
            message = f"The environment variable {variable_of(name)} is wrong: {error.message}"
            problems.append(SlmDeskError(error.code, message, f"{error.hint} The variable is not used."))
    return values


def _flat(tables: dict[str, Any]) -> list[tuple[str, Any]]:
    """Keys as `table.name`; a deeper table is the value of its own, unknown key."""
    pairs: list[tuple[str, Any]] = []
    for table, content in tables.items():
        if isinstance(content, dict):
            pairs += [(f"{table}.{name}", value) for name, value in content.items()]
        else:
            pairs.append((table, content))
    return pairs


def _place(tables: dict[str, Any], setting: Setting, value: Value | None) -> None:
    """Put `value` under its key in the parsed file (None removes it), whatever else the file holds."""
    for name in (setting.key, *setting.aliases):
        table, _, last = name.rpartition(".")
        content = tables.get(table) if table else tables
        if isinstance(content, dict):
            content.pop(last, None)
            if table and not content:
                del tables[table]
    if value is not None:
        table, _, last = setting.key.rpartition(".")
        if not isinstance(tables.get(table), dict):
            tables[table] = {}
        tables[table][last] = value
