"""The parent's side of `slmdesk quantizer`: start it, hear how far it is, and say what it died of."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import ChildProcess, self_command, start_child
from slmdesk.engines import failures
from slmdesk.engines.protocol import EngineSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slmdesk.quantize.protocol import Spec

Progress = dict[str, Any]  # {"done", "total", "detail", …}

_VERBS = {
    "forecast": "looked at",
    "quantize": "quantized",
    "check": "checked",
    "matrix": "run for the importance matrix",
    "quality": "measured",
    "speed": "timed",
    "compare": "compared",
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
    """
    child = await start_child(list(command or self_command("quantizer")), on_stderr=on_line)
    try:
        child.stdin.write(json.dumps(spec.to_json()).encode() + b"\n")
        with suppress(OSError):
            await child.stdin.drain()
        return await _until_result(child, spec, on_progress)
    finally:
        await asyncio.shield(child.terminate_tree(grace_s=0.2))


async def _until_result(
    child: ChildProcess, spec: Spec, on_progress: Callable[[Progress], None] | None
) -> dict[str, Any]:
    while line := await child.stdout.readline():
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            continue  # cut off by the child's death
        if event.get("event") == "progress" and on_progress is not None:
            on_progress(event)
        elif event.get("event") == "result":
            return dict(event["result"])
        elif event.get("event") == "error":
            raise _with_reason(SlmDeskError.from_json(event["error"]), child.stderr_tail, spec)
    raise decode(await child.wait(), child.stderr_tail, spec)


def _with_reason(error: SlmDeskError, tail: Sequence[str], spec: Spec) -> SlmDeskError:
    """A load that failed says why on stderr only."""
    if error.code != "model_damaged":
        return error
    decoded = failures.decode(None, tail, _as_engine(spec), loading=True)
    return decoded if decoded.code != "engine_crashed" else error


def decode(exit_code: int | None, tail: Sequence[str], spec: Spec) -> SlmDeskError:
    """Why a child ended without a word."""
    name = _model_name(spec)
    found = failures.decode(exit_code, tail, _as_engine(spec), loading=False)
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
        return SlmDeskError(
            "quantizer_crashed",
            f"llama.cpp stopped while {name} was being {_VERBS.get(spec.op, 'worked on')}"
            + (f": {reason.strip()}" if reason else "."),
            "The file may be damaged; verify it. Report it if it happens with other files, too.",
            details=found.details,
        )
    return found


def _as_engine(spec: Spec) -> EngineSpec:
    return EngineSpec(model_path=_model_path(spec), model_id="")


def _model_path(spec: Spec) -> str:
    data: Mapping[str, Any] = spec.to_json()
    files = data.get("files") or data.get("paths") or [""]
    return str(data.get("source") or data.get("path") or files[0])


def _model_name(spec: Spec) -> str:
    path = _model_path(spec)
    return re.split(r"[\\/]", path)[-1] or "the model"
