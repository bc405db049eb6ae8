"""The time left of a job: planned seconds, and the running step by its own pace."""

from __future__ import annotations

import pytest

from slmdesk.quantize.planning import QuantizeStep
from slmdesk.quantize.remaining import seconds_left

STEPS = (
    QuantizeStep("quantize", "Q8_0", seconds=2.0),
    QuantizeStep("check", "Q8_0", seconds=1.0),
    QuantizeStep("measure", seconds=420.0),
)


def left(at: int, share: float, ran_s: float) -> float:
    return seconds_left(STEPS[at:], STEPS[at], share, ran_s)


def test_it_is_what_the_steps_still_need() -> None:
    assert left(0, 0.0, 0.0) == pytest.approx(423.0)
    assert left(2, 0.0, 0.0) == pytest.approx(420.0)
    # A first step of two seconds that takes twenty says nothing of seven minutes of measuring.
    assert left(0, 0.5, 20.0) == pytest.approx(421.0 + 10.5)
    assert left(0, 0.0, 60.0) == pytest.approx(421.2)


def test_the_running_step_is_believed_the_more_the_further_it_is() -> None:
    assert left(2, 0.5, 210.0) == pytest.approx(210.0)
    twice_as_slow = [left(2, share, 840.0 * share) for share in (0.1, 0.5, 0.9, 1.0)]
    assert twice_as_slow == pytest.approx([0.9 * (0.9 * 420 + 84), 0.5 * (210 + 420), 0.1 * (42 + 756), 0.0])
    assert twice_as_slow[2] == pytest.approx(84.0, rel=0.06)  # as it will be
