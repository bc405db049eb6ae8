"""The one click: which quant suits this machine, and why."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.formats.quants import FULL_PRECISION, QUANTS, USUAL, quant_named
from slmdesk.memory.fit import Fit, fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.formats.architecture import Architecture
    from slmdesk.inference.loading import Loading
    from slmdesk.memory.calibration import Correction
    from slmdesk.memory.offload import DeviceRoom
    from slmdesk.quantize.source import SourceGguf
    from slmdesk.quantize.store import Quant

# The best first; each is a clear step below the one before. Smaller ones cost small models too much to be advised.
ADVISED = ("Q8_0", "Q6_K", "Q5_K_M", USUAL, "IQ4_XS", "Q3_K_M", "IQ3_XXS")
_SMALL = 1_500_000_000  # parameters; below, a person gains little by going under Q8_0
_TINY = 500_000_000
CLEARLY_LESS = 0.8  # of the source's size and bits: a quant above gains too little for what it loses
_SIMILAR = 4.0  # how many times larger or smaller a model may be to count as similar


_ENOUGH = (
    "This file is quantized already and fits here. A smaller quant of it would lose more than it saves; "
    "for better answers get the model in full precision."
)
_NOTHING_SMALLER = (
    "This file is quantized already, and no quant that is advised becomes clearly smaller than it is."
)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`quant` "" advises to make none: the source is small enough and fits; `bytes`, `verdict` and `context` are then
    its own. `worse`: by how much perplexity grew with this quant on similar models measured here (0.03 is 3 %); None
    where none was measured. `bytes` is an estimate for a source in full precision; the forecast gives it exactly."""

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
    source: SourceGguf,
    architecture: Architecture,
    loading: Loading,
    *,
    available: int,
    correction: Correction | None = None,
    known: Sequence[Quant] = (),
    gpu: DeviceRoom | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Recommendation:
    """The best quant that fits into `available` bytes of memory, and the GPU's, with room for other programs.

    Of a source that is quantized already only what becomes clearly smaller and coarser is advised, and nothing where
    the source itself is small enough: `sizes` are then the exact sizes of the quants.
    """

    def fitting(size: int) -> Fit:
        return fit(architecture, size, loading, available=available, calibration=correction, room=gpu)

    first = first_quant(source.parameters)
    choices = [(name, _size(source, name, sizes)) for name in ADVISED[ADVISED.index(first) :]]
    if source.quant not in FULL_PRECISION:
        own = fitting(source.bytes)
        worthwhile = [(name, size) for name, size in choices if _clearly_less(source, name, size)]
        if not worthwhile or (own.verdict == "fits" and worthwhile[0][0] != first):
            why = _ENOUGH if own.verdict == "fits" else _NOTHING_SMALLER
            return Recommendation("", source.bytes, own.verdict, own.forecast.context, None, why)
        choices = worthwhile
    at, found = 0, fitting(choices[0][1])
    while found.verdict != "fits" and at + 1 < len(choices):
        at += 1
        found = fitting(choices[at][1])
    name, size = choices[at]
    return Recommendation(
        quant=name,
        bytes=size,
        verdict=found.verdict,
        context=found.forecast.context,
        worse=_worse(name, source.parameters, known),
        why=_why(name, first, found.verdict),
    )


def _size(source: SourceGguf, name: str, sizes: Mapping[str, int] | None) -> int:
    return (sizes or {}).get(name) or QUANTS[name].bytes_of(source.parameters)


def _clearly_less(source: SourceGguf, name: str, size: int) -> bool:
    return size <= CLEARLY_LESS * source.bytes and QUANTS[name].bits <= CLEARLY_LESS * bits_of(source)


def bits_of(source: SourceGguf) -> float:
    """Bits a weight of the source, by its quant's name; of an unknown one the mean over the file."""
    known = quant_named(source.quant)
    return known.bits if known is not None else source.bytes * 8 / max(source.parameters, 1)


def first_quant(parameters: int) -> str:
    """What a model of this size is best made into where memory is no worry."""
    if parameters < _TINY:
        return "Q8_0"
    return "Q6_K" if parameters < _SMALL else USUAL


def _why(name: str, first: str, verdict: str) -> str:
    if verdict == "too_big":
        return "Even this is too big for the memory that is free now."
    if verdict == "tight":
        return "The smallest that is advised; it leaves little memory for other programs."
    if name != first:
        return f"{first} would be better, but leaves too little memory here."
    if first == USUAL:
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
