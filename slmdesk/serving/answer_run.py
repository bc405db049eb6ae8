"""One answer from start to end, by as many engines as native code ends on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.failures import NativeFaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.engines.host import Engine
    from slmdesk.engines.protocol import Finished, GenerateRequest
    from slmdesk.serving.held import Held

_cancels: set[asyncio.Task[None]] = set()  # on their way to an engine


@dataclass(slots=True)
class Receiver:
    """Where an answer goes. `take` hears each text and the end, and completes `end` with that.

    `started` hears once how many tokens the prompt has; `changed` after each change of the engine.
    """

    take: Callable[[str, Finished | None], None]
    end: asyncio.Future[Finished]
    started: Callable[[int], Awaitable[None]] | None = None
    changed: Callable[[], None] | None = None


async def run_answer(held: Held, request: GenerateRequest, receiver: Receiver) -> Finished:
    """The end of the answer, which is whole or was refused. However this is left, no engine works on it any longer.

    Where native code ends the engine, the next one goes on behind what was written, and the receiver sees one text.
    """
    end = receiver.end
    written = await _write(held.engine, request, receiver)
    while not end.done():
        await held.again()
        if receiver.changed is not None:
            receiver.changed()
        written = await _write(held.engine, replace(request, written=written), receiver)
    finished = end.result()
    if finished.error is not None:
        raise SlmDeskError.from_json(finished.error)
    if finished.reason != "cancelled":
        await held.completed()
    return finished


async def _write(engine: Engine, request: GenerateRequest, receiver: Receiver) -> list[int]:
    """Let an engine go on behind `request.written` until the end, or until native code ends it.

    Returns the tokens that are written then.
    """
    end = receiver.end
    broken: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

    def sink(text: str, finished: Finished | None) -> None:
        if finished is None or not _ended_by_fault(engine):
            receiver.take(text, finished)
        elif not broken.done():
            broken.set_result(finished)

    try:
        prompt_tokens = await engine.submit(request, sink)
        started, receiver.started = receiver.started, None
        if started is not None:
            await started(prompt_tokens)
        await asyncio.wait({end, broken}, return_when=asyncio.FIRST_COMPLETED)
    except NativeFaultError:
        pass  # while it was asked
    finally:
        if not end.done() or end.cancelled() or end.exception() is not None:
            _cancel(engine, request.id)
    return broken.result().written if broken.done() else request.written


def _ended_by_fault(engine: Engine) -> bool:
    return engine.died.done() and isinstance(engine.died.result(), NativeFaultError)


def _cancel(engine: Engine, request_id: str) -> None:
    """Tell the engine in a task of its own: this one may be cancelled itself."""
    task = asyncio.create_task(engine.cancel(request_id), name=f"cancel {request_id}")
    _cancels.add(task)
    task.add_done_callback(_cancels.discard)
