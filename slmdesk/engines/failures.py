"""What a dead engine died of: from exit status and stderr to what happened and what to do."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.installation import set_up_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.core.error_codes import ErrorCode

CRASHED_EXIT = 70  # the engine's own exit status after a defect in its worker thread

# Windows ends processes with these (NTSTATUS); they arrive as unsigned or as negative 32-bit numbers.
_WINDOWS = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC0000017: "no memory",
    0xC00000FD: "stack overflow",
    0xC0000094: "division by zero",
    0xC0000135: "missing library",
    0xC0000139: "missing library",
    0xC000007B: "missing library",
    0xC000012D: "no memory",
    0xC000013A: "interrupted",
    0xC0000374: "damaged heap",
    0xC0000409: "abort",
    0x40010004: "ended",
}

# What native code does when it fails, as opposed to what others do to it.
_NATIVE = frozenset(
    {"access violation", "illegal instruction", "division by zero", "stack overflow", "damaged heap", "abort"}
)
_ACCESS_VIOLATION, _LEAST_EXCEPTION = 0xC0000005, 0xC0000000

_DAMAGED_HINT = "Download the file again, or choose another file of this model."
_MEMORY_HINT = "Choose a smaller quant, set a shorter context, or close other programs."
_DRIVER_HINT = "Update the graphics driver. Until then models run on the processor."
_OTHER_MODEL = "Choose another model, or update SLM Desk."

_NO_CPU: tuple[ErrorCode, str, str] = (
    "cpu_unsupported",
    "This processor lacks an instruction that the installed engine uses.",
    "Set SLM Desk up again on this machine, so that the engine is built for its processor.",
)

# (pattern on stderr, code, message, hint); the first that matches counts. `{name}` is the file's name, `{0}` the
# pattern's first group.
_SIGNS: tuple[tuple[str, ErrorCode, str, str], ...] = (
    (
        r"unknown (?:model )?architecture:? '?([\w.-]*)",
        "architecture_unknown",
        "{name} uses the architecture “{0}”, which this version of llama.cpp does not know.",
        _OTHER_MODEL,
    ),
    (
        r"unknown pre-tokenizer type:? '?([\w.-]*)",
        "architecture_unknown",
        "{name} cuts text into tokens in a way (“{0}”) this version of llama.cpp does not know.",
        _OTHER_MODEL,
    ),
    (
        r"[KV] cache (?:type|requires|was requested)",
        "spec_invalid",
        "{name} cannot run with this kind of cache.",
        "Set engine.cache_type to f16, or turn engine.flash_attention on.",
    ),
    (
        # Not where the driver had no pinned memory, which only makes it slower.
        (
            r"Device memory allocation of size|what\(\):.*ErrorOutOfDeviceMemory|cudaMalloc failed|"
            r"CUDA error: out of memory"
        ),
        "out_of_memory",
        "The GPU has too little free memory to run {name}.",
        "Close other programs that use the GPU, or set engine.gpu_layers lower.",
    ),
    (
        r"ErrorDeviceLost|device lost|CUDA error|vk::\w*Error|GPU hang|command buffer failed",
        "driver_failed",
        "The graphics driver failed while it ran {name}.",
        _DRIVER_HINT,
    ),
    (
        (
            r"(?:failed|unable) to allocate|out of memory|cannot allocate|bad_alloc|MemoryError|failed to create ggml "
            r"context|alloc_tensor_range|failed to reserve|could not reserve"
        ),
        "out_of_memory",
        "There is not enough memory to run {name}.",
        _MEMORY_HINT,
    ),
    (
        r"illegal instruction|cpu.*not support",
        *_NO_CPU,
    ),
    (
        r"invalid magic|bad magic|magic mismatch|not a gguf|invalid vector subscript",
        "model_damaged",
        "{name} is not a model file, or its beginning is damaged.",
        _DAMAGED_HINT,
    ),
    (
        (
            r"tensor '?([\w.-]+)'? (?:not found|data is not within|is missing|has invalid)|missing tensor "
            r"'?([\w.-]+)"
        ),
        "model_damaged",
        "{name} is damaged: its tensor “{0}” is missing or lies outside the file.",
        _DAMAGED_HINT,
    ),
    (
        r"tensor '?([\w.-]+)'? has wrong",
        "model_damaged",
        "{name} is damaged: its tensor “{0}” does not have the shape that the rest of the file asks for.",
        _DAMAGED_HINT,
    ),
    (
        r"key not found in model: ([\w.-]+)|key ([\w.-]+) has wrong",
        "model_damaged",
        "{name} is damaged: it lacks “{0}”, which llama.cpp needs.",
        _DAMAGED_HINT,
    ),
    (
        r"GGML_ASSERT\([^)]*token_to_id|id_to_token\.size\(\)",
        "model_damaged",
        "{name} is damaged: its vocabulary holds a token twice.",
        _DAMAGED_HINT,
    ),
    (
        (
            r"failed to (?:read|load|open)|corrupt|tensor data|wrong number of tensors|wrong shape|error loading model|"
            r"invalid split file|vocab|gguf_init|is too large|out of bounds|unexpected(?:ly)? (?:end|reached)|vector::"
            r"|basic_string|length_error"
        ),
        "model_damaged",
        "{name} is damaged or incomplete; llama.cpp could not read it.",
        _DAMAGED_HINT,
    ),
)


class NativeFaultError(SlmDeskError):
    """Native code failed, and nothing says that the model's file is the cause: a safer step may mend it.

    `ending` is what ended the process: "access violation", "illegal instruction", …; `loading`: before it was ready.
    """

    ending: str = ""
    loading: bool = False

    def without_cure(self) -> SlmDeskError:
        """The same error, as one that no step mends."""
        return SlmDeskError(self.code, self.message, self.hint, details=self.details)


def decode(exit_code: int | None, stderr_tail: Sequence[str], path: str, *, loading: bool) -> SlmDeskError:
    """Why an engine ended. `exit_code` as `subprocess` gives it: negative for a signal, NTSTATUS on Windows.

    `path`: the model's file; `loading`: it never got ready, so that is the first suspect. The status and the last lines
    of stderr go to `details`. A `NativeFaultError` where another way of computing may help.
    """
    error = _decode(exit_code, stderr_tail, path, loading=loading)
    if _ending(exit_code) in _NATIVE and error.code in {"engine_crashed", "cpu_unsupported", "driver_failed"}:
        fault = NativeFaultError(error.code, error.message, error.hint, details=error.details)
        fault.ending, fault.loading = _ending(exit_code), loading
        return fault
    return error


def _decode(exit_code: int | None, stderr_tail: Sequence[str], path: str, *, loading: bool) -> SlmDeskError:
    name = Path(path).name or "The model"
    details = _details(exit_code, stderr_tail)
    ending = _ending(exit_code)

    def error(code: ErrorCode, message: str, hint: str) -> SlmDeskError:
        return SlmDeskError(code, message, hint, details=details)

    sign = _sign(stderr_tail)
    if sign is not None and (loading or sign[0] != "model_damaged"):
        code, message, hint, group = sign
        return error(code, message.format(group or "?", name=name), hint)
    if ending == "illegal instruction":
        return error(*_NO_CPU)
    if ending == "no memory":
        return error("out_of_memory", f"There is not enough memory to run {name}.", _MEMORY_HINT)
    if ending == "missing library":
        return error(
            "engine_missing",
            "A library the engine needs is missing.",
            set_up_again(),
        )
    if ending == "killed":
        return error(
            "engine_killed",
            f"The engine that ran {name} was ended from outside, perhaps because memory ran out.",
            "Send the message again. If it happens again, choose a smaller quant or a shorter context.",
        )
    if ending in {"ended", "interrupted"}:
        return error(
            "engine_killed",
            f"The engine that ran {name} was asked to end.",
            "Send the message again to start it.",
        )
    if loading:
        return error(
            "engine_crashed" if ending != "closed" else "model_damaged",
            f"llama.cpp stopped while it read {name}; the file is probably damaged.",
            _DAMAGED_HINT,
        )
    return error(
        "engine_crashed",
        f"The engine that ran {name} stopped because of a defect in it.",
        "Send the message again to start it anew. Report it if it happens again.",
    )


def end_as_native(error: BaseException) -> None:
    """Windows: a native fault on one of Python's threads arrives as an `OSError` of ctypes. Where `error` is one,
    end this process with the fault's status, as the fault itself does everywhere else."""
    status = native_status(error)
    if status is not None and sys.platform == "win32":
        os._exit(status - 2**32)  # the same 32 bits, as a signed number


def native_status(error: BaseException) -> int | None:
    """The NTSTATUS of a native fault that ctypes turned into an exception; None for any other exception."""
    if not isinstance(error, OSError):
        return None
    if str(error).startswith("exception: "):  # ctypes' own words for those it knows
        said = str(error).removeprefix("exception: ")
        return next((code for code, name in _WINDOWS.items() if said.startswith(name)), _ACCESS_VIOLATION)
    number = getattr(error, "winerror", None)
    status = number & 0xFFFFFFFF if isinstance(number, int) else 0
    return status if status >= _LEAST_EXCEPTION else None


def start_timeout(path: str, seconds: float, stderr_tail: Sequence[str]) -> SlmDeskError:
    """The engine was alive but said nothing for too long while it loaded."""
    return SlmDeskError(
        "engine_start_timeout",
        f"{Path(path).name} did not get further in loading for {seconds:.0f} seconds.",
        "Check that its disk answers, then try again.",
        details=_details(None, stderr_tail),
    )


def driver_failed(exit_code: int | None, stderr_tail: Sequence[str]) -> SlmDeskError:
    """A process ended while it started a graphics driver or asked it for its devices."""
    fault = NativeFaultError(
        "driver_failed",
        "The graphics driver ended the process that asked it for its devices.",
        _DRIVER_HINT,
        details=_details(exit_code, stderr_tail),
    )
    fault.ending, fault.loading = _ending(exit_code), True
    return fault


def driver_hangs(seconds: float, stderr_tail: Sequence[str]) -> SlmDeskError:
    """A graphics driver was started and did not answer."""
    fault = NativeFaultError(
        "driver_hangs",
        f"The graphics driver did not answer for {seconds:.0f} seconds.",
        _DRIVER_HINT,
        details=_details(None, stderr_tail),
    )
    fault.ending, fault.loading = "no answer", True
    return fault


def _ending(exit_code: int | None) -> str:
    """One of a few words for how a process ended."""
    if exit_code is None or exit_code == 0:
        return "closed"
    status = exit_code & 0xFFFFFFFF  # NTSTATUS, also where it came as a negative or a 64-bit number
    if status in _WINDOWS:
        return _WINDOWS[status]
    if -64 <= exit_code < 0 or 128 < exit_code <= 192:  # also as a shell reports signals
        return _signal(-exit_code if exit_code < 0 else exit_code - 128)
    return "failed"


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = {4: "SIGILL", 6: "SIGABRT", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}.get(
            number, ""
        )
    return {
        "SIGKILL": "killed",
        "SIGILL": "illegal instruction",
        "SIGTERM": "ended",
        "SIGHUP": "ended",
        "SIGINT": "interrupted",
        "SIGABRT": "abort",
        "SIGSEGV": "access violation",
        "SIGBUS": "access violation",
        "SIGFPE": "division by zero",
    }.get(name, "failed")


def _sign(lines: Iterable[str]) -> tuple[ErrorCode, str, str, str] | None:
    text = "\n".join(lines)
    for pattern, code, message, hint in _SIGNS:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            group = next((value for value in found.groups() if value), "")
            return code, message, hint, group
    return None


def _details(exit_code: int | None, stderr_tail: Sequence[str]) -> str:
    lines = [line for line in stderr_tail[-30:] if line.strip()]
    if exit_code is not None:
        shown = f"0x{exit_code & 0xFFFFFFFF:08X}" if abs(exit_code) > 255 else str(exit_code)
        lines.append(f"exit status {shown}, {_ending(exit_code)}")
    return "\n".join(lines)
