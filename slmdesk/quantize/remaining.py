"""How long a job of several steps still takes: by what was planned, corrected by how the running step goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.quantize.planning import QuantizeStep

_SURE_S, _SURE_SHARE = 3.0, 0.05  # before, what a step was seen to do tells nothing
_LEAST = 0.1  # of the plan stays for a step that takes longer and does not say how far it is


def seconds_left(steps: Sequence[QuantizeStep], running: QuantizeStep, share: float, ran_s: float) -> float:
    """Seconds until the end. `steps`: those not done, with the one that runs; `share` of it was done in `ran_s`
    seconds.

    Steps differ in how true their forecast is, so the pace of one says nothing of the others: only the running one
    is corrected, by its own pace, the more the further it is.
    """
    share = min(max(share, 0.0), 1.0)
    planned = running.seconds
    if share >= _SURE_SHARE and ran_s >= _SURE_S:
        own = (1.0 - share) * ((1.0 - share) * planned + ran_s)
    else:
        own = max(planned - ran_s, planned * _LEAST)
    return own + sum(
        step.seconds for step in steps if (step.name, step.quant) != (running.name, running.quant)
    )
