"""The parent's side of `slmdesk quantizer`: start it, hear how far it is, and say what it died of."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from slmdesk.core.child import SpokenChild
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.processes import self_command
from slmdesk.engines import failures
from slmdesk.engines.safe_steps import installed_ladder, next_step, safe_steps_in, words
from slmdesk.inference.wire import encoded
from slmdesk.quantize.protocol import STEP_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.inference.steps import Step
    from slmdesk.quantize.protocol import Spec

log = logging.getLogger(__name__)

Progress = dict[str, Any]  # {"done", "total", "detail", …}

_COMPUTING = frozenset({"check", "matrix", "quality", "speed", "compare"})
_VERBS = {
    "forecast": "looked at",
    "quantize": "quantized",
    "check": "checked",
    "matrix": "run for the importance matrix",
    "quality": "measured",
    "speed": "timed",
    "compare": "compared",
    "regroup": "split or joined",
    "matrix_merge": "merged",
    "matrix_statistics": "looked at",
    "adapter_merge": "merged with its adapter",
}


async def run_child(
    spec: Spec,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Do one operation in a process of its own and return its result.

    `on_progress` and `on_line` (llama.cpp's own words) are called on the event loop. Cancelling ends the child's
    whole tree. Raises the operation's `SlmDeskError`, or what the child died of: `out_of_memory`,
    `quantizer_killed`, `quantizer_crashed`, `model_damaged`, `architecture_unknown`, `cpu_unsupported`, …

    What computes with a model begins at the machine's safe step. Where native code fails, it is done again at each
    safer one in turn before that is raised.
    """
    step = await asyncio.to_thread(_machine_step)
    while True:
        try:
            return await _run_once(spec, step, on_progress, on_line, command)
        except failures.NativeFaultError as fault:
            safer = next_step(step, installed_ladder(gpu_layers=-1, flash_attention=True))
            if spec.op not in _COMPUTING or safer is None:
                raise
            log.warning(
                "native code failed (%s) in %s; it begins again %s", fault.ending, spec.op, words(safer)
            )
            step = safer


def _machine_step() -> Step:
    return safe_steps_in(Paths.resolve().data).machine_step()


async def _run_once(
    spec: Spec,
    step: Step,
    on_progress: Callable[[Progress], None] | None,
    on_line: Callable[[str], None] | None,
    command: Sequence[str] | None,
) -> dict[str, Any]:
    command = list(command or self_command("quantizer"))
    line = encoded(spec)
    child = await SpokenChild.start(command, line, env={STEP_VARIABLE: step}, on_stderr=on_line)
    try:
        return await _until_result(child, spec, on_progress)
    finally:
        await child.end()


async def _until_result(
    child: SpokenChild, spec: Spec, on_progress: Callable[[Progress], None] | None
) -> dict[str, Any]:
    try:
        async with aclosing(child.events()) as said:
            async for event in said:
                if event.get("event") == "progress" and on_progress is not None:
                    on_progress(event)
                elif event.get("event") == "result":
                    return dict(event["result"])
    except SlmDeskError as error:
        raise _with_reason(error, child.tail, spec) from None
    raise decode(await child.wait(), child.tail, spec)


def _with_reason(error: SlmDeskError, tail: Sequence[str], spec: Spec) -> SlmDeskError:
    """A load that failed says why on stderr only."""
    if error.code != "model_damaged":
        return error
    decoded = failures.decode(None, tail, _model_path(spec), loading=True)
    return decoded if decoded.code != "engine_crashed" else error


def decode(exit_code: int | None, tail: Sequence[str], spec: Spec) -> SlmDeskError:
    """Why a child ended without a word."""
    name = _model_name(spec)
    found = failures.decode(exit_code, tail, _model_path(spec), loading=False)
    if found.code == "engine_killed":
        return SlmDeskError(
            "quantizer_killed",
            f"The process in which {name} was being {_VERBS.get(spec.op, 'worked on')} was ended from outside,"
            " perhaps because memory ran out.",
            "Close other programs and start it again; what was finished before is kept.",
            details=found.details,
        )
    if found.code == "engine_crashed":
        reason = next(
            (line for line in reversed(tail) if re.search(r"GGML_ASSERT|terminate called|what\(\)", line)), ""
        )
        kind = failures.NativeFaultError if isinstance(found, failures.NativeFaultError) else SlmDeskError
        return kind(
            "quantizer_crashed",
            f"llama.cpp stopped while {name} was being {_VERBS.get(spec.op, 'worked on')}"
            + (f": {reason.strip()}" if reason else "."),
            "The file may be damaged; verify it. Report it if it happens with other files, too.",
            details=found.details,
        )
    return found


def _model_path(spec: Spec) -> str:
    data: Mapping[str, Any] = spec.to_json()
    files = data.get("files") or data.get("paths") or [""]
    return str(data.get("source") or data.get("path") or files[0])


def _model_name(spec: Spec) -> str:
    path = _model_path(spec)
    return re.split(r"[\\/]", path)[-1] or "the model"
