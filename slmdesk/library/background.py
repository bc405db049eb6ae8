"""Blocking work on files in a thread, with progress told on the event loop and an end at any moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_BEAT_S = 0.1
_RATE_S = 3.0  # over how long the rate is taken


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is: bytes, bytes a second, seconds; `detail` says what happens right now."""

    done: int
    total: int
    detail: str = ""
    rate: float | None = None
    remaining: float | None = None


OnProgress = Callable[[Progress], Awaitable[None]]


class WorkStoppedError(Exception):
    """Raised in the thread where its work was called off."""


class ThreadProgress:
    """What the thread tells and hears."""

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.done = 0
        self.detail = ""
        self._stop = threading.Event()

    def advance(self, count: int) -> None:
        """So many bytes more are done. Raises `WorkStoppedError` when the work was called off."""
        self.done += count
        self.check()

    def check(self) -> None:
        """Raise `WorkStoppedError` when the work was called off."""
        if self._stop.is_set():
            raise WorkStoppedError

    def stop(self) -> None:
        self._stop.set()


async def in_background(
    work: Callable[[ThreadProgress], T], on_progress: OnProgress | None = None, *, total: int = 0
) -> T:
    """Run `work(meter)` in a thread and return what it returns.

    When the caller is cancelled, or `on_progress` raises, the thread is told to stop and has ended before that
    goes on to the caller: nothing is written afterwards.
    """
    meter = ThreadProgress(total)
    task = asyncio.create_task(asyncio.to_thread(work, meter))
    rates: list[tuple[float, int]] = [(time.monotonic(), 0)]
    try:
        while True:
            finished, _ = await asyncio.wait({task}, timeout=_BEAT_S)
            if on_progress is not None:
                await on_progress(_progress(meter, rates))
            if finished:
                return task.result()
    finally:
        if not task.done():
            meter.stop()
            await _ended(task)


async def _ended(task: asyncio.Task[T]) -> None:
    """Wait for the thread, however often this is cancelled: it ends within one block of bytes."""
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        task.exception()


def _progress(meter: ThreadProgress, rates: list[tuple[float, int]]) -> Progress:
    now, done = time.monotonic(), meter.done
    rates.append((now, done))
    while len(rates) > 2 and rates[1][0] < now - _RATE_S:
        del rates[0]
    since, before = rates[0]
    rate = (done - before) / (now - since) if now - since > 0.2 else None
    remaining = max(0, meter.total - done) / rate if rate else None
    return Progress(done, meter.total, meter.detail, rate, remaining)
