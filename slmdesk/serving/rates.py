"""How many requests one caller may send a minute: a bucket of permits that fills evenly."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from slmdesk.serving.try_later import TryLaterError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CALLERS = 4096  # whoever was quiet for longest is forgotten, with a full bucket


class Rates:
    """`per_minute` is asked anew for each request; 0 sets no limit."""

    def __init__(self, per_minute: Callable[[], int], now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # permits left, and when

    def check(self, caller: str) -> None:
        """Take one permit. Raises `too_many_requests`."""
        most = self._per_minute()
        if most <= 0:
            return
        now = self._now()
        left, then = self._buckets.pop(caller, (float(most), now))
        left = min(float(most), left + (now - then) * most / 60.0)
        allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise TryLaterError(
                "too_many_requests",
                f"{most} requests a minute are allowed, and those are used up.",
                "Ask again later.",
                retry_after_s=math.ceil((1.0 - left) * 60.0 / most),
            )
