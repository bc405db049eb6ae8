"""`slmdesk quantize MODEL --to QUANT[,QUANT…]`: smaller, and what it cost, measured."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.application import Application
from slmdesk.catalog import names
from slmdesk.cli.following import follow
from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.quantize.export import FORMS, exported
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.request import PATTERN, Request, load_preset, save_preset
from slmdesk.quantize.targets import TARGETS

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.quantize.planning import QuantizePlan
    from slmdesk.quantize.room import Quantizable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="library id, GGUF file, folder with safetensors files, or publisher/name on the hub",
    )
    add("--to", default="", metavar="QUANT[,QUANT…]", help="for example Q4_K_M,Q8_0")
    add("--list", action="store_true", help="show the quants there are, and what each is good for")
    add(
        "--imatrix",
        default=None,
        metavar="auto|none|FILE",
        help="importance matrix (default: auto from Q4_0 down)",
    )
    add(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="measure what was lost (default: for models under 4 B parameters)",
    )
    add(
        "--measure-only",
        nargs="*",
        default=None,
        metavar="GGUF",
        help="make nothing: measure these files against MODEL (default: its quants not yet measured)",
    )
    add("--text", default="", metavar="FILE", help="text to measure with (default: the built-in one)")
    add("--calibration-text", default="", metavar="FILE", help="text to compute the importance matrix with")
    add("--output", default="", metavar="DIR", help="folder for the results (default: the model's own)")
    add("--pattern", default="", metavar="NAME", help=f"name of the files (default: {PATTERN})")
    add("--output-type", default="", metavar="TYPE", help="type of the output tensor")
    add("--embedding-type", default="", metavar="TYPE", help="type of the token embeddings")
    add("--tensor-type", action="append", default=[], metavar="PATTERN=TYPE", help="type of tensors by name")
    add("--keep-split", action="store_true", help="as many files as the source has")
    add("--pure", action="store_true", help="one type for all tensors")
    add("--threads", type=_threads, default=0, metavar="N", help="threads (default: all)")
    add("--preset", default="", metavar="FILE", help="take what is not given here from a preset")
    add("--save-preset", default="", metavar="FILE", help="write a preset, and do nothing else")
    add(
        "--export",
        default="",
        metavar="FILE",
        help="write the model's figures to a .csv, .md or .json file (without --to: nothing else)",
    )
    add("--dry-run", action="store_true", help="only say what it will cost")
    add("--tensors", action="store_true", help="with --dry-run: what becomes of every tensor, too")


def run(args: argparse.Namespace, out: Output) -> int:
    if args.list:
        return _list(out)
    if not args.model:
        raise _usage("Name a model, as `slmdesk list` shows it, or a GGUF file.")
    export = _export_path(args.export)
    if args.measure_only is not None:
        if args.to or args.preset or args.save_preset or args.dry_run:
            raise _usage(
                "--measure-only makes nothing: leave --to, --preset, --save-preset and --dry-run away."
            )
        return asyncio.run(_measure_only(args, out, export))
    if export is not None and not args.to and not args.preset:
        return asyncio.run(_only_export(args.model, export, out))
    request = _request(args)
    if args.save_preset:
        path = Path(args.save_preset)
        save_preset(path, request)
        out.text(f"Written: {path}")
        out.done({"preset": str(path)})
        return 0
    if args.dry_run:
        return asyncio.run(_dry_run(request, out, tensors=args.tensors))
    if args.tensors:
        raise _usage("--tensors goes with --dry-run.")
    return asyncio.run(_run(request, out, export=export))


def _export_path(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text)
    if path.suffix.lower()[1:] not in FORMS:
        raise _usage(f"{path.name} is to end with .csv, .md or .json.")
    if not path.absolute().parent.is_dir():
        raise SlmDeskError("folder_missing", f"{path.absolute().parent} is not there.", "Make it first.")
    return path


def _threads(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("a number of threads from 1 on, or 0 for all")
    return number


def _request(args: argparse.Namespace) -> Request:
    """What is asked for: what a preset says where there is one, and what was written beside it goes before them."""
    preset = load_preset(Path(args.preset), args.model) if args.preset else Request(args.model, ())
    targets = tuple(name for name in args.to.split(",") if name.strip())
    overrides = []
    for text in args.tensor_type:
        pattern, _, kind = text.rpartition("=")
        if not pattern or not kind:
            raise _usage(f"{text!r} is no PATTERN=TYPE; an example is attn_v=q8_0.")
        overrides.append((pattern, kind.upper()))
    options = preset.options
    return Request(
        model=args.model,
        targets=targets or preset.targets,
        imatrix=args.imatrix or preset.imatrix,
        measure=preset.measure if args.measure is None else args.measure,
        text=args.text,
        calibration_text=args.calibration_text,
        output=args.output,
        pattern=args.pattern or preset.pattern,
        options=Options(
            output_type=args.output_type.upper() or options.output_type,
            embedding_type=args.embedding_type.upper() or options.embedding_type,
            overrides=tuple(overrides) or options.overrides,
            pure=args.pure or options.pure,
            keep_split=args.keep_split or options.keep_split,
            threads=args.threads or options.threads,
        ),
    ).checked()


def _usage(message: str) -> Exception:
    from slmdesk.cli.main import UsageError

    return UsageError(
        message, "slmdesk quantize MODEL --to Q4_K_M[,Q8_0…] [--imatrix auto|none|FILE] [--measure]"
    )


async def _dry_run(request: Request, out: Output, *, tensors: bool) -> int:
    application = Application.build()
    try:
        forecast = await application.quantizing.forecast(request)
        data = forecast.to_json()
        _show_forecast(forecast, out)
        if tensors:
            report = await application.quantizing.tensors(request, forecast)
            for quant in data["quants"]:
                quant["tensors"] = report[quant["quant"]]
                _show_tensors(quant, out)
        out.done(data)
        return 0
    finally:
        await application.close()


def _show_tensors(quant: dict[str, Any], out: Output) -> None:
    rows = [
        (
            tensor["name"],
            "×".join(map(str, tensor["shape"])),
            tensor["from"],
            tensor["to"],
            amounts.size(tensor["bytes"]),
            f"{tensor['meant']} was meant" if "meant" in tensor else "",
        )
        for tensor in quant["tensors"]
    ]
    out.text("")
    out.table((quant["quant"], "SHAPE", "FROM", "TO", "SIZE", ""), rows, right=(4,))


async def _run(request: Request, out: Output, *, export: Path | None) -> int:
    application = Application.build()
    try:
        job = await _start(application, request, out)
        result = await follow(application, job, out)
        if export is not None:
            await _export(application, request.model, export, out)
        return _show_result(result, out)
    finally:
        await application.close()


async def _measure_only(args: argparse.Namespace, out: Output, export: Path | None) -> int:
    """What files lost that are there already."""
    application = Application.build()
    try:
        job = await application.quantizing.measure(
            args.model, args.measure_only, text=args.text, threads=args.threads
        )
        result = await follow(application, job, out)
        if export is not None:
            await _export(application, args.model, export, out)
        return _show_result(result, out)
    finally:
        await application.close()


async def _only_export(model: str, path: Path, out: Output) -> int:
    """What was measured before, as a file."""
    application = Application.build()
    try:
        count = await _export(application, model, path, out)
        out.done({"path": str(path), "quants": count})
    finally:
        await application.close()
    return 0


async def _export(application: Application, model: str, path: Path, out: Output) -> int:
    """The rows written: those that the window's table shows."""
    origin = await application.quantizing.origin(model)
    rows = await application.quantizing.rows(origin, await _recommended(application, origin))
    if not rows:
        raise SlmDeskError(
            "nothing_measured",
            f"No quant of {model} was made here, or none is left.",
            "Make one first: slmdesk quantize MODEL --to Q4_K_M --measure",
        )
    form = FORMS[path.suffix.lower()[1:]]
    title = origin.model.rpartition("/")[2] or origin.path.stem
    await asyncio.to_thread(atomic_write, path, exported(rows, form, title))
    out.note(f"Written: {path}")
    return len(rows)


async def _recommended(application: Application, origin: Quantizable) -> str:
    try:
        advice = await application.quantizing.recommend(
            origin.model or str(origin.path), application.settings
        )
    except SlmDeskError:
        return ""  # a folder, or an architecture that is told too little of
    return advice.quant


async def _start(application: Application, request: Request, out: Output) -> Job:
    """A model that is not here is looked for on the hub."""
    try:
        return await application.quantizing.start(request)
    except SlmDeskError as error:
        named = names.is_repo(request.model) or names.is_bare(request.model)
        if error.code != "model_not_found" or not named:
            raise
    download, job = await application.hub_quantizing.start(request)
    out.note(f"{request.model} is downloaded first: slmdesk jobs shows it as {download.id}.")
    out.event("download", id=download.id, title=download.title)
    return job


def _show_result(result: dict[str, Any], out: Output) -> int:
    failed = [quant for quant in result["quants"] if "error" in quant]
    made = [quant for quant in result["quants"] if "error" not in quant]
    source = result["source"]
    rows = [_row(source, f"{source['quant']} (source)"), *(_row(quant, quant["quant"]) for quant in made)]
    header = ("QUANT", "SIZE", "PERPLEXITY", "KL DIVERGENCE", "SAME TOKEN", "TOKENS/S")
    told = [at for at in range(len(header)) if any(row[at] for row in rows)]  # the others were not measured
    out.table(
        [header[at] for at in told], [[row[at] for at in told] for row in rows], right=range(1, len(told))
    )
    if "text" in source:
        out.note(f"Measured with: {source['text']} ({source['chunks']} chunks).")
    for quant in made:
        out.text(f"{quant['quant']}: {quant['path']}")
    for quant in failed:
        out.problem(SlmDeskError.from_json(quant["error"]))
    out.done(result)
    return 1 if failed else 0


def _row(facts: dict[str, Any], name: str) -> tuple[str, ...]:
    def text(key: str, form: str) -> str:
        return format(facts[key], form) if key in facts else ""

    def error(key: str, form: str) -> str:
        return f" ±{facts[key]:{form}}" if key in facts else ""

    return (
        name,
        amounts.size(facts["size_bytes"]),
        text("perplexity", ".3f") + error("perplexity_error", ".3f"),
        text("kld_mean", ".5f") + error("kld_error", ".5f"),
        text("top_1", ".1%") + error("top_1_error", ".1%"),
        text("generation_tokens_s", ".1f"),
    )


def _show_forecast(forecast: QuantizePlan, out: Output) -> None:
    rows = [
        (
            quant.quant,
            amounts.size(quant.bytes),
            f"{quant.bits_per_weight:.2f}",
            _seconds(quant.seconds, quant.error),
            amounts.size(quant.memory_bytes),
            str(len(quant.fallbacks) or ""),
            "yes" if quant.needs_matrix else "",
            quant.fit.verdict.replace("_", " ") if quant.fit is not None else "",
            str(quant.fit.max_context) if quant.fit is not None else "",
        )
        for quant in forecast.quants
    ]
    out.table(
        (
            "QUANT",
            "SIZE",
            "BITS/WEIGHT",
            "TIME",
            "MEMORY",
            "FALLBACKS",
            "NEEDS IMATRIX",
            "HERE",
            "LARGEST CONTEXT",
        ),
        rows,
        right=(1, 2, 3, 4, 5, 8),
    )
    out.text(
        f"All steps: about {amounts.duration(forecast.seconds)}; {amounts.size(forecast.disk_bytes)} of disk,"
        f" {amounts.size(forecast.free_bytes)} free."
    )
    out.text(forecast.matrix)
    if forecast.estimated:
        out.text("The folder is converted first; sizes and times are estimates until then.")
    for warning in forecast.warnings:
        out.note(warning)


def _seconds(seconds: float, error: float | None) -> str:
    return f"{seconds:.1f} s" + (f" ±{error:.0%}" if error is not None else "")


def _list(out: Output) -> int:
    rows = [
        (t.name, f"{t.bits:.2f}", "needs one" if t.needs_matrix else "", t.good_for) for t in TARGETS.values()
    ]
    out.table(("QUANT", "BITS", "IMATRIX", "GOOD FOR"), rows, right=(1,))
    out.done(
        {
            "quants": [
                {
                    "quant": t.name,
                    "bits": t.bits,
                    "needs_imatrix": t.needs_matrix,
                    "good_for": t.good_for,
                    "warning": t.warning,
                }
                for t in TARGETS.values()
            ]
        }
    )
    return 0
