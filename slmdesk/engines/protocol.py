"""What the service and an engine say to each other.

An engine is a child process that runs one loaded model. It reads one `EngineSpec` as a JSON line on stdin, prints
JSON lines on stdout (`progress` while loading, then one `ready` or one `error`), and serves HTTP on a loopback port
behind its own bearer token until its stdin closes.

Answers of all requests travel together: one long-lived `GET /events` carries one JSON line a step of the batch loop,
with the new text and token of every running request in it, so that sixteen streams cost one write and one read a
step. The tokens are kept by the parent: should the engine die, another one goes on behind them.
"""

from __future__ import annotations

from slmdesk.inference.loading import Facts, Loading
from slmdesk.inference.steps import Step
from slmdesk.inference.wire import Wire


class EngineSpec(Wire, frozen=True):
    """What an engine's child is told: which model, and how to load it."""

    model_path: str
    model_id: str
    loading: Loading = Loading()
    safe_step: Step = "all"  # what native code is left out; see `inference.steps`
    token: str = ""  # bearer token that callers must show


class EngineReady(Wire, frozen=True):
    """The one ready line: where to reach the engine, and what was loaded."""

    port: int
    pid: int
    facts: Facts
