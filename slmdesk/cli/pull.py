"""`slmdesk pull`: download a model, verified; what was begun goes on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.catalog import names
from slmdesk.cli.main import UsageError
from slmdesk.core import amounts, logs
from slmdesk.core.errors import SlmDeskError
from slmdesk.pulling import PullRequest

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.core.jobs.job_store import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="REPO[:QUANT|/FILE]", help="publisher/name on the hub; a pasted address will do"
    )
    parser.add_argument(
        "--revision", metavar="REV", default="", help="a branch, tag or commit (default: newest)"
    )
    parser.add_argument(
        "--insist",
        action="store_true",
        help="take pickle files and files the hub's scanners call unsafe, too",
    )
    parser.add_argument("--detach", action="store_true", help="queue it and return at once")


def run(args: argparse.Namespace, out: Output) -> int:
    return asyncio.run(_pull(args, out))


async def _pull(args: argparse.Namespace, out: Output) -> int:
    repo, wanted, revision = _read(args.model)
    application = Application.build()
    logs.configure(application.paths, "terminal", application.settings.get("logs.level"))
    try:
        for problem in application.problems:
            out.problem(problem)
            out.event("problem", error=problem.to_json())
        await application.downloads.ready()
        request = PullRequest(repo, wanted, args.revision or revision, insist=args.insist)
        pull = await application.pulling.plan(request)
        plan = pull.plan
        for file in plan.flagged:
            out.note(f"The hub's scanners call {file.path} {file.flag}.")
        job = await application.pulling.start(pull)
        out.text(
            f"{plan.repo}: {amounts.counted(len(plan.files), 'file')}, {amounts.size(plan.size)}, into {plan.folder}"
        )
        out.event("queued", job=job.to_json(), files=[file.path for file in plan.files], bytes=plan.size)
        if args.detach:
            out.done({"job": job.to_json()})
            return 0
        return await follow(application, job.id, out)
    finally:
        await application.close()
        logs.release()


async def follow(application: Application, job_id: str, out: Output) -> int:
    """Show a download until it ended or waits for something. Ctrl-C pauses it. Raises the error it ended with."""
    job: Job | None = None
    try:
        async with aclosing(application.jobs.watch(job_id)) as seen:
            async for job in seen:
                out.status(_line(job))
                out.event("progress", **_progress(job))
                if job.ended or (job.state == "paused" and not job.wish):
                    break
    except asyncio.CancelledError:
        # Whoever presses Ctrl-C wants the line free; what came is kept.
        out.clear_status()
        await application.jobs.pause(job_id)
        out.note(f"Paused. What came is kept: slmdesk jobs resume {job_id} goes on.")
        raise
    out.clear_status()
    assert job is not None
    return _told(job, out)


def _told(job: Job, out: Output) -> int:
    if job.state == "done" and job.result is not None:
        out.text(f"{out.good('verified')}  {job.result['model']}")
        for path in job.result["files"]:
            out.text(f"  {path}")
        out.done({**job.result, "job": job.id})
        return 0
    if job.state == "paused":
        reason = job.error or SlmDeskError("job_paused", "The download was paused.")
        itself = " It goes on by itself when that has passed." if job.resume_at is not None else ""
        hint = f"{reason.hint} What came is kept.{itself} slmdesk jobs resume {job.id} goes on now.".strip()
        raise SlmDeskError(reason.code, reason.message, hint, details=reason.details)
    if job.state == "cancelled":
        raise SlmDeskError("job_cancelled", "The download was cancelled.", "")
    raise job.error or SlmDeskError("job_failed", "The download failed.", "Try again.")


def _read(text: str) -> tuple[str, str, str]:
    """Repository, the quant or file wanted ("" for the best), and the revision."""
    found = names.one_model(text)
    if found is None:
        raise UsageError(f"{text!r} names no model on a hub.", "slmdesk pull publisher/name[:QUANT|/FILE]")
    return found


def _line(job: Job) -> str:
    """One line for a terminal."""
    if job.state == "queued":
        return "waiting in line"
    share = f"{job.done / job.total:4.0%}  " if job.total else ""
    rate = f"  {amounts.size(int(job.rate))}/s" if job.rate else ""
    left = f"  {amounts.duration(job.remaining)} left" if job.remaining is not None and job.rate else ""
    return f"{share}{job.detail or job.title}{rate}{left}"


def _progress(job: Job) -> dict[str, Any]:
    known = job.to_json()
    return {key: known[key] for key in ("state", "detail", "done", "total", "rate", "remaining")} | {
        "job": job.id
    }
