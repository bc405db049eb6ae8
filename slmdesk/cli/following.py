"""A job that a command started, shown until it ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.application import Application
    from slmdesk.cli.output import Output
    from slmdesk.core.jobs.job_store import Job


async def follow(application: Application, job: Job, out: Output) -> dict[str, Any]:
    """Show the job until it ends; its result. Raises what it failed of."""
    out.event("job", id=job.id, title=job.title)
    seen = 0
    try:
        async with aclosing(application.jobs.watch(job.id)) as states:
            async for state in states:
                job = state
                _show_progress(job, out)
                for line in job.log[seen:]:
                    out.note(line)
                seen = len(job.log)
                if job.state == "paused" and job.error is not None and job.resume_at is None:
                    raise job.error
    except (asyncio.CancelledError, KeyboardInterrupt):
        await asyncio.shield(_cancel(application, job.id))
        raise
    out.clear_status()
    if job.state == "failed" and job.error is not None:
        raise job.error
    if job.state != "done" or job.result is None:
        raise SlmDeskError("cancelled", "The job was cancelled.", "What was finished before stays.")
    return job.result


async def _cancel(application: Application, job_id: str) -> None:
    """Ctrl-C: nothing half done stays."""
    try:
        await application.jobs.cancel(job_id)
        for _ in range(100):
            if not (await application.jobs.get(job_id)).active:
                return
            await asyncio.sleep(0.1)
    except SlmDeskError:
        return  # it ended a moment before


def _show_progress(job: Job, out: Output) -> None:
    if job.state == "running" and job.total:
        share = min(job.done / job.total, 1.0)
        left = f", {job.remaining:.0f} s left" if job.remaining is not None and job.remaining >= 1 else ""
        out.status(f"{share:4.0%}  {job.detail}{left}")
        out.event(
            "progress",
            share=round(share, 4),
            detail=job.detail,
            remaining=job.remaining,
            steps=job.memory.get("steps"),
        )
