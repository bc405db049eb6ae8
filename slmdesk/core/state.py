"""What the program remembers without being asked: window geometry, the last tab, the last folder."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


class StateFile:
    """A JSON object in one file. Losing it costs little, so damage and a full disk are only logged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._values: dict[str, Any] | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """The value last set, or `default`."""
        with self._lock:
            return self._load().get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Remember `value` (anything JSON holds) at once; None forgets the key."""
        self.update({key: value})

    def update(self, values: dict[str, Any]) -> None:
        """Remember several values with one write."""
        with self._lock:
            merged = {**self._load(), **values}
            merged = {key: value for key, value in merged.items() if value is not None}
            if merged == self._values:
                return
            self._values = merged
            try:
                atomic_write(self.path, json.dumps(merged, indent=1, sort_keys=True) + "\n")
            except SlmDeskError as error:
                _warn("was not kept", error)

    def _load(self) -> dict[str, Any]:
        if self._values is None:
            try:
                values = json.loads(self.path.read_text("utf-8-sig"))
            except FileNotFoundError:
                values = {}
            except (OSError, ValueError, RecursionError) as error:
                _warn("is not readable", error)
                values = {}
            self._values = values if isinstance(values, dict) else {}
        return self._values


def _warn(what: str, error: Exception) -> None:
    import logging  # seldom needed, and this is read before the first paint

    logging.getLogger(__name__).warning("the window's state %s: %s", what, error)
