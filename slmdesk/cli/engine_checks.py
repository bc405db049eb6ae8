"""What `slmdesk doctor` says about the engine's arithmetic: the self-test made now, or what the last one found."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.safe_steps import words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from slmdesk.engines.self_test import SelfTest
    from slmdesk.engines.self_test_outcome import FamilyResult, Outcome

CheckState = Literal["ok", "note", "warning", "failed"]

_GROUP = "Self-test"
_NO_STEP_HINT = (
    "Models with these weights may stop or answer nonsense here; choose other ones, and report this."
)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. A "note" informs, a "warning" limits something, "failed" breaks something."""

    group: str
    name: str
    state: CheckState
    text: str
    hint: str = ""
    details: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


async def examine(test: SelfTest, *, now: bool) -> AsyncIterator[Check]:
    """The self-test's findings, each kind of weights by itself where it is made `now`. Nothing raises."""
    try:
        outcome = await test.run() if now else await test.latest()
    except SlmDeskError as error:
        yield Check(_GROUP, "self-test", "failed", error.message, error.hint, error.details)
        return
    if outcome is None:
        yield Check(
            _GROUP,
            "self-test",
            "note",
            "not made yet; it is made in the background when nothing else is done",
        )
        return
    if now:
        for check in _families(outcome):
            yield check
    yield _summary(outcome)


def _families(outcome: Outcome) -> Iterator[Check]:
    """All kinds at the step that was chosen; at the ones before it, those that failed."""
    for tried in outcome.steps:
        chosen = tried is outcome.best
        for result in tried.families if chosen else tried.failed:
            at = "" if tried.step == "all" else f", {words(tried.step)}"
            text = f"{result.words}, {result.seconds:.2f} s{at}"
            yield Check(_GROUP, _name(result), _state(result, chosen=chosen), text, details=result.details)


def _name(result: FamilyResult) -> str:
    return result.family if result.device == "processor" else f"{result.family} on the {result.device}"


def _state(result: FamilyResult, *, chosen: bool) -> CheckState:
    if result.verdict == "right":
        return "ok"
    return "failed" if chosen else "warning"


def _summary(outcome: Outcome) -> Check:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(outcome.when))
    text = f"{outcome.words} ({when}, {outcome.seconds:.1f} s)"
    if not outcome.holds:
        return Check(_GROUP, "self-test", "failed", text, _NO_STEP_HINT)
    if outcome.best.step != "all":
        return Check(
            _GROUP, "self-test", "warning", text, "Models run that way here; an update is tried anew."
        )
    return Check(_GROUP, "self-test", "ok", text)
