"""What a self-test found: families, steps, the outcome, and how it is kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.safe_steps import words
from slmdesk.inference.steps import Step  # noqa: TC001 - the codec reads it
from slmdesk.inference.wire import converted, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

# The code of an error that is llama.cpp's, not the test's.
FAILED: Literal["self_test_failed"] = "self_test_failed"
Verdict = Literal["right", "wrong", "crashed", "silent", "failed"]
Device = Literal["processor", "GPU"]

# Activations are rounded to 8 bits for these; 0.04 is the most that a sound kernel was seen to give.
_ROUNDED = 0.08
BOUNDS: dict[str, float] = {
    "F16": 0.02,
    **dict.fromkeys(
        ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q6_K", "Q5_K", "Q3_K", "Q2_K"), _ROUNDED
    ),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS", "TQ2_0"), _ROUNDED),
    "BF16": 0.03,
    "F32": 0.01,
}
"""The families, and the largest relative error (L2, of a row of logits) that each one's way of computing explains."""

_MOST_NAMED = 3  # families in a sentence


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """One family at one step. `error` is relative, -1 where nothing was computed; `work` is where it was largest, or
    what the process was at when it died."""

    family: str
    device: Device
    verdict: Verdict
    error: float
    bound: float
    work: str
    seconds: float
    why: str = ""  # what the process died of
    details: str = ""

    @classmethod
    def of(cls, event: dict[str, Any], device: Device) -> FamilyResult:
        """From what the child said of a family that it computed."""
        family, error = str(event["family"]), float(event["error"])
        verdict: Verdict = "right" if error <= BOUNDS[family] else "wrong"
        return cls(
            family, device, verdict, error, BOUNDS[family], str(event["work"]), float(event["seconds"])
        )

    @property
    def words(self) -> str:
        """One line for a person."""
        if self.verdict in {"right", "wrong"}:
            error = f"{self.error:.1%}" if self.error < 10 else "no number at all"
            text = f"error {error}, at most {self.bound:.0%} is right"
            return f"{text}; wrong in {self.work}" if self.verdict == "wrong" else text
        return f"{self.why} (at {self.work})"


@dataclass(frozen=True, slots=True)
class StepResult:
    """All families at one step."""

    step: Step
    families: tuple[FamilyResult, ...]

    @property
    def failed(self) -> tuple[FamilyResult, ...]:
        return tuple(result for result in self.families if result.verdict != "right")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One self-test: the steps that were tried, in order. The last one is the one to run with where it holds."""

    when: float  # seconds since the epoch
    seconds: float
    steps: tuple[StepResult, ...]

    @property
    def best(self) -> StepResult:
        """The first step with the fewest failing families; the one to run with."""
        return min(self.steps, key=lambda tried: len(tried.failed))

    @property
    def holds(self) -> bool:
        return not self.best.failed

    @property
    def words(self) -> str:
        """What was found, to stand in a sentence."""
        first = self.steps[0]
        if not first.failed:
            return f"all {len(_kinds(first.families))} kinds of weights give the right numbers"
        if self.holds:
            return f"{names(first)} failed with everything this machine offers; all is right {words(self.best.step)}"
        return f"{names(self.best)} failed at every step"

    def to_json(self) -> dict[str, Any]:
        return {**plain(self), "holds": self.holds, "step": self.best.step}

    @classmethod
    def from_json(cls, data: object) -> Outcome:
        """Raises `SlmDeskError("bad_request")` for what is no outcome."""
        found = converted(data, cls)
        if not found.steps or not all(tried.families for tried in found.steps):
            raise SlmDeskError("bad_request", "This is no outcome of a self-test.")
        return found


def names(tried: StepResult) -> str:
    """The families that failed, to begin a sentence with: "Q4_K and Q6_K", "9 of 12 kinds of weights"."""
    kinds, every = _kinds(tried.failed), _kinds(tried.families)
    if len(kinds) == len(every):
        return "Every kind of weights"
    if len(kinds) > _MOST_NAMED:
        return f"{len(kinds)} of {len(every)} kinds of weights"
    return " and ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))


def _kinds(results: Sequence[FamilyResult]) -> list[str]:
    return list(dict.fromkeys(result.family for result in results))
