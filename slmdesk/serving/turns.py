"""Room for one more model: what is idle goes, and where everything answers, models take turns.

One load at a time asks for room, in the order of asking. When nothing idle is left, the model that has been there
longest makes way: answers it holds go on to their end, further questions to it wait outside, and queue behind the load
that takes its place. So nobody starves, however many ask for one of them. Where two take turns, each
stays for a moment: see `_has_to_stay`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.core.held_memory import held_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from slmdesk.core.settings import Settings
    from slmdesk.engines.devices import DeviceList
    from slmdesk.inference.loading import Loading
    from slmdesk.serving.forecasts import Forecasts, LoadForecast
    from slmdesk.serving.slot import ModelSlot

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0
_LOOK_SOON_S = 0.1
_SOON_S = 60.0  # since a model made room: it wants its place back
_PAUSE_S = 0.5  # without a question, after which a model is not in use
_STAY_LOADS = 3.0  # times its load, so that at least three quarters of the time go into answers
_LEAST_STAY_S, _LONGEST_STAY_S = 1.0, 30.0


class Turns:
    """Of one service. `retire` forgets a model and ends its engine; `end` ends the engine alone."""

    def __init__(
        self,
        slots: Callable[[], list[ModelSlot]],
        settings: Settings,
        forecasts: Forecasts,
        devices: DeviceList,
        *,
        retire: Callable[[ModelSlot], Awaitable[None]],
        end: Callable[[ModelSlot], Awaitable[None]],
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._forecasts = forecasts
        self._devices = devices
        self._retire = retire
        self._end = end
        self._watchers: set[asyncio.Future[None]] = set()
        self._went: dict[
            tuple[Path, str], float
        ] = {}  # when a model made room for another, by the monotonic clock

    def changed(self) -> None:
        """A model got idle, died, or is gone: whoever waits looks again."""
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def wait(self, slot: ModelSlot) -> None:
        """Wait while this model makes way for another one."""
        while slot.makes_way and slot in self._slots():
            await self._news()

    async def make_room(self, slot: ModelSlot, need: int) -> None:
        """Return once one more model of `need` bytes fits. Raises `memory_insufficient` where it never will.

        Also raises `model_unloaded` when nobody waits for the model any more.
        """
        way: ModelSlot | None = None
        try:
            while True:
                loaded = [other for other in self._slots() if other.engine is not None and other is not slot]
                free = await self._free(loaded)
                if len(loaded) < self._most(slot) and need <= free:
                    return
                movable = [other for other in loaded if not other.stays]
                resting = [other for other in movable if not self._has_to_stay(other, slot)]
                if await self._let_go(slot, resting):
                    continue
                if not movable or need > await self._free(loaded, gone=movable):
                    raise SlmDeskError(
                        "memory_insufficient",
                        f"{slot.id} needs about {amounts.size(need)} of memory; "
                        f"{amounts.size(max(free, 0))} are free{' for models' if self._budget else ''}.",
                        "Allow more with the setting service.memory_gb, or choose a smaller model or quant."
                        if self._budget
                        else "Close other programs, or choose a smaller model or quant.",
                    )
                if not slot.users:
                    raise SlmDeskError(
                        "model_unloaded", f"Nobody waits for {slot.id} any more.", "Ask again to load it."
                    )
                if not resting:
                    await self._news(_LOOK_SOON_S)
                    continue
                if way not in resting:
                    if way is not None:
                        way.makes_way = False
                    way = min(resting, key=lambda other: other.loaded_at)
                    way.makes_way = True
                    log.info("%s makes way for %s when its answers are done", way.id, slot.id)
                await self._news()
        finally:
            if way is not None:
                way.makes_way = False
                self.changed()

    @property
    def _budget(self) -> int:
        """Bytes that all models may take together; 0: all that is free."""
        return int(1e9 * float(self._settings.get("service.memory_gb")))

    async def _free(self, loaded: list[ModelSlot], gone: Sequence[ModelSlot] = ()) -> int:
        """Bytes that one more model may take; what is promised to the loaded ones counts as taken.

        `gone`: those of them that make room first, with what they hold and what they were promised.
        """
        leaving = [other.engine.pid for other in gone if other.engine is not None]
        unused = await self._forecasts.unused(leaving)
        free = memory()[1] + sum(map(held_now, leaving)) - unused
        if not self._budget:
            return free
        staying = [other.engine.pid for other in loaded if other.engine is not None and other not in gone]
        return min(free, self._budget - sum(map(held_now, staying)) - unused)

    async def with_gpu(self, slot: ModelSlot, loading: Loading) -> tuple[Loading, LoadForecast | None]:
        """The loading to start with, and what it will take with the layers that fit the GPU.

        Models that nobody uses make room there: the one that is asked for now comes first. A driver that failed in the
        list of devices is not started again.
        """
        if loading.gpu_layers == 0:
            return loading, await self._forecasts.before(slot.file, loading)
        while True:
            devices = await self._devices.now(fresh=True)
            if devices.problem is not None:
                log.warning("%s runs without the GPU: %s", slot.id, devices.problem)
                loading = replace(loading, gpu_layers=0)
                return loading, await self._forecasts.before(slot.file, loading)
            expected = await self._forecasts.before(slot.file, loading, devices.best)
            there = [one for one in self._slots() if one is not slot and _may_go(one) and _on_gpu(one)]
            if expected is None or not expected.crowded or not there:
                return loading, expected
            oldest = min(there, key=lambda one: one.last_used)
            log.info("unloading %s to make room on the GPU for %s", oldest.id, slot.id)
            await self._retire(oldest)

    def _most(self, slot: ModelSlot) -> int:
        """How many models may be loaded; beside those that stay there is always place for one more."""
        staying = sum(other.stays for other in self._slots() if other is not slot)
        return max(int(self._settings.get("service.max_loaded")), staying + 1)

    async def _let_go(self, slot: ModelSlot, movable: list[ModelSlot]) -> bool:
        """End what nobody is being answered by, the least recently used first. Whether there was one."""
        idle = [other for other in movable if other.idle]
        if idle:
            oldest = min(idle, key=lambda other: other.last_used)
            log.info("unloading %s to make room for %s", oldest.id, slot.id)
            self._went[oldest.key] = time.monotonic()
            await self._retire(oldest)
            return True
        # Its questions wait for a load of its own, behind this one.
        waiting = next((other for other in movable if other.loading is not None), None)
        if waiting is not None:
            await self._end(waiting)
        return waiting is not None

    def _has_to_stay(self, other: ModelSlot, slot: ModelSlot) -> bool:
        """Whether `other` may use its place a little longer.

        Where two are asked for in turn, each question would load its model anew. So one that made room a moment ago
        does not get its place back at once: the other keeps it, while it is asked, for some times its load.
        """
        now = time.monotonic()
        if other.engine is None or now - self._went.get(slot.key, -math.inf) > _SOON_S:
            return False
        load_s = other.engine.facts.load_seconds
        asked = not other.idle or now - other.last_used < max(_PAUSE_S, load_s / 2)
        return asked and now - other.ready_at < min(max(_LEAST_STAY_S, _STAY_LOADS * load_s), _LONGEST_STAY_S)

    async def _news(self, timeout_s: float = _LOOK_AGAIN_S) -> None:
        """Return when something changed, or may have: other programs free memory without a word."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.add(watcher)
        try:
            await asyncio.wait([watcher], timeout=timeout_s)
        finally:
            self._watchers.discard(watcher)


def _may_go(slot: ModelSlot) -> bool:
    return slot.idle and not slot.stays


def _on_gpu(slot: ModelSlot) -> bool:
    return slot.engine is not None and slot.engine.facts.gpu_layers > 0
