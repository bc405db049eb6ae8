"""`slmdesk verify`: is each file still what it should be?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.cli.main import UsageError
from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.library.background import OnProgress, Progress
    from slmdesk.library.library import Library
    from slmdesk.library.records import LibraryFile
    from slmdesk.library.upstream import UpstreamCheck
    from slmdesk.library.verify import FileCheck

_WORDS = {
    "verified": "its content is what the publisher published",
    "unverified": "nobody published a hash of it; its own is taken down now",
    "damaged": "its content is not what it should be",
    "changed upstream": "its content is what was downloaded; the publisher has a newer one",
    "partial": "not all of it is here",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model, one of its files, or a path")
    parser.add_argument("--all", action="store_true", help="every file of the library")
    parser.add_argument(
        "--upstream", action="store_true", help="ask the hub too whether the publisher changed them"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    if bool(args.model) == args.all:
        raise UsageError("Name one model, or --all.", "slmdesk list shows the models on this machine.")
    checks, upstream = asyncio.run(_run(Application.look(), args, out))
    out.clear_status()
    bad = [check for check in checks if check.problem is not None]
    for unkept in {str(check.unkept): check.unkept for check in checks if check.unkept}.values():
        out.problem(unkept)
    counts = {state: sum(check.state == state for check in checks) for state in _WORDS}
    counts = {state: count for state, count in counts.items() if count}
    if len(checks) != 1:
        out.text(
            ", ".join(f"{count} {state}" for state, count in counts.items()) or "There is nothing to verify."
        )
    if bad:
        out.event("checked", files=[check.to_json() for check in checks])
        first = bad[0].problem
        assert first is not None
        if len(bad) == 1:
            raise first
        raise SlmDeskError(
            "files_damaged", f"{len(bad)} of {len(checks)} files are not what they should be.", first.hint
        )
    result: dict[str, Any] = {"files": [check.to_json() for check in checks], "states": counts}
    if args.upstream:
        result["upstream"] = [check.to_json() for check in upstream]
    out.done(result)
    return 0


async def _run(
    application: Application, args: argparse.Namespace, out: Output
) -> tuple[list[FileCheck], list[UpstreamCheck]]:
    try:
        files = await _files(application.library, args.model)
        checks = await _verify(application, files, out)
        if not args.upstream:
            return checks, []
        return checks, await _ask(application, await _files(application.library, args.model), out)
    finally:
        await application.close()


async def _ask(application: Application, files: list[LibraryFile], out: Output) -> list[UpstreamCheck]:
    def told(check: UpstreamCheck) -> None:
        if check.problem is not None:
            out.problem(check.problem)
        elif check.gone:
            out.text(f"{out.wary('gone')}  {check.file_id}: {check.repo} no longer has it")
        elif check.changed:
            out.text(f"{out.wary('changed upstream')}  {check.file_id}: {check.repo} has a newer one")

    return await application.upstream.check(files, told)


async def _files(library: Library, ref: str | None) -> list[LibraryFile]:
    if ref is not None:
        return await library.files(ref)
    return [file for model in await library.models(every_format=True) for file in model.files]


async def _verify(application: Application, files: list[LibraryFile], out: Output) -> list[FileCheck]:

    def told(check: FileCheck) -> None:
        out.clear_status()
        name = check.file_id if check.path.name in check.file_id else f"{check.file_id} ({check.path.name})"
        paint = {"verified": out.good, "damaged": out.bad, "partial": out.bad}.get(check.state, out.wary)
        words = check.problem.message if check.problem else _WORDS[check.state]
        if check.state == "unverified" and check.expected == check.sha256:
            words = "nobody published a hash of it; it is what it was at the first look"
        out.text(f"{paint(check.state)}  {name}: {words}")
        out.event("file", **check.to_json())

    return await application.library_actions.verify_now(files, progress_line(out, "verifying"), told)


def progress_line(out: Output, what: str) -> OnProgress:
    """Shows how far the work is: a status line for people, events for programs."""
    last = -1

    async def show(progress: Progress) -> None:
        nonlocal last
        rate = f", {amounts.size(round(progress.rate))}/s" if progress.rate else ""
        left = f", {progress.remaining:.0f} s left" if progress.remaining and progress.remaining >= 1 else ""
        amount = f"{amounts.size(progress.done)} of {amounts.size(progress.total)}"
        out.status(f"{what} {progress.detail}: {amount}{rate}{left}")
        if progress.done != last and progress.total:
            last = progress.done
            out.event(
                "progress",
                done=progress.done,
                total=progress.total,
                rate=progress.rate,
                remaining=progress.remaining,
                detail=progress.detail,
            )

    return show
