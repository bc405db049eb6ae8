"""Waiting for a step of a job while a person's wishes are heard."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from slmdesk.core.jobs.job_kinds import RunningJob

T = TypeVar("T")


async def unless_cancelled(job: RunningJob, work: Awaitable[T]) -> T:
    """Wait for a step; when a person cancels, end it (its children with it). A pause waits for its end.

    Raises what the step raises, and `JobCancelledError`.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            wish = asyncio.ensure_future(job.wished.wait())
            try:
                await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                wish.cancel()
            if not task.done() and job.wish.startswith("cancel"):
                break
            if not task.done():
                await asyncio.wait({task}, timeout=0.2)
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, SlmDeskError):
                await task
    if job.wish.startswith("cancel"):
        await job.checkpoint()
    return task.result()
