"""`slmdesk quantizer`: one child process that does one piece of native work and ends.

Native code ends whole processes when it meets what it does not expect, and cannot be stopped otherwise: so each
piece has a process of its own. See `protocol` for what goes in and out.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.child import begin, defect, reported
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import decoded
from slmdesk.quantize.protocol import AnySpec

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S = 0.1  # between progress lines
_STACK = 64 * 1024 * 1024
# Operation -> the module whose `run(spec, tell)` does it.
_OPERATIONS = {
    "forecast": "slmdesk.quantize.child.dry_run",
    "quantize": "slmdesk.quantize.child.quantizing",
    "check": "slmdesk.quantize.child.checking",
    "matrix": "slmdesk.quantize.child.importance",
    "quality": "slmdesk.quantize.child.quality",
    "speed": "slmdesk.quantize.child.speed",
    "compare": "slmdesk.quantize.child.comparing",
    "regroup": "slmdesk.quantize.child.regrouping",
    "matrix_merge": "slmdesk.quantize.child.matrix_merging",
    "matrix_statistics": "slmdesk.quantize.child.matrix_statistics",
    "adapter_merge": "slmdesk.quantize.child.adapter_merging",
}

Tell = Any  # `Teller`; operations call it with done, total and what they are at


class Teller:
    """Tells the parent how far the work is, at most some times a second."""

    def __init__(self, write: Callable[[dict[str, Any]], None]) -> None:
        self._write = write
        self._last = 0.0

    def __call__(
        self, done: float, total: float, detail: str = "", *, force: bool = False, **more: Any
    ) -> None:
        now = time.monotonic()
        if force or done >= total or now - self._last >= _EVERY_S:
            self._last = now
            self._write({"event": "progress", "done": done, "total": total, "detail": detail, **more})


def main() -> int:
    """Run one operation. 0 after a result, 1 after an error that was reported on stdout."""
    line, tell = begin(stack_bytes=_STACK)
    if not line:
        return 0
    done: list[int] = []
    worker = threading.Thread(
        target=lambda: done.append(reported(lambda: _run(line, tell), tell, _explained))
    )
    worker.start()
    worker.join()
    sys.stderr.flush()
    os._exit(done[0] if done else 1)  # nothing to tidy up; native threads would only be in the way


def _run(line: str, tell: Callable[[dict[str, Any]], None]) -> None:
    spec: AnySpec = decoded(line, AnySpec)
    from slmdesk.llama.tuning import tune_native

    tune_native()
    operation = import_module(_OPERATIONS[spec.op])
    result = operation.run(spec, Teller(tell))
    tell({"event": "result", "result": result})


def _explained(error: Exception) -> SlmDeskError:
    if isinstance(error, MemoryError):
        return SlmDeskError(
            "out_of_memory",
            "There is not enough memory for this.",
            "Close other programs, or use fewer quants.",
        )
    if isinstance(error, OSError) and error.filename:
        from slmdesk.core.files import writing_error

        return writing_error(Path(str(error.filename)), error)
    return defect("quantizer_crashed", "The quantizer stopped", error)
