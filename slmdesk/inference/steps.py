"""The safe steps: each leaves out one more kind of native code than the one before it."""

from __future__ import annotations

from typing import Literal, get_args

Step = Literal["all", "no_gpu", "no_extra_buffers", "no_flash_attention", "plain_cpu"]

STEPS: tuple[Step, ...] = get_args(Step)
"""From fast to safe. Each one holds all that those before it hold."""


def holds(step: Step, part: Step) -> bool:
    """Whether an engine started at `step` leaves out what `part` leaves out."""
    return STEPS.index(step) >= STEPS.index(part)


def safer(one: Step, other: Step) -> Step:
    """The safer one of two."""
    return one if holds(one, other) else other
