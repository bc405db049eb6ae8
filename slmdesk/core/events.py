"""Telling other parts of the program that something changed, by the event's type."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E")

_log = logging.getLogger(__name__)


class EventBus:
    """Callbacks by event type. They run on the publisher's thread, in the order they subscribed.

    A callback that raises is logged and does not keep the others from hearing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[type[Any], tuple[Callable[[Any], None], ...]] = {}

    def subscribe(self, kind: type[E], callback: Callable[[E], None]) -> Callable[[], None]:
        """Hear every event of `kind` and its subclasses. Returns what ends it; it may be called twice."""
        subscribed = True
        with self._lock:
            self._callbacks[kind] = (*self._callbacks.get(kind, ()), callback)

        def unsubscribe() -> None:
            nonlocal subscribed
            with self._lock:
                if subscribed:
                    subscribed = False
                    left = list(self._callbacks[kind])
                    left.remove(callback)
                    self._callbacks[kind] = tuple(left)

        return unsubscribe

    def publish(self, event: object) -> None:
        """Call everybody who subscribed to the event's type or one of its bases."""
        with self._lock:
            callbacks = [c for kind in type(event).__mro__ for c in self._callbacks.get(kind, ())]
        for callback in callbacks:
            try:
                callback(event)
            except Exception:  # noqa: BLE001 - the others must hear it whatever this one raises
                _log.exception("a subscriber failed on %s", type(event).__name__)
