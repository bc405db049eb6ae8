"""`slmdesk split MODEL`: a GGUF into parts that a disk, a stick or a hub takes."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from slmdesk.cli.tool_jobs import add_output, run_tool
from slmdesk.quantize.file_tools.tool_requests import SplitRequest, size_in_bytes

if TYPE_CHECKING:
    from slmdesk.cli.output import Output

USUAL_SIZE = 4 * 10**9  # bytes; a FAT32 stick takes files up to 4.29 GB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="library id or GGUF file")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--max-size",
        type=size_in_bytes,
        default=0,
        metavar="SIZE",
        help="of a part, such as 2G (default: 4G)",
    )
    group.add_argument("--max-tensors", type=_count, default=0, metavar="N", help="tensors in a part")
    add("--metadata-first", action="store_true", help="a first part without tensors")
    add_output(parser, "folder for the parts")


def run(args: argparse.Namespace, out: Output) -> int:
    size = args.max_size or (0 if args.max_tensors else USUAL_SIZE)
    request = SplitRequest(args.model, size, args.max_tensors, args.metadata_first, args.output)
    return asyncio.run(run_tool(request, out, dry_run=args.dry_run))


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a number of tensors from 1 on")
    return number
