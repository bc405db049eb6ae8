"""One limit for all downloads together."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE_S = 0.1
_BURST_S = 0.25


class RateLimit:
    """Bytes a second that all transfers of this process may take together; 0 is no limit. For any thread."""

    def __init__(self, rate: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._rate = rate
        self._ready_at = 0.0  # when everything taken so far would have come at the rate

    def set(self, rate: float) -> None:
        """Change the limit; it counts at once."""
        with self._lock:
            if rate != self._rate:
                self._rate, self._ready_at = rate, 0.0

    def take(self, count: int, stopped: Callable[[], bool]) -> None:
        """Wait until `count` more bytes fit into the limit, or `stopped` says so."""
        with self._lock:
            if self._rate <= 0:
                return
            now = time.monotonic()
            self._ready_at = max(self._ready_at, now - _BURST_S) + count / self._rate
            until = self._ready_at
        while (left := until - time.monotonic()) > 0 and not stopped():
            with self._lock:
                if self._rate <= 0 or self._ready_at == 0.0:  # lifted or changed meanwhile
                    return
            time.sleep(min(left, _SLICE_S))
