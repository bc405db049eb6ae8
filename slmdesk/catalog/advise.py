"""Help me choose: three answers and this machine's memory make a short, ranked list, each place with its reasons.

Only models of the built-in list are advised: their figures were looked up, so the forecast can be trusted, and none
is advised whose forecast exceeds the memory that is free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from slmdesk.core import amounts
from slmdesk.formats.quants import QUANTS, USUAL
from slmdesk.inference.loading import Loading
from slmdesk.memory.fit import fit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slmdesk.catalog.builtin import CatalogModel
    from slmdesk.catalog.known import KnownModels
    from slmdesk.formats.architecture import Architecture
    from slmdesk.memory.calibration import Correction
    from slmdesk.memory.fit import Fit
    from slmdesk.memory.offload import DeviceRoom

Use = Literal["chat", "writing", "code", "reasoning", "tools"]
Priority = Literal["speed", "balanced", "quality"]
USES: tuple[Use, ...] = get_args(Use)
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

# What a use asks of a model, by the list's words, and what each is worth.
_WANTED: dict[Use, dict[str, float]] = {
    "chat": {"chat": 2.0},
    "writing": {"chat": 2.0, "multilingual": 0.5},
    "code": {"code": 3.0, "tools": 0.3},
    "reasoning": {"reasoning": 2.5, "maths": 1.0},
    "tools": {"tools": 3.0, "code": 0.3},
}
_KINDS: dict[Use, dict[str, float]] = {"code": {"code": 1.0}, "reasoning": {"reasoning": 1.0}}
# Worth of each doubling of the weights as a whole, and of those read for a token, which cost the time.
_SIZE: dict[Priority, tuple[float, float]] = {
    "speed": (0.8, 0.7),
    "balanced": (0.9, 0.35),
    "quality": (1.3, 0.0),
}
_TIGHT = 1.5  # what it costs to leave little memory to other programs
# Tokens a second below which a model is no pleasure any more, and what each halving below that costs.
_PLEASANT: dict[Priority, float] = {"speed": 15.0, "balanced": 7.0, "quality": 2.0}
_SLOW = 1.5
# Every token reads the weights once. What one core of an ordinary machine reads, and what all of them can at most.
_CORE_READS, _MACHINE_READS = 10e9, 50e9
_FILE_OVERHEAD = 1.02
_ALIKE = 2  # at most so many of one family
_MANY = "mul"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The three questions: what for, speed against quality, languages (ISO codes; none: English will do)."""

    use: Use = "chat"
    priority: Priority = "balanced"
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """A model that runs here, as which quant, from which repository, and why."""

    model: CatalogModel
    repo: str
    quant: str
    weights_bytes: int
    fit: Fit
    reasons: tuple[str, ...]
    score: float


def advise(
    known: KnownModels,
    answers: Preferences,
    *,
    available: int,
    cores: int = 0,
    loading: Loading | None = None,
    calibration: Correction | None = None,
    room: DeviceRoom | None = None,
    most: int = 5,
) -> list[Advice]:
    """The best `most` models for these answers in `available` bytes of memory, best first; maybe none.

    With the number of physical `cores`, models that would write slower than one likes to read come later.
    """
    reads = min(cores * _CORE_READS, _MACHINE_READS)
    found = []
    for model in known.models():
        if model.kind in {"base", "embedding"} or not model.repos.gguf or "text" not in model.modalities:
            continue
        if not _speaks_any(model, answers.languages):
            continue
        architecture = known.architecture(model.id)
        if architecture is None:
            continue
        made = _advice(
            model,
            architecture,
            answers,
            available=available,
            reads=reads,
            loading=loading or Loading(),
            calibration=calibration,
            room=room,
        )
        if made is not None:
            found.append(made)
    found.sort(key=lambda one: (-one.score, one.weights_bytes))
    return _mixed(found)[:most]


def _advice(
    model: CatalogModel,
    architecture: Architecture,
    answers: Preferences,
    *,
    available: int,
    reads: float,
    loading: Loading,
    calibration: Correction | None,
    room: DeviceRoom | None,
) -> Advice | None:
    for quant in _quants(model, answers.priority):
        weights = int(QUANTS[quant].bytes_of(model.parameters) * _FILE_OVERHEAD)
        expected = fit(
            architecture, weights, loading, available=available, calibration=calibration, room=room
        )
        if expected.verdict != "too_big" and expected.memory_bytes <= available:
            score = _score(model, answers, weights, tight=expected.verdict == "tight")
            reasons = _reasons(model, answers, quant, expected)
            rate = reads / _read_bytes(model, weights)
            whole = expected.split is not None and expected.split.whole
            if not whole and 0 < rate < _PLEASANT[answers.priority]:
                score -= _SLOW * math.log2(_PLEASANT[answers.priority] / rate)
                reasons = (*reasons, f"Slow on this processor: about {_about(rate)} a second, we expect.")
            return Advice(model, model.repos.gguf[0], quant, weights, expected, reasons, score)
    return None


def _quants(model: CatalogModel, priority: Priority) -> tuple[str, ...]:
    """What to try, in order: small models in fine quants, large ones coarser if need be."""
    if model.tier == "micro":
        return (USUAL,) if priority == "speed" else ("Q8_0", USUAL)
    if priority == "quality" and model.tier == "small":
        return ("Q6_K", "Q5_K_M", USUAL)
    return (USUAL,)


def _score(model: CatalogModel, answers: Preferences, weights: int, *, tight: bool) -> float:
    score = sum(worth for word, worth in _WANTED[answers.use].items() if word in model.strengths)
    score += _KINDS.get(answers.use, {}).get(model.kind, 0.0)
    if model.kind == "code" and answers.use != "code":
        score -= 2.0
    if model.kind == "reasoning" and answers.use not in {"reasoning", "code"}:
        score -= 1.5  # thinks aloud before every answer
    whole, read = _SIZE[answers.priority]
    score += whole * math.log2(model.parameters / 1e9) - read * math.log2(_read_bytes(model, weights) / 1e9)
    score += 0.5 * sum(language in model.languages for language in answers.languages)
    score -= 1.0 * sum(language not in model.languages for language in answers.languages)
    return score - (_TIGHT if tight else 0.0)


def _read_bytes(model: CatalogModel, weights: int) -> float:
    """Bytes of weights read for each token: of a mixture about the share of its experts that answer."""
    experts = model.architecture.experts if model.architecture else None
    share = max(experts.used / experts.count, 0.1) if experts else 1.0
    return max(weights * share, 1.0)


def _about(rate: float) -> str:
    tokens = max(1, round(rate))
    return "1 token" if tokens == 1 else f"{tokens} tokens"


def _speaks_any(model: CatalogModel, languages: Iterable[str]) -> bool:
    wanted = set(languages)
    return not wanted or _MANY in model.languages or bool(wanted & set(model.languages))


def _reasons(model: CatalogModel, answers: Preferences, quant: str, expected: Fit) -> tuple[str, ...]:
    needs, free = amounts.size(expected.memory_bytes), amounts.size(expected.available_bytes)
    reasons = [model.good_for, f"As {quant} it takes about {needs} of the {free} free now."]
    if expected.split is not None:
        reasons.append(
            f"The graphics card takes {amounts.size(expected.split.device.total_bytes)} of it"
            + (", so it is quick." if expected.split.whole else ".")
        )
    if expected.verdict == "tight":
        reasons.append("That leaves little for other programs.")
    spoken = [language for language in answers.languages if language in model.languages]
    if spoken:
        reasons.append(f"Made for these of your languages: {', '.join(spoken)}.")
    missing = [language for language in answers.languages if language not in model.languages]
    if missing:
        reasons.append(f"Its publisher does not name {', '.join(missing)}.")
    if answers.priority == "speed" and "fast" in model.strengths:
        reasons.append("Quick even without a graphics card.")
    if model.gated:
        reasons.append("Its licence must be accepted on the hub first.")
    return tuple(reasons)


def _mixed(found: list[Advice]) -> list[Advice]:
    """Not the same family in every place: the rest of a family goes behind the others."""
    counts: dict[tuple[str, str], int] = {}
    first: list[Advice] = []
    rest: list[Advice] = []
    for one in found:
        architecture = one.model.architecture
        family = (one.model.publisher, architecture.name if architecture else "")
        counts[family] = counts.get(family, 0) + 1
        (first if counts[family] <= _ALIKE else rest).append(one)
    return first + rest
