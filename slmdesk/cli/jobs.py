"""`slmdesk jobs`: what is being done, and pausing, resuming and cancelling it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core import amounts, logs
from slmdesk.core.made_with import differences, told

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.core.jobs.job_store import Job

_ACTIONS = ("list", "resume", "pause", "cancel", "retry", "first", "log", "clear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", metavar="ACTION", help=" | ".join(_ACTIONS))
    parser.add_argument("job", nargs="?", metavar="ID", help="a job's id, or its beginning; all for clear")
    parser.add_argument("--keep", action="store_true", help="with cancel: keep what came so far")
    parser.add_argument(
        "--here",
        action="store_true",
        help="with resume: with the hub, proxy and settings of now, not those the job was made with",
    )
    parser.add_argument("--all", action="store_true", help="list jobs that ended, too")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.action not in _ACTIONS:
        raise UsageError(
            f"{args.action!r} is nothing that can be done with a job.", f"One of: {', '.join(_ACTIONS)}."
        )
    if args.here and args.action not in {"resume", "retry"}:
        raise UsageError("--here goes with resume.", "slmdesk jobs resume ID --here")
    if args.job is None and args.action not in {"list", "clear"}:
        raise UsageError(f"{args.action} needs a job's id.", "slmdesk jobs lists them.")
    return asyncio.run(_jobs(args, out))


async def _jobs(args: argparse.Namespace, out: Output) -> int:
    application = Application.build()
    logs.configure(application.paths, "terminal", application.settings.get("logs.level"))
    jobs = application.jobs
    try:
        if args.action == "list":
            return await _list(application, args, out)
        if args.action == "clear":
            ended = [job.id for job in await jobs.list(("done", "failed", "cancelled"))]
            count = await jobs.forget(*ended)
            out.text(f"{count} ended jobs were taken off the list.")
            out.done({"cleared": count})
            return 0
        job = await jobs.find(args.job)
        match args.action:
            case "resume" | "retry":
                of = application.downloads if job.kind == "download" else jobs
                job = await of.resume(job.id, here=args.here)
            case "pause":
                job = await jobs.pause(job.id)
            case "cancel":
                job = await jobs.cancel(job.id, keep=args.keep)
            case "first":
                queue = sorted(await jobs.list(("queued",)), key=lambda other: other.position)
                ahead = [other.id for other in queue if other.id != job.id]
                job = await jobs.reorder(job.id, before=ahead[0] if ahead else None)
            case "log":
                for line in job.log:
                    out.text(line)
        if args.action != "log":
            out.text(_sentence(job))
        out.done({"job": {**job.to_json(), "log": list(job.log)}})
        return 0
    finally:
        await application.close()
        logs.release()


async def _list(application: Application, args: argparse.Namespace, out: Output) -> int:
    await application.jobs.wake()  # what a crash interrupted goes on
    found = await application.jobs.list()
    shown = [job for job in found if args.all or not job.ended or job.state == "failed"]
    if shown:
        out.table(
            ("ID", "STATE", "DONE", "RATE", "LEFT", "FROM", "WHAT"),
            [_row(job) for job in shown],
            right=(2, 3, 4),
        )
    else:
        out.text("Nothing is being done." + (" --all lists what ended." if found else ""))
    today = await application.jobs.today()
    for job in shown:
        if job.error is not None:
            out.text()
            out.text(f"{job.id}: {job.error.message} {job.error.hint}".rstrip())
        if other := differences(job.kind, job.made_with, today):
            out.text()
            out.text(f"{job.id} keeps what it was made with: {other}.")
            out.text(out.dim(f"slmdesk jobs resume {job.id} --here goes on with what counts today."))
    out.done({"jobs": [job.to_json() for job in found]})
    return 0


def _row(job: Job) -> tuple[str, ...]:
    share = f"{job.done / job.total:.0%}" if job.total else ""
    rate = f"{amounts.size(int(job.rate))}/s" if job.rate and job.kind == "download" else ""
    left = amounts.duration(job.remaining) if job.remaining is not None else ""
    source = told(job.kind, job.made_with).get("hub", "").partition("://")[2]
    return (job.id, _state(job), share, rate, left, source, job.title or job.kind)


def _state(job: Job) -> str:
    if job.state == "running" and job.wish:
        return "pausing" if job.wish == "pause" else "cancelling"
    if job.state == "paused" and job.resume_at is not None:
        return "waiting"
    return job.state


def _sentence(job: Job) -> str:
    return f"{job.title or job.kind}: {_state(job)}"
