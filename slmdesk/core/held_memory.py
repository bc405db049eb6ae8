"""The memory another process holds."""

from __future__ import annotations

import sys
from pathlib import Path

_LINUX: bool = sys.platform == "linux"


def held_bytes(pid: int) -> int:
    """The most memory a process held, in bytes: on Linux its peak, elsewhere what it holds now. 0 when it is gone."""
    if _LINUX:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0
    return held_now(pid)


def held_now(pid: int) -> int:
    """The memory a process holds, in bytes; 0 when it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
