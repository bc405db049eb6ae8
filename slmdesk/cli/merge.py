"""`slmdesk merge MODEL`: a model in several files into one file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slmdesk.cli.tool_jobs import add_output, run_tool
from slmdesk.quantize.file_tools.tool_requests import JoinRequest

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="library id, or any part (…-00001-of-0000N.gguf)")
    add_output(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    return asyncio.run(run_tool(JoinRequest(args.model, args.output), out, dry_run=args.dry_run))
