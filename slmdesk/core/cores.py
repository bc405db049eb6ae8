"""How many processor cores this process may use, and how many threads that makes.

Three things take cores away: the list of processors this process is bound to (which Linux's cpusets also narrow), a
container's share of time, and efficiency cores, which everybody else in a calculation would wait for. Two threads on
one core slow matrix work down, so its second hardware thread does not count for a model.
"""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core import control_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cores", "look", "model_threads", "worker_threads"]

# An ARM core counts as fast from this share of the fastest one's capacity on. Phones' middle clusters reach 0.6 to
# 0.9, their small cores 0.2 to 0.4.
_FAST_SHARE = 0.5
_PROCESSOR_CORE = 0  # LOGICAL_PROCESSOR_RELATIONSHIP of winnt.h


@dataclass(frozen=True, slots=True)
class Cores:
    """What this process may use. `physical` and `logical` are after affinity; `limit` is in processors' time."""

    physical: int
    logical: int
    fast: int  # of the physical ones, those that are no efficiency cores
    limit: float = 0.0  # 0: no limit
    installed: int = 0  # physical cores in the machine, 0 where that is not known

    @property
    def model_threads(self) -> int:
        """Threads that compute together and meet after every piece: one for each fast core."""
        # Whole processors only: a thread that is held back keeps all others waiting, and the engine has threads beside.
        return max(min(self.fast, int(self.limit)) if self.limit else self.fast, 1)

    @property
    def worker_threads(self) -> int:
        """Threads that take pieces of work as they come and wait for nobody: one for each logical processor."""
        return max(min(self.logical, math.ceil(self.limit)) if self.limit else self.logical, 1)

    @property
    def why(self) -> str:
        """What decided `model_threads`, in words."""
        reasons = []
        if self.limit and int(self.limit) < self.fast:
            reasons.append(f"a container's limit allows the time of {self.limit:.3g} processors")
        else:
            if self.fast < self.physical:
                reasons.append(f"{self.physical - self.fast} efficiency cores are left out")
            if self.installed > self.physical:
                reasons.append(f"this process may use {self.physical} of {self.installed} cores")
        return "; ".join(reasons) or "one for each physical core"


def model_threads() -> int:
    """How many threads a model computes with here when nobody chose."""
    return look().model_threads


def worker_threads() -> int:
    """How many threads work on independent pieces here, such as a tensor's rows being quantized."""
    return look().worker_threads


def look() -> Cores:
    """Look at this machine. Takes a millisecond; nothing raises, what cannot be found out limits nothing."""
    import psutil

    logical = psutil.cpu_count() or 1
    installed = psutil.cpu_count(logical=False) or logical
    found = Cores(installed, logical, installed, installed=installed)
    try:
        if sys.platform == "linux":
            return _linux(Path("/"), set(psutil.Process().cpu_affinity()), installed)
        elif sys.platform == "darwin":  # noqa: RET505 - mypy follows the platform by branches
            return _macos(installed, logical)
        elif sys.platform == "win32":
            return _windows(_windows_processors(), set(psutil.Process().cpu_affinity()))
        else:
            return found
    except Exception:  # noqa: BLE001 - Intel's Macs have no such key; other systems fail in ways of their own
        return found


def _linux(root: Path, allowed: set[int], installed: int) -> Cores:
    """From the kernel's files below `root`, for the processors whose numbers are `allowed`."""
    cpus = root / "sys/devices/system/cpu"
    fast_ones = _linux_fast(root, allowed)
    physical, fast = set(), set()
    for number in allowed:
        core = _linux_core(cpus / f"cpu{number}", number)
        physical.add(core)
        if number in fast_ones:
            fast.add(core)
    count = min(len(physical), installed) if installed else len(physical)
    return Cores(
        max(count, 1),
        max(len(allowed), 1),
        max(min(len(fast), count), 1),
        limit=control_groups.processors_limit(root),
        installed=installed,
    )


def _linux_core(folder: Path, number: int) -> str:
    """A name for the physical core behind a logical processor: the list of its hardware threads."""
    for name in ("core_cpus_list", "thread_siblings_list"):
        if siblings := _text(folder / "topology" / name):
            return siblings
    return str(number)


def _linux_fast(root: Path, allowed: set[int]) -> set[int]:
    """Those of `allowed` that are no efficiency cores; all of them where only such are allowed."""
    # Intel's hybrid processors have a device for each kind of core.
    performance = _numbers(_text(root / "sys/devices/cpu_core/cpus"))
    if performance and (root / "sys/devices/cpu_atom/cpus").exists():
        return allowed & performance or allowed
    # ARM's (and lately others') kernels tell each processor's capacity, 1024 for the fastest.
    capacity = {
        number: int(text)
        for number in allowed
        if (text := _text(root / f"sys/devices/system/cpu/cpu{number}/cpu_capacity")).isdigit()
    }
    least = _FAST_SHARE * max(capacity.values(), default=0)
    return {number for number in allowed if capacity.get(number, least) >= least}


def _numbers(text: str) -> set[int]:
    """The kernel's lists: "0-3,8" -> {0, 1, 2, 3, 8}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _macos(installed: int, logical: int) -> Cores:
    """Level 0 are the performance cores; Intel's Macs have no such key, and raise."""
    from slmdesk.core import gpus

    fast = int(gpus.output(["sysctl", "-n", "hw.perflevel0.physicalcpu"]))
    return Cores(installed, logical, min(max(fast, 1), installed), installed=installed)


def _windows(data: bytes, allowed: set[int]) -> Cores:
    """From what `GetLogicalProcessorInformationEx` wrote. `allowed` are numbers within the first group."""
    every = list(_windows_cores(data))
    one_group = all(group == 0 for _, group, _ in every)  # else the affinity speaks of one group only
    cores = [
        (efficiency, threads)
        for efficiency, _, numbers in every
        if (threads := len(numbers & allowed) if one_group else len(numbers))
    ]
    best = max((efficiency for efficiency, _ in cores), default=0)
    return Cores(
        max(len(cores), 1),
        max(sum(threads for _, threads in cores), 1),
        max(sum(efficiency == best for efficiency, _ in cores), 1),
        installed=len(every),
    )


def _windows_cores(data: bytes) -> Iterator[tuple[int, int, set[int]]]:
    """Efficiency class (higher is faster), group and processor numbers of each core.

    SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX of winnt.h: relationship, size, then PROCESSOR_RELATIONSHIP (flags,
    efficiency class, 20 reserved bytes, count of groups) and GROUP_AFFINITY (mask, group) on 64 bits.
    """
    at = 0
    while at + 8 <= len(data):
        relationship, size = struct.unpack_from("<II", data, at)
        if relationship == _PROCESSOR_CORE:
            (efficiency,) = struct.unpack_from("<B", data, at + 9)
            mask, group = struct.unpack_from("<QH", data, at + 32)
            yield efficiency, group, {number for number in range(64) if mask >> number & 1}
        at += max(size, 8)


def _windows_processors() -> bytes:
    if sys.platform == "win32":
        import ctypes

        ask = ctypes.windll.kernel32.GetLogicalProcessorInformationEx
        size = ctypes.c_ulong(0)
        ask(_PROCESSOR_CORE, None, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        if not ask(_PROCESSOR_CORE, buffer, ctypes.byref(size)):
            raise OSError("GetLogicalProcessorInformationEx failed")
        return buffer.raw[: size.value]
    else:  # noqa: RET505 - mypy follows the platform by branches
        return b""
