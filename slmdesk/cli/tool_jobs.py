"""What the commands of single tools share: look first, start, follow, say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.cli.following import follow
from slmdesk.core import amounts

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan
    from slmdesk.quantize.file_tools.tool_requests import ToolRequest


def add_output(parser: argparse.ArgumentParser, what: str = "file or folder for the result") -> None:
    """The options that every tool has."""
    parser.add_argument(
        "--output", default="", metavar="PATH", help=f"{what} (default: the model's own folder)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what will come out")


async def run_tool(request: ToolRequest, out: Output, *, dry_run: bool) -> int:
    """Plan, or do and say what came of it."""
    application = Application.build()
    try:
        if dry_run:
            plan = await application.file_tools.plan(request)
            _show_plan(plan, out)
            out.done(plan.to_json())
            return 0
        job = await application.file_tools.start(request)
        result = await follow(application, job, out)
        _show_result(result, out)
        out.done(result)
        return 0
    finally:
        await application.close()


def _show_plan(plan: ToolPlan, out: Output) -> None:
    about = "" if plan.exact else "about "
    for file in plan.files:
        out.text(f"{file.path}  {about}{amounts.size(file.bytes)}")
    if len(plan.files) > 1:
        out.text(f"{len(plan.files)} files, {amounts.size(plan.bytes)}.")
    for warning in plan.warnings:
        out.note(warning)


def _show_result(result: dict[str, Any], out: Output) -> None:
    for file in result["files"]:
        out.text(f"{file['path']}  {amounts.size(file['size_bytes'])}")
    if note := result.get("note"):
        out.note(note)
