"""The table of results as CSV, Markdown or JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.quantize.results import ResultRow

Form = Literal["csv", "md", "json"]
FORMS: dict[str, Form] = {"csv": "csv", "md": "md", "json": "json"}
"""By the ending of a file's name."""
_FIGURES = tuple(
    (
        "size_bytes bits_per_weight perplexity perplexity_error perplexity_ratio kld_mean kld_error "
        "kld_median kld_95 kld_999 top_1 top_1_error prompt_tokens_s generation_tokens_s first_token_seconds "
        "load_seconds peak_memory_bytes quantize_seconds imatrix text text_sha256 chunks"
    ).split()
)
_TITLES = (
    "Quant",
    "Size (MB)",
    "Bits a weight",
    "Perplexity",
    "Change",
    "KL divergence",
    "Same first choice",
    "Tokens/s",
)


def exported(rows: Sequence[ResultRow], form: Form, model: str) -> str:
    """The whole table as the text of a file."""
    return {"csv": _csv, "md": _markdown, "json": _json}[form](rows, model)


def _record(row: ResultRow) -> dict[str, Any]:
    return {
        "quant": row.quant,
        "source": row.is_source,
        "recommended": row.recommended,
        "path": str(row.path),
        **{name: row.facts.get(name) for name in _FIGURES},
    }


def _csv(rows: Sequence[ResultRow], model: str) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["model", *_record(rows[0])] if rows else ["model"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = {name: "" if value is None else value for name, value in _record(row).items()}
        writer.writerow({"model": model, **record})
    return out.getvalue()


def _json(rows: Sequence[ResultRow], model: str) -> str:
    return (
        json.dumps({"model": model, "quants": [_record(row) for row in rows]}, indent=1, ensure_ascii=False)
        + "\n"
    )


def _markdown(rows: Sequence[ResultRow], model: str) -> str:
    lines = [f"# {model}", "", f"| {' | '.join(_TITLES)} |", "| --- " + "| ---: " * (len(_TITLES) - 1) + "|"]
    for row in rows:
        name = f"{row.name}{' (recommended)' if row.recommended else ''}"
        cells = [
            name.replace("|", "\\|"),
            f"{row.size_bytes / 1e6:.1f}",
            _number(row.bits, ".2f"),
            _number(row.perplexity, ".3f", _error(row, "perplexity_error", ".3f")),
            _number(None if row.worse is None else row.worse * 100, "+.2f", " %"),
            _number(row.kld, ".5f", "" if row.is_source else _error(row, "kld_error", ".5f")),
            _number(None if row.top_1 is None else row.top_1 * 100, ".1f", " %"),
            _number(row.speed, ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    texts = sorted({row.text for row in rows if row.text})
    if texts:
        lines += ["", f"Measured with: {', '.join(texts)}."]
    return "\n".join(lines) + "\n"


def _error(row: ResultRow, name: str, form: str) -> str:
    value = row.facts.get(name)
    return f" ±{value:{form}}" if isinstance(value, int | float) else ""


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
