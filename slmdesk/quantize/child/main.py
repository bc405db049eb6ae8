"""`slmdesk quantizer`: one child process that does one piece of native work and ends.

Native code ends whole processes when it meets what it does not expect, and cannot be stopped otherwise: so each
piece has a process of its own. See `protocol` for what goes in and out.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import die_with_parent, own_stdout, read_spec_then_watch

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY_S = 0.1  # between progress lines
_STACK = 64 * 1024 * 1024
# Operation -> the module whose `run(data, tell)` does it.
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
    write = own_stdout()
    die_with_parent()
    line = read_spec_then_watch(lambda: os._exit(0))
    if not line:
        return 0
    done: list[int] = []
    threading.stack_size(_STACK)  # some tokenizers make llama.cpp recurse deeply
    worker = threading.Thread(target=lambda: done.append(_run(line, write)))
    worker.start()
    worker.join()
    sys.stderr.flush()
    os._exit(done[0] if done else 1)  # nothing to tidy up; native threads would only be in the way


def _run(line: str, write: Callable[[dict[str, Any]], None]) -> int:
    try:
        data = json.loads(line)
        from slmdesk.llama.tuning import tune_native

        tune_native()
        operation = import_module(_OPERATIONS[data["op"]])
        result = operation.run(data, Teller(write))
        write({"event": "result", "result": result})
        return 0
    except SlmDeskError as error:
        problem = error
    except MemoryError:
        problem = SlmDeskError(
            "out_of_memory",
            "There is not enough memory for this.",
            "Close other programs, or use fewer quants.",
        )
    except OSError as error:
        problem = _system(error)
    except Exception as error:  # noqa: BLE001 - the last place where a defect can become words
        problem = _defect(error)
    write({"event": "error", "error": problem.to_json()})
    return 1


def _system(error: OSError) -> SlmDeskError:
    from pathlib import Path

    from slmdesk.core.files import writing_error

    if error.filename:
        return writing_error(Path(str(error.filename)), error)
    return _defect(error)


def _defect(error: Exception) -> SlmDeskError:
    return SlmDeskError(
        "quantizer_crashed",
        f"The quantizer stopped because of a defect: {str(error) or type(error).__name__}.",
        "Report it with the details.",
        details=traceback.format_exc(),
    )
