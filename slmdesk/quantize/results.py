"""What quants cost, as rows: for the chart, the table and its exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.quantize.store import Quant


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One quant that was made (or the source), with its figures; None where nobody measured."""

    quant: str
    path: Path
    is_source: bool
    recommended: bool
    size_bytes: int
    bits: float | None
    kld: float | None
    perplexity: float | None
    worse: float | None
    """By how much perplexity grew: 0.03 is 3 %."""
    top_1: float | None
    speed: float | None
    """Tokens generated a second."""
    text: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called beside its dot: the quant, and "source" for what it was made of."""
        return f"{self.quant} (source)" if self.is_source else self.quant

    @property
    def measured(self) -> bool:
        return self.kld is not None


def result_rows(quants: Iterable[Quant], recommended: str) -> list[ResultRow]:
    """The largest first; of several files of one quant each has its line."""
    rows = [_result(quant, recommended) for quant in quants]
    return sorted(rows, key=lambda row: (-row.size_bytes, row.quant))


def comparable(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Those that one chart may hold: measured with one text, that of the newest measurement."""
    measured = [row for row in rows if row.measured and row.size_bytes]
    texts = [row.facts.get("text_sha256") for row in measured if not row.is_source]
    if not texts:
        return []
    newest = max(
        (row for row in measured if not row.is_source), key=lambda row: float(row.facts.get("made_at", 0.0))
    )
    text = newest.facts.get("text_sha256")
    return [row for row in measured if row.facts.get("text_sha256") == text]


def _result(quant: Quant, recommended: str) -> ResultRow:
    facts = quant.facts

    def number(name: str) -> float | None:
        value = facts.get(name)
        return float(value) if isinstance(value, int | float) else None

    source = bool(facts.get("is_source"))
    ratio = number("perplexity_ratio")
    worse = 0.0 if source and "perplexity" in facts else None if ratio is None else ratio - 1.0
    return ResultRow(
        quant=quant.quant,
        path=Path(quant.path),
        is_source=source,
        recommended=bool(recommended) and quant.quant == recommended and not source,
        size_bytes=int(number("size_bytes") or 0),
        bits=number("bits_per_weight"),
        kld=number("kld_mean"),
        perplexity=number("perplexity"),
        worse=worse,
        top_1=number("top_1"),
        speed=number("generation_tokens_s"),
        text=str(facts.get("text", "")),
        facts={**facts, "made_at": quant.made_at},
    )
