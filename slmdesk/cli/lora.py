"""`slmdesk lora convert FOLDER` and `slmdesk lora merge MODEL ADAPTER…`: LoRA adapters."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from slmdesk.cli.tool_jobs import add_output, run_tool
from slmdesk.quantize.adapter_types import AUTO, KEPT
from slmdesk.quantize.file_tools.tool_requests import AdapterMergeRequest, AdapterRequest, adapter_in

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.quantize.file_tools.tool_requests import ToolRequest

_TYPES = {"auto": AUTO, "f16": "F16", "bf16": "BF16", "f32": "F32", "source": KEPT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = actions.add_parser("convert", help="a PEFT adapter's folder into a GGUF adapter")
    convert.add_argument(
        "folder", metavar="FOLDER", help="with adapter_config.json and adapter_model.safetensors"
    )
    convert.add_argument(
        "--base",
        default="",
        metavar="FOLDER",
        help="of the adapter's model: its config.json is needed, its weights are not",
    )
    convert.add_argument("--type", default="f16", choices=["f32", "f16", "bf16", "q8_0"])
    add_output(convert)
    merge = actions.add_parser("merge", help="adapters into a model's weights")
    merge.add_argument("model", metavar="MODEL", help="library id or GGUF file")
    merge.add_argument(
        "adapters", nargs="+", type=_adapter, metavar="ADAPTER[=SCALE]", help="GGUF adapter (scale: 1)"
    )
    merge.add_argument(
        "--type",
        default="auto",
        choices=list(_TYPES),
        help="of the weights that change (default: auto, F16, or F32 where they are F32; source: as they are)",
    )
    merge.add_argument("--threads", type=int, default=0, metavar="N", help="threads (default: all)")
    add_output(merge)


def run(args: argparse.Namespace, out: Output) -> int:
    request: ToolRequest
    if args.action == "convert":
        request = AdapterRequest(args.folder, args.base, args.type, args.output)
    else:
        request = AdapterMergeRequest(
            args.model, tuple(args.adapters), _TYPES[args.type], args.output, max(args.threads, 0)
        )
    return asyncio.run(run_tool(request, out, dry_run=args.dry_run))


def _adapter(text: str) -> tuple[str, float]:
    try:
        return adapter_in(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
