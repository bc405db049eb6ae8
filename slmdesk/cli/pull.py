"""`slmdesk pull`: download a model, verified; what was begun goes on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.catalog import choices as catalog_choices
from slmdesk.catalog import names
from slmdesk.cli.main import UsageError
from slmdesk.core import amounts, logs
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.quants import PREFERRED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from slmdesk.catalog.choices import Choice
    from slmdesk.catalog.pages import ModelPage
    from slmdesk.cli.output import Output
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.downloads.plan import Plan

_NOT_CHOSEN = {"projector", "draft", "other", "adapter", "matrix", "pickle"}  # never taken unless named


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
        plan = await _plan(application, repo, wanted, args.revision or revision, insist=args.insist)
        for file in plan.flagged:
            out.note(f"The hub's scanners call {file.path} {file.flag}.")
        job = await application.downloads.start(plan)
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
    read = names.read(text)
    if read.repo:
        return read.repo, read.file or read.words, read.revision
    if read.bare:
        return read.bare, read.words.rpartition(":")[2] if ":" in read.words else "", ""
    repo, _, file = _split_file(text)
    if names.is_repo(repo) and file:
        return repo, file, ""
    raise UsageError(f"{text!r} names no model on a hub.", "slmdesk pull publisher/name[:QUANT|/FILE]")


def _split_file(text: str) -> tuple[str, str, str]:
    parts = text.strip().split("/", 2)
    return "/".join(parts[:2]), "/", parts[2] if len(parts) > 2 else ""


async def _plan(application: Application, repo: str, wanted: str, revision: str, *, insist: bool) -> Plan:
    page = await application.catalog.model_page(repo, revision=revision, refresh=True)
    paths = [file.path for file in page.files]
    if wanted in paths:
        files: Sequence[str] = [wanted]
        # One part of a split file is of no use alone.
        for choice in page.choices:
            inside = [file.path for file in choice.files]
            if choice.kind == "gguf" and wanted in inside:
                files = inside
    else:
        choice = await choose(application, page, wanted)
        if choice.missing_parts:
            raise SlmDeskError(
                "model_parts_missing",
                f"{choice.missing_parts} parts of {choice.id} are not on the hub.",
                "Choose another quant.",
            )
        files = [file.path for file in choice.files]
    return await application.downloads.plan(
        page.repo, files, revision=page.revision or revision or "main", insist=insist
    )


async def choose(application: Application, page: ModelPage, wanted: str) -> Choice:
    """The choice of that name; without one the best that fits this machine, or the usual Q4_K_M.

    Raises `choice_not_found` or `nothing_to_choose`.
    """
    if wanted:
        page = await application.catalog.examined(page)
        found = catalog_choices.find(page.choices, wanted)
        if found is None:
            raise SlmDeskError(
                "choice_not_found",
                f"{page.repo} is not there as {wanted}.",
                f"There are: {', '.join(one.id for one in page.choices[:12])}." if page.choices else "",
            )
        return found
    page = await application.catalog.judge(page)
    if page.best is not None:
        return page.best
    whole = [one for one in page.choices if one.kind not in _NOT_CHOSEN and not one.missing_parts]
    for quant in PREFERRED:
        for one in whole:
            if one.quant == quant:
                return one
    if not whole:
        raise SlmDeskError(
            "nothing_to_choose",
            f"{page.repo} holds no model file that could be chosen for you.",
            "Name a file: slmdesk pull publisher/name/FILE.",
        )
    return min(whole, key=lambda one: (not one.runs, one.size_bytes))


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
