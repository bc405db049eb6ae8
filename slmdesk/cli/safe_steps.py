"""The safe steps that are taken on this machine, as `slmdesk doctor` tells and forgets them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slmdesk.engines.safe_steps import words

if TYPE_CHECKING:
    from slmdesk.cli.output import Output
    from slmdesk.engines.safe_steps import Remembered, SafeSteps

_WAY_BACK = "slmdesk doctor --forget-steps tries everything anew."


def told(entry: Remembered) -> tuple[str, str]:
    """What is done since when, in one line, and how to undo it."""
    who = "every model" if entry.file is None else entry.model or entry.key
    day = time.strftime("%Y-%m-%d", time.localtime(entry.when))
    return f"{who} runs {words(entry.step)}, since {day}. {entry.why}", _WAY_BACK


def forget(steps: SafeSteps, out: Output) -> int:
    """Forget all of them; the exit code."""
    gone = steps.forget_all()
    for entry in gone:
        out.text(f"Forgotten: {told(entry)[0]}")
    if not gone:
        out.text("There is nothing to forget: engines run with everything this machine offers.")
    out.done({"forgotten": [{"step": e.step, "scope": e.scope, "model": e.model} for e in gone]})
    return 0
