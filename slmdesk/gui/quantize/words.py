"""Sentences of the Quantize page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core import amounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.quantize.rows import TargetRow
    from slmdesk.quantize.planning import QuantizePlan
    from slmdesk.quantize.recommending import Recommendation
    from slmdesk.quantize.results import ResultRow

_VERDICTS = {"fits": "fits", "tight": "fits tightly", "too_big": "does not fit"}
_STEPS = {
    "convert": "Convert to GGUF",
    "imatrix": "Compute the importance matrix",
    "quantize": "Quantize to {quant}",
    "check": "Check {quant}",
    "measure": "Measure what was lost",
    "speed": "Time {quant}",
}
_SHOWN_TENSORS = 12


def advice(found: Recommendation, count: int, source_quant: str) -> str:
    """ "Q4_K_M: 2.3 GB, fits with 8 k context, about 3 % worse than F16 by our measure on similar models", or "Nothing
    smaller is advised: Q4_1, 98 MB, fits with 8 k context"."""
    parts = [f"{found.quant}: {amounts.size(count)}"]
    if not found.quant:
        parts = [f"Nothing smaller is advised: {source_quant or 'the file'}", amounts.size(found.bytes)]
    fits = _VERDICTS[found.verdict]
    parts.append(
        f"{fits} with {amounts.tokens(found.context)} context" if found.verdict != "too_big" else fits
    )
    if found.worse is not None:
        parts.append(f"{loss(found.worse)} than {source_quant} by our measure on similar models")
    return ", ".join(parts)


def loss(worse: float) -> str:
    """ "about 3 % worse", "less than 0.1 % worse"."""
    if worse < 0.001:
        return "less than 0.1 % worse"
    return f"about {percent(worse)} worse"


def percent(share: float) -> str:
    """ "3 %", "0.4 %", "120 %", as precise as it is useful."""
    value = share * 100
    if abs(value) < 0.05:
        return "0 %"
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:,.0f} %"


def time(seconds: float, error: float | None) -> str:
    """ "40 s ±12 %" where past forecasts are known, else "about 40 s"."""
    about = amounts.duration(seconds)
    return f"{about} ±{round(error * 100)} %" if error is not None else f"about {about}"


def cost(plan: QuantizePlan) -> str:
    """What a plan costs: "3 quants, 12 MB on disk, 40 s ±12 % with measuring"."""
    errors = [step.error for step in plan.steps if step.error is not None]
    weights = [step.seconds for step in plan.steps if step.error is not None]
    known = sum(weights) >= plan.seconds / 2 and sum(weights) > 0
    error = sum(e * w for e, w in zip(errors, weights, strict=True)) / sum(weights) if known else None
    parts = [
        f"{amounts.size(plan.disk_bytes)} on disk, {amounts.size(plan.free_bytes)} free",
        f"{time(plan.seconds, error)}{' with measuring' if plan.measured else ''}",
    ]
    memory = max((quant.memory_bytes for quant in plan.quants), default=0)
    if memory:
        parts.append(f"up to {amounts.size(memory)} of memory")
    return " · ".join(parts)


def note(row: TargetRow) -> str:
    """What must be known of a target before it is chosen; "" for nothing."""
    if row.target.ternary:
        return "Only for models trained ternary"
    if row.forecast is not None and row.forecast.exists:
        return "Is there already"
    if row.gains_nothing:
        return no_gain(row)
    if row.target.needs_matrix:
        return "Needs a matrix"
    count = len(row.forecast.fallbacks) if row.forecast is not None else 0
    if count:
        kinds = sorted({given for _, _, given in row.forecast.fallbacks}) if row.forecast else []
        return f"{amounts.counted(count, 'tensor')} as {', '.join(kinds)}"
    return row.target.good_for


def no_gain(row: TargetRow) -> str:
    """What is to be said in place of praise for a quant that is no smaller than its source."""
    name = f"the {row.source_quant} it is made of" if row.source_quant else "what it is made of"
    # Headers differ by some bytes: larger is only what is seen to be.
    larger = row.bytes > row.source_bytes * 1.005
    return f"Larger than {name}" if larger else f"No smaller than {name}"


def whole_note(row: TargetRow) -> str:
    """The same at length, for the tooltip."""
    lines = [f"{no_gain(row)}, and no better." if row.gains_nothing else row.target.good_for]
    if row.target.warning:
        lines.append(row.target.warning)
    if row.target.needs_matrix:
        lines.append("llama.cpp makes it only with an importance matrix.")
    if row.forecast is not None:
        if row.forecast.exists:
            lines.append(f"{row.forecast.path} exists; it is never replaced.")
        if row.forecast.fallbacks:
            shown = row.forecast.fallbacks[:_SHOWN_TENSORS]
            lines.append(
                "These tensors get another type, for their shape or because no importance matrix covers them:"
            )
            lines += [f"{name}: {given} instead of {meant}" for name, meant, given in shown]
            left = len(row.forecast.fallbacks) - len(shown)
            lines += [f"and {left} more"] if left else []
    return "\n".join(lines)


def step(entry: dict[str, Any]) -> str:
    """A step of a job's memory in words."""
    pattern = _STEPS.get(str(entry.get("name", "")), str(entry.get("name", "")))
    return pattern.format(quant=entry.get("quant", ""))


def made(job: Job) -> str:
    """What a finished job brought: "2 quants in 32 s" and what could not be made."""
    quants: list[dict[str, Any]] = list((job.result or {}).get("quants", []))
    good = [quant for quant in quants if not quant.get("error")]
    bad = [quant for quant in quants if quant.get("error")]
    if job.parameters.get("measure"):
        words = f"{amounts.counted(len(good), 'quant')} measured."
    else:
        words = f"{amounts.counted(len(good), 'quant')} made, checked"
        words += " and measured." if any("perplexity" in quant for quant in good) else "."
    for quant in bad:
        words += f" {quant.get('quant')}: {quant['error'].get('message', 'failed')}"
    return words


def row_told(row: ResultRow) -> list[tuple[str, str]]:
    """The figures of a quant as name and value, for the panel beside a dot."""
    told = [("Size", amounts.size(row.size_bytes))]
    if row.bits:
        told.append(("Bits a weight", f"{row.bits:.2f}"))
    if row.is_source:
        measured = (
            f"{row.perplexity:.3f}{error(row, 'perplexity_error')}" if row.perplexity else "not measured"
        )
        told.append(("Perplexity", measured))
        return told
    if row.kld is not None:
        told.append(("KL divergence", f"{divergence(row.kld)}{error(row, 'kld_error')}"))
    if row.perplexity is not None and row.worse is not None:
        perplexity = f"{row.perplexity:.3f}{error(row, 'perplexity_error')}"
        told.append(("Perplexity", f"{perplexity}, {signed(row.worse)}"))
    if row.top_1 is not None:
        told.append(("Same first choice", f"{percent(row.top_1)}{error(row, 'top_1_error', 100)}"))
    if row.speed:
        told.append(("Speed", f"{speed(row.speed)} tokens/s"))
    return told


def error(row: ResultRow, name: str, scale: float = 1.0) -> str:
    """ " ±0.0043", the standard error of a figure; "" where it is not known."""
    value = row.facts.get(name)
    if not isinstance(value, int | float):
        return ""
    value *= scale
    if value >= 10:
        return f" ±{value:,.0f}"
    return f" ±{value:.2g}" if value >= 0.0001 or value == 0 else " ±0.0001"


def divergence(value: float) -> str:
    """Three digits that count."""
    return f"{value:.2g}" if value < 0.001 else f"{value:.4f}" if value < 0.1 else f"{value:.3f}"


def signed(share: float) -> str:
    """ "+3.1 %"."""
    value = share * 100
    text = f"{value:+.2f} %" if abs(value) < 1 else f"{value:+.1f} %"
    return text.replace("-", "−")


def speed(tokens_s: float) -> str:
    return f"{tokens_s:.1f}" if tokens_s < 100 else f"{tokens_s:,.0f}"


def measured_with(rows: Sequence[ResultRow]) -> str:
    """Which text the figures come from."""
    names = [row.text for row in rows if row.text and not row.is_source]
    return f"Measured with “{names[-1]}”." if names else ""
