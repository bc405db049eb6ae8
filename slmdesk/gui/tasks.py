"""The window's running coroutines: started with one default error path, ended together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Tasks:
    """Holds every task until it is done. An error goes to `on_error(error, where)`, else `on_success(where)` hears."""

    def __init__(
        self,
        on_error: Callable[[BaseException, str], None],
        on_success: Callable[[str], None] = lambda _where: None,
    ) -> None:
        self._on_error = on_error
        self._on_success = on_success
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], where: str = "") -> asyncio.Task[T]:
        """Run `work` on the running event loop; `where` names it in the log."""
        import asyncio

        task = asyncio.get_running_loop().create_task(work, name=where or None)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, where))
        return task

    async def end(self, seconds: float = 5.0) -> None:
        """Cancel all and wait for them, `seconds` at most."""
        import asyncio

        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait(tasks, timeout=seconds)

    def _done(self, task: asyncio.Task[Any], where: str) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._on_error(error, where or task.get_name())
        else:
            self._on_success(where or task.get_name())


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns, called in a thread. asyncio is imported by whoever gets so far: the first paint does not
    wait for it."""
    from asyncio import to_thread

    return await to_thread(work, *args, **kwargs)
