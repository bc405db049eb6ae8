"""`slmdesk convert FOLDER`: a Hugging Face folder into a GGUF, without quantizing it further."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from slmdesk.cli.tool_jobs import add_output, run_tool
from slmdesk.quantize.file_tools.tool_requests import ConvertRequest

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="FOLDER", help="folder with config.json and safetensors files, or library id")
    add(
        "--type",
        default="auto",
        choices=["auto", "f32", "f16", "bf16", "q8_0"],
        help="type of the weights (default: auto, the one in which nothing is lost)",
    )
    add("--projector", action="store_true", help="only the part that sees or hears (mmproj)")
    add("--insist", action="store_true", help="also where the tokenizer is code of the model's own")
    add_output(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    kind = "" if args.type == "auto" else args.type
    request = ConvertRequest(args.model, kind, args.projector, args.insist, args.output)
    return asyncio.run(run_tool(request, out, dry_run=args.dry_run))
