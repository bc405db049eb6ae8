"""One answer from start to end, by as many engines as native code ends on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.engines.failures import NativeFaultError
from slmdesk.inference.answers import Stop
from slmdesk.serving import metrics
from slmdesk.serving.prompt_limit import check_prompt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.inference.answers import Delta, Sink
    from slmdesk.inference.asks import Ask
    from slmdesk.inference.engines import Engine
    from slmdesk.serving.held import Held

_cancels: set[asyncio.Task[None]] = set()  # on their way to an engine


@dataclass(slots=True)
class Receiver:
    """Where an answer goes. `take` hears each piece and the end, and completes `end` with that.

    `started` hears once how many tokens the prompt has; `changed` after each change of the engine.
    """

    take: Sink
    end: asyncio.Future[Stop]
    started: Callable[[int], Awaitable[None]] | None = None
    changed: Callable[[], None] | None = None


async def run_answer(held: Held, ask: Ask, receiver: Receiver) -> Stop:
    """The end of the answer, which is whole or was refused. However this is left, no engine works on it any longer.

    Where native code ends the engine, the next one goes on behind what was written, and the receiver sees one text.
    """
    watched = metrics.watch(receiver.take, held.model)
    if watched is not None:
        receiver.take = watched.take
    try:
        stop = await _to_the_end(held, ask, receiver)
    except Exception as error:
        metrics.failed(error)
        raise
    if watched is not None:
        watched.ended(stop)
    return stop


async def _to_the_end(held: Held, ask: Ask, receiver: Receiver) -> Stop:
    if ask.overflow == "refuse":
        check_prompt(ask, held.engine.facts.context_length)
    end = receiver.end
    written = await _write(held.engine, ask, receiver)
    while not end.done():
        await held.again()
        if receiver.changed is not None:
            receiver.changed()
        written = await _write(held.engine, replace(ask, written=written), receiver)
    stop = end.result()
    stop.raise_error()
    if stop.reason != "cancelled":
        await held.completed()
    return stop


async def _write(engine: Engine, ask: Ask, receiver: Receiver) -> tuple[int, ...]:
    """Let an engine go on behind `ask.written` until the end, or until native code ends it.

    Returns the tokens that are written then.
    """
    end = receiver.end
    broken: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

    def sink(piece: Delta | Stop) -> None:
        if not isinstance(piece, Stop) or not _ended_by_fault(engine):
            receiver.take(piece)
        elif not broken.done():
            broken.set_result(piece)

    try:
        prompt_tokens = await engine.submit(ask, sink)
        started, receiver.started = receiver.started, None
        if started is not None:
            await started(prompt_tokens)
        await asyncio.wait({end, broken}, return_when=asyncio.FIRST_COMPLETED)
    except NativeFaultError:
        pass  # while it was asked
    finally:
        if not end.done() or end.cancelled() or end.exception() is not None:
            _cancel(engine, ask.id)
    return broken.result().written if broken.done() else ask.written


def _ended_by_fault(engine: Engine) -> bool:
    return engine.died.done() and isinstance(engine.died.result(), NativeFaultError)


def _cancel(engine: Engine, ask_id: str) -> None:
    """Tell the engine in a task of its own: this one may be cancelled itself."""
    task = asyncio.create_task(engine.cancel(ask_id), name=f"cancel {ask_id}")
    _cancels.add(task)
    task.add_done_callback(_cancels.discard)
