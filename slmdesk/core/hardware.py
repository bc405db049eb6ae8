"""What this machine has. Every probe may fail by itself; it then leaves a line in `problems`."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from slmdesk.core import control_groups, cores, gpus
from slmdesk.core.cores import Cores
from slmdesk.core.gpus import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Cores", "Gpu", "Hardware", "memory", "probe"]

T = TypeVar("T")

# What llama.cpp has faster code for, by the name Linux gives it.
_FEATURES = tuple(
    (
        "sse3 ssse3 sse4_1 sse4_2 avx avx2 f16c fma bmi2 avx_vnni avx512f avx512bw avx512vl avx512_vnni "
        "avx512_bf16 amx_tile amx_int8 amx_bf16 neon asimd asimddp fp16 i8mm bf16 sve sve2 sme"
    ).split()
)
_LINUX_NAMES = {"pni": "sse3", "asimdhp": "fp16"}
_MACOS_NAMES = {
    "avx1.0": "avx",
    "avx2": "avx2",
    "f16c": "f16c",
    "fma": "fma",
    "bmi2": "bmi2",
    "sse3": "sse3",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "feat_dotprod": "asimddp",
    "feat_i8mm": "i8mm",
    "feat_bf16": "bf16",
    "feat_fp16": "fp16",
    "feat_sme": "sme",
    "advsimd": "neon",
}
# PF_* numbers of IsProcessorFeaturePresent (winnt.h).
_WINDOWS_FEATURES = {
    13: "sse3",
    36: "ssse3",
    37: "sse4_1",
    38: "sse4_2",
    39: "avx",
    40: "avx2",
    41: "avx512f",
    19: "neon",
    43: "asimddp",
    46: "sve",
    47: "sve2",
    66: "i8mm",
    67: "fp16",
    68: "bf16",
}


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine. Sizes in bytes; 0 or "" where something is not known."""

    cpu_name: str
    architecture: str
    cores: Cores
    cpu_features: tuple[str, ...]
    memory_total: int
    memory_available: int
    gpus: tuple[Gpu, ...]
    problems: tuple[str, ...]


def probe() -> Hardware:
    """Look at everything. May take seconds (graphics drivers are slow to answer): never on an event loop."""
    problems: list[str] = []

    def tried(what: str, look: Callable[[], T], otherwise: T) -> T:
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - any driver or tool may fail in its own way
            problems.append(f"{what}: {str(error) or type(error).__name__}")
            return otherwise

    total, available = tried("memory", memory, (0, 0))
    found, gpu_problems = gpus.probe()
    return Hardware(
        cpu_name=tried("processor", _cpu_name, "") or platform.machine(),
        architecture=platform.machine(),
        cores=tried("cores", cores.look, Cores(0, 0, 0)),
        cpu_features=tried("processor features", _cpu_features, ()),
        memory_total=total,
        memory_available=available,
        gpus=found,
        problems=(*problems, *gpu_problems),
    )


def processor() -> tuple[str, tuple[str, ...]]:
    """Its name and the features llama.cpp has faster code for; "" and () where they are not known."""
    try:
        return _cpu_name() or platform.machine(), _cpu_features()
    except Exception:  # noqa: BLE001 - as in `probe`
        return platform.machine(), ()


def memory() -> tuple[int, int]:
    """Bytes of memory: all of it, and what programs may still take. Cheap. A container's limit counts."""
    import psutil

    state = psutil.virtual_memory()
    total, available = int(state.total), int(state.available)
    if sys.platform == "linux":
        limit, used = control_groups.memory_limit()
        if 0 < limit < total:
            total, available = limit, min(available, max(0, limit - used))
    return total, available


def _cpu_name() -> str:
    if sys.platform == "linux":
        info = _linux_cpu()
        return info.get("model name") or info.get("model") or info.get("hardware") or ""
    elif sys.platform == "darwin":  # noqa: RET505
        return gpus.output(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
    elif sys.platform == "win32":
        import winreg

        key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
            return str(winreg.QueryValueEx(opened, "ProcessorNameString")[0]).strip()
    else:
        return platform.processor()


def _cpu_features() -> tuple[str, ...]:
    if sys.platform == "linux":
        info = _linux_cpu()
        words = (info.get("flags") or info.get("features") or "").split()
        found = {_LINUX_NAMES.get(word, word) for word in words}
    elif sys.platform == "darwin":
        found = _macos_features()
    elif sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        found = {name for number, name in _WINDOWS_FEATURES.items() if present(number)}
    else:
        found = set()
    return tuple(name for name in _FEATURES if name in found)


def _linux_cpu() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo, keys in lower case."""
    info: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        key, colon, value = line.partition(":")
        if not colon and info:
            break
        info.setdefault(key.strip().lower(), value.strip())
    return info


def _macos_features() -> set[str]:
    found: set[str] = set()
    for line in gpus.output(["sysctl", "-a", "hw.optional"]).splitlines():
        key, _, value = line.partition(":")
        if value.strip() == "1":
            found.add(key.removeprefix("hw.optional.").removeprefix("arm.").lower())
    # Processors of Intel list theirs as words.
    words = gpus.output(["sysctl", "-a", "machdep.cpu"]).lower().split()
    return {ours for theirs, ours in _MACOS_NAMES.items() if theirs in found or theirs in words}
