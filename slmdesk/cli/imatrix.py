"""`slmdesk imatrix make|merge|show`: importance matrices by themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.cli.tool_jobs import add_output, run_tool
from slmdesk.quantize.file_tools.tool_requests import MatrixRequest, MatrixSumRequest
from slmdesk.quantize.protocol import CHUNK

if TYPE_CHECKING:
    import argparse

    from slmdesk.cli.output import Output

_NAMED = 12  # tensors that are named of those the matrix says nothing about


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("make", help="compute one, from a model and a text")
    make.add_argument("model", metavar="MODEL", help="library id or GGUF file (F16, BF16 or F32 is best)")
    make.add_argument(
        "--text", default="", metavar="FILE", help="calibration text (default: the built-in one)"
    )
    make.add_argument(
        "--chunk", type=int, default=CHUNK, metavar="N", help=f"tokens evaluated together (default: {CHUNK})"
    )
    make.add_argument("--chunks", type=int, default=0, metavar="N", help="at most so many (default: all)")
    make.add_argument("--threads", type=int, default=0, metavar="N", help="threads (default: all)")
    add_output(make)
    merge = actions.add_parser("merge", help="add up several of one model")
    merge.add_argument("files", nargs="+", metavar="FILE", help="GGUF, or the older .dat")
    merge.add_argument(
        "--chunk", type=int, default=CHUNK, metavar="N", help="tokens that a call of a .dat stands for"
    )
    add_output(merge)
    show = actions.add_parser("show", help="what one holds, and how its activations are spread")
    show.add_argument("file", metavar="FILE", help="GGUF, or the older .dat")
    show.add_argument(
        "--model", default="", metavar="MODEL", help="also say which of its weights are not covered"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    if args.action == "make":
        request = MatrixRequest(
            args.model, args.text, args.chunk, args.chunks, args.output, max(args.threads, 0)
        )
        return asyncio.run(run_tool(request, out, dry_run=args.dry_run))
    if args.action == "merge":
        first, *others = args.files
        return asyncio.run(
            run_tool(
                MatrixSumRequest(first, tuple(others), args.chunk, args.output), out, dry_run=args.dry_run
            )
        )
    return asyncio.run(_show(args.file, args.model, out))


async def _show(file: str, model: str, out: Output) -> int:
    application = Application.build()
    try:
        found = await application.file_tools.statistics(file, model)
    finally:
        await application.close()
    out.fields(
        [
            ("File", f"{found['path']} ({found['format']})"),
            ("Texts", ", ".join(found["datasets"]) or "not told"),
            ("Chunks", f"{found['chunks']} of {found['chunk_size'] or '?'} tokens"),
            ("Tensors", str(len(found["tensors"]))),
            ("Never touched", f"{found['untouched']:.2%} of the matrices"),
        ]
    )
    out.text("")
    out.table(
        (
            "LAYER",
            "TENSOR",
            "SUM",
            "LEAST",
            "MOST",
            "MEAN",
            "DEVIATION",
            "ACTIVE",
            "N",
            "ENTROPY",
            "OF MOST",
            "OUTLIERS",
            "COSINE",
            "UNTOUCHED",
        ),
        [_row(tensor) for tensor in found["tensors"]],
        right=(0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
    )
    if model:
        _show_uncovered(found, out)
    out.done(found)
    return 0


def _row(tensor: dict[str, Any]) -> tuple[str, ...]:
    layer = str(tensor["layer"]) if tensor["layer"] >= 0 else "-"
    untouched = f"{tensor['untouched']:.0%}" if tensor["untouched"] else ""
    if "total" not in tensor:
        return (layer, tensor["part"], *[""] * 11, untouched)
    return (
        layer,
        tensor["part"],
        f"{tensor['total']:.2f}",
        f"{tensor['least']:.4f}",
        f"{tensor['most']:.4f}",
        f"{tensor['mean']:.2f}",
        f"{tensor['deviation']:.2f}",
        f"{tensor['active']:.2%}",
        str(tensor["elements"]),
        f"{tensor['entropy']:.4f}",
        f"{tensor['entropy_share']:.2%}",
        f"{tensor['outliers']:.2%}",
        f"{tensor['cosine']:.4f}" if "cosine" in tensor else "",
        untouched,
    )


def _show_uncovered(found: dict[str, Any], out: Output) -> None:
    missing = found["uncovered"]
    out.text("")
    if missing:
        more = ", …" if len(missing) > _NAMED else ""
        out.text(
            f"Of {found['model']}, {len(missing)} weights are not covered: {', '.join(missing[:_NAMED])}{more}"
        )
    else:
        out.text(f"All weights in the layers of {found['model']} are covered.")
    if found["foreign"]:
        out.note(f"{found['foreign']} tensors of the matrix are none of this model's.")
