"""The one click: which quant suits this machine, and why."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.formats.fit import Wishes, fit
from slmdesk.quantize.targets import Target, find_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.formats.architecture import Architecture
    from slmdesk.formats.calibration import Correction
    from slmdesk.formats.offload import DeviceRoom
    from slmdesk.quantize.source import Source
    from slmdesk.quantize.store import Quant

# The best first; each is a clear step below the one before. Smaller ones cost small models too much to be advised.
_ADVISED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS")
_USUAL = "Q4_K_M"
_SMALL = 1_500_000_000  # parameters; below, a person gains little by going under Q8_0
_TINY = 500_000_000
_SIMILAR = 4.0  # how many times larger or smaller a model may be to count as similar


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`worse`: by how much perplexity grew with this quant on similar models measured here (0.03 is 3 %); None
    where none was measured. `bytes` is an estimate; the forecast gives it exactly."""

    quant: str
    bytes: int
    verdict: str  # "fits", "tight", "too_big"
    context: int
    worse: float | None
    why: str

    def to_json(self) -> dict[str, Any]:
        return {
            "quant": self.quant,
            "bytes": self.bytes,
            "verdict": self.verdict,
            "context": self.context,
            "worse": self.worse,
            "why": self.why,
        }


def recommend(
    source: Source,
    architecture: Architecture,
    wishes: Wishes,
    *,
    available: int,
    correction: Correction | None = None,
    known: Sequence[Quant] = (),
    gpu: DeviceRoom | None = None,
) -> Recommendation:
    """The best quant that fits into `available` bytes of memory, and the GPU's, with room for other programs."""
    first = _first(source.parameters)
    names = _ADVISED[_ADVISED.index(first) :]
    chosen: tuple[Target, int, Any] | None = None
    for name in names:
        target = find_target(name)
        size = int(source.parameters * target.bits / 8)
        found = fit(architecture, size, wishes, available=available, calibration=correction, room=gpu)
        chosen = (target, size, found)
        if found.verdict == "fits":
            break
    assert chosen is not None
    target, size, found = chosen
    return Recommendation(
        quant=target.name,
        bytes=size,
        verdict=found.verdict,
        context=found.forecast.context,
        worse=_worse(target.name, source.parameters, known),
        why=_why(target.name, first, found.verdict),
    )


def _first(parameters: int) -> str:
    if parameters < _TINY:
        return "Q8_0"
    return "Q6_K" if parameters < _SMALL else _USUAL


def _why(name: str, first: str, verdict: str) -> str:
    if verdict == "too_big":
        return "Even this is too big for the memory that is free now."
    if verdict == "tight":
        return "The smallest that is advised; it leaves little memory for other programs."
    if name != first:
        return f"{first} would be better, but leaves too little memory here."
    if first == _USUAL:
        return "Small, quick and close to the original; larger quants gain little in a model of this size."
    return "A model this small loses much by stronger quantizing, and fits as it is."


def _worse(name: str, parameters: int, known: Sequence[Quant]) -> float | None:
    ratios = [
        float(quant.facts["perplexity_ratio"])
        for quant in known
        if quant.quant == name and "perplexity_ratio" in quant.facts and _similar(quant, parameters)
    ]
    return max(statistics.median(ratios) - 1.0, 0.0) if ratios else None


def _similar(quant: Quant, parameters: int) -> bool:
    bits = float(quant.facts.get("bits_per_weight", 0.0))
    other = float(quant.facts.get("size_bytes", 0)) * 8 / bits if bits > 0 else 0.0
    return other > 0 and 1 / _SIMILAR <= other / max(parameters, 1) <= _SIMILAR
