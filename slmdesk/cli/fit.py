"""`slmdesk fit MODEL|REPO`: whether a model will run here, and what its memory is made of."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from slmdesk.cli.output import size_text
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.library.fitting import Fitting
from slmdesk.library.hub_access import HubAccess
from slmdesk.library.library import Library

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.library.fitting import FitReport

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
    paths = Paths.resolve()
    settings = Settings(paths.settings_file)
    hub = HubAccess(settings, Secrets())
    try:
        return await Fitting(paths, settings, Library(paths, settings), hub).fit(reference, context=context)
    finally:
        await hub.close()


def _rows(report: FitReport, out: Output) -> list[tuple[str, str]]:
    fit = report.fit
    expected = fit.forecast
    paint = {"fits": out.good, "tight": out.wary, "too_big": out.bad}[fit.verdict]
    cells = f", {expected.cells} for all conversations" if expected.cells > expected.context else ""
    rows = [
        ("model", report.model),
        ("context", f"{expected.context} tokens{cells}"),
        ("weights", size_text(expected.weights_bytes)),
        ("KV cache", size_text(expected.kv_bytes)),
        ("compute", size_text(expected.compute_bytes)),
        ("overhead", size_text(expected.overhead_bytes)),
        ("total", size_text(expected.total_bytes)),
        ("free now", size_text(fit.available_bytes)),
        ("verdict", paint(_VERDICTS[fit.verdict])),
        ("longest context", f"{fit.max_context} tokens" if fit.max_context else "none"),
    ]
    if expected.error is not None:
        rows.append(("last forecast", f"{expected.error:+.1%} off what was measured"))
    return rows


def _tokens(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 64 or count > 2**24:
        raise argparse.ArgumentTypeError("a context is a number of tokens, at least 64")
    return count
