"""`slmdesk fit MODEL|REPO`: whether a model will run here, and what its memory is made of."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.engines.devices import DeviceList
from slmdesk.formats.quants import QUANTS, USUAL
from slmdesk.hub.access import HubAccess
from slmdesk.hub.errors import HubError
from slmdesk.library.fitting import FitReport, Fitting
from slmdesk.library.library import Library

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.formats.architecture import Architecture
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
    paths = Paths.resolve()
    settings = Settings(paths.settings_file)
    hub = HubAccess(settings, Secrets())
    fitting = Fitting(paths, settings, Library(paths, settings), hub, DeviceList(paths.backends))
    try:
        return await fitting.fit(reference, context=context)
    except HubError as error:
        if error.code != "offline" and not error.temporary:
            raise
        known = await asyncio.to_thread(_by_the_list, paths, reference)
        if known is None:
            raise
        name, architecture, weights = known
        return FitReport(name, "list", await fitting.of(architecture, weights, context=context))
    finally:
        await hub.close()


def _by_the_list(paths: Paths, reference: str) -> tuple[str, Architecture, int] | None:
    """What the built-in list knows of a repository: its name with the quant, architecture, and bytes of weights, by
    the bits that such a quant takes. Blocks."""
    from slmdesk.catalog.known import KnownModels

    repo, _, quant = reference.partition(":")
    known = KnownModels(paths.resources / "catalog")
    model, architecture, kind = known.model(repo), known.architecture(repo), QUANTS.get(quant or USUAL)
    if model is None or architecture is None or kind is None:
        return None
    return f"{repo}:{quant or USUAL}", architecture, kind.bytes_of(model.parameters)


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
