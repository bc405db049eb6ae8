"""`slmdesk fit MODEL|REPO`: whether a model will run here, and what its memory is made of."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from slmdesk.application import Application
from slmdesk.core import amounts

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.fitting import FitReport
    from slmdesk.memory.offload import Split

_VERDICTS = {"fits": "fits", "tight": "tight: it leaves little for other programs", "too_big": "too big"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL|REPO",
        help="library id, GGUF file, or a hub's repository: publisher/name, publisher/name:QUANT, publisher/name/FILE",
    )
    parser.add_argument(
        "--context", type=_tokens, default=0, metavar="N", help="tokens of context (default: the setting's)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    report = asyncio.run(_report(args.model, args.context))
    out.fields(_rows(report, out))
    out.done(report.to_json())
    return 0


async def _report(reference: str, context: int) -> FitReport:
    application = Application.build()
    try:
        return await application.fitting.fit(reference, context=context)
    finally:
        await application.close()


def _rows(report: FitReport, out: Output) -> list[tuple[str, str]]:
    fit = report.fit
    expected = fit.forecast
    paint = {"fits": out.good, "tight": out.wary, "too_big": out.bad}[fit.verdict]
    rows = [
        ("model", report.model),
        *([("by", "the built-in list: the hub cannot be asked")] if report.source == "list" else []),
        ("context", f"{expected.context} tokens"),
        ("weights", amounts.size(expected.weights_bytes)),
        ("KV cache", amounts.size(expected.kv_bytes)),
        ("compute", amounts.size(expected.compute_bytes)),
        ("overhead", amounts.size(expected.overhead_bytes)),
        ("total", amounts.size(expected.total_bytes)),
        *(
            [("prefix cache", f"up to {amounts.size(expected.prefix_bytes)} more")]
            if expected.prefix_bytes
            else []
        ),
        *_gpu_rows(fit.split),
        ("free now", amounts.size(fit.available_bytes)),
        ("verdict", paint(_VERDICTS[fit.verdict])),
        ("longest context", f"{fit.max_context} tokens" if fit.max_context else "none"),
    ]
    if expected.error is not None:
        rows.append(("last forecast", f"{expected.error:+.1%} off what was measured"))
    return rows


def _gpu_rows(split: Split | None) -> list[tuple[str, str]]:
    if split is None:
        return []
    layers = "all layers" if split.whole else f"{split.layers} of {split.of} layers"
    device = (
        f"{layers}, {amounts.size(split.device.total_bytes)} of {amounts.size(split.free_bytes)} free there"
    )
    return [(split.device_name, device), ("processor", amounts.size(split.processor.total_bytes))]


def _tokens(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 64 or count > 2**24:
        raise argparse.ArgumentTypeError("a context is a number of tokens, at least 64")
    return count
