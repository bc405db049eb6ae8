"""`slmdesk self-test`: one child process in which llama.cpp computes small models and numpy checks the numbers.

stdin: one JSON line, `{"folder", "families", "step", "gpu_layers", "flash_attention", "threads", "gentle"}`. stdout:
JSON lines. `{"event": "at", "family", "work"}` comes before each piece of native work, so that the parent knows where a
process that dies was; `{"event": "family", "family", "error", "work", "seconds"}` after each family, with the largest
relative error of a row of logits; `{"event": "no_device"}` where a GPU was asked for and its driver has none;
`{"event": "done"}` or `{"event": "error"}` at the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.child import begin, defect, reported
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.llama.context import Context
    from slmdesk.llama.native import Native

_SEED = 20
_TOKENS, _PROMPT_END = 79, 78
# Matrix kernels differ by the number of tokens: one, a prompt that is no multiple of any tile, one behind it.
_WORK: tuple[tuple[str, int, int, tuple[int, ...]], ...] = (
    # name, first position, end, positions whose logits are compared
    ("one token", 0, 1, (0,)),
    ("a prompt", 1, _PROMPT_END, (1, 13, 30, 33, 52, 70, 77)),
    ("the next token", _PROMPT_END, _TOKENS, (78,)),
)
_CELLS, _BATCH, _ROWS = 256, 128, 8
_ALL_LAYERS = 1000  # the small models have a few


def main() -> int:
    """Run the families asked for. 0 after `done`, 1 after an error that was reported on stdout."""
    line, tell = begin()
    if not line:
        return 0

    def work() -> None:
        _run(json.loads(line), tell)
        tell({"event": "done"})

    code = reported(work, tell, _explained)
    sys.stderr.flush()
    os._exit(code)  # nothing to tidy up; native threads would only be in the way


def _explained(error: Exception) -> SlmDeskError:
    from slmdesk.engines import failures

    failures.end_as_native(error)
    return defect("unexpected", "The self-test stopped", error)


def _run(spec: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
    if spec["gentle"]:
        _step_back()
    # numpy's own threads would wait for each other where another program computes; these products are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from slmdesk.llama.tuning import tune_native

    tune_native()
    from slmdesk.llama.native import Native

    write({"event": "at", "family": "", "work": "its start"})
    native = Native(spec["step"], gpu=spec["gpu_layers"] != 0)
    device = _gpu(native) if spec["gpu_layers"] else None
    if spec["gpu_layers"] and device is None:
        write({"event": "no_device"})
        return
    for name in spec["families"]:
        started = time.perf_counter()
        error, work = _compare(native, device, spec, name, write)
        seconds = time.perf_counter() - started
        write({"event": "family", "family": name, "error": error, "work": work, "seconds": round(seconds, 4)})


def _compare(
    native: Native,
    device: int | None,
    spec: dict[str, Any],
    name: str,
    write: Callable[[dict[str, Any]], None],
) -> tuple[float, str]:
    """The largest error of one family, and the work it came with. A number that is none counts as 1e9."""
    import numpy as np

    from slmdesk.core.cores import model_threads
    from slmdesk.engines.llama.arithmetic.blocks import FAMILIES
    from slmdesk.engines.llama.arithmetic.llama_shape import VOCABULARY, SmallModel
    from slmdesk.inference.steps import holds
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model

    model = SmallModel.random(FAMILIES[name], _SEED)
    path = Path(spec["folder"], f"{name}.gguf")
    try:
        model.write(path)
    except OSError as problem:
        raise writing_error(path, problem) from problem
    tokens = np.random.default_rng(_SEED).integers(3, VOCABULARY, _TOKENS).astype(np.int32)
    expected = model.logits(tokens)
    write({"event": "at", "family": name, "work": "the load"})
    layers = 0 if device is None else _ALL_LAYERS
    loaded = Model(native, str(path), gpu_layers=layers, device=device, step=spec["step"])
    context = Context(
        loaded,
        cells=_CELLS,
        batch=_BATCH,
        sequences=_ROWS,
        threads=spec["threads"] or model_threads(),
        flash_attention=spec["flash_attention"] and not holds(spec["step"], "no_flash_attention"),
    )
    worst, where = -1.0, ""
    for work, first, end, wanted in _WORK:
        write({"event": "at", "family": name, "work": work})
        rows = list(wanted)
        found = _evaluated(context, tokens, first, end, rows).astype(np.float64)
        difference = np.linalg.norm(found - expected[rows], axis=1)
        error = float((difference / np.linalg.norm(expected[rows], axis=1)).max())
        error = error if np.isfinite(error) else 1e9
        if error > worst:
            worst, where = error, work
    context.close()
    loaded.close()
    return worst, where


def _gpu(native: Native) -> int | None:
    """The address of the GPU that models use here; None where the drivers have none."""
    from slmdesk.core import llama_library
    from slmdesk.core.paths import Paths

    chosen = native.open_best_gpu(llama_library.find(Paths.resolve().backends))
    return chosen[0] if chosen is not None else None


def _evaluated(
    context: Context, tokens: NDArray[np.int32], begin: int, end: int, wanted: list[int]
) -> NDArray[np.float32]:
    """Logits of the positions `wanted`, after evaluating those from `begin` to `end`."""
    count = end - begin
    context.token[:count] = tokens[begin:end]
    context.pos[:count] = range(begin, end)
    context.seq[:count] = 0
    context.wanted[:count] = 0
    context.wanted[[position - begin for position in wanted]] = 1
    if context.decode(count):
        raise SlmDeskError("self_test_failed", "llama.cpp did not evaluate the tokens.", "")
    return context.logits(len(wanted)).copy()


def _step_back() -> None:
    """Let everything else on the machine go first."""
    import psutil

    with suppress(psutil.Error):
        if sys.platform == "win32":
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            psutil.Process().nice(10)
