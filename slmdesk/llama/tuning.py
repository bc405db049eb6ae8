"""How native libraries and the interpreter are set in a process that computes."""

from __future__ import annotations

import os

SWITCH_INTERVAL = 0.0005  # seconds the worker thread may have to wait for the interpreter lock
_SPIN = "2000"


def tune_native() -> None:
    """Settings that native libraries read when they are loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN)
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # else a failed assertion starts gdb and floods stderr
