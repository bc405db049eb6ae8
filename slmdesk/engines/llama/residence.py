"""The memory an engine really holds: letting go of what is read no more, and the peak since then.

llama.cpp maps the model's file and touches all of it, then copies some weights into a faster order. On Linux the
originals would stay counted (and mapped) for as long as the engine lives: half the model once more.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.memory.copied import rules
from slmdesk.memory.weights import rearranged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.formats.gguf import GgufHeader, TensorInfo

_DONT_NEED, _SMALL_PAGES = 4, 15  # MADV_DONTNEED, MADV_NOHUGEPAGE
_LINUX: bool = sys.platform == "linux"
_RESET_PEAK = "5"  # what clear_refs takes to forget the peak


def let_go_of_copied(headers: Iterable[GgufHeader], moved: Callable[[TensorInfo], bool] | None = None) -> int:
    """Drop this process's pages of weights that llama.cpp copied; the bytes dropped.

    `moved` tells the weights that a GPU has; where it has some, no others are copied.
    A page dropped too much is only looked up again from the system's cache when it is read. Linux; elsewhere the
    system takes such pages back by itself when it needs them, and nothing is done.
    """
    found = rules()
    if not _LINUX or not (found or moved):
        return 0
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    dropped = 0
    for header in headers:
        mapped = _mappings(header.path.resolve())
        for tensor in header.tensors:
            if not (moved(tensor) if moved is not None else rearranged(tensor, found)):
                continue
            start = header.data_offset + tensor.offset
            for address, length in _within(mapped, start, start + tensor.nbytes):
                # A file may lie in the system's cache in pages of 2 MB, and reading what is beside the copied weights
                # would map such a page again, whole. Small pages end where the copied weights begin.
                advise(address, length, _SMALL_PAGES)
                if advise(address, length, _DONT_NEED) == 0:
                    dropped += length
    return dropped


def forget_peak() -> None:
    """Let the peak count from now on, where the system can (Linux): not what a load held for a moment."""
    if _LINUX:
        try:
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            return  # a container may forbid it; the peak then includes the load


def _mappings(path: Path) -> list[tuple[int, int, int]]:
    """Where the file is mapped: (address, its offset in the file, bytes)."""
    found = []
    name = str(path)
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5] == name:
                begin, end = (int(part, 16) for part in fields[0].split("-"))
                found.append((begin, int(fields[2], 16), end - begin))
    return found


def _within(mapped: list[tuple[int, int, int]], start: int, end: int) -> Iterable[tuple[int, int]]:
    """Whole pages of the file's bytes from `start` to `end` that are mapped: (address, bytes)."""
    page = mmap.PAGESIZE
    first, last = -(-start // page) * page, end // page * page
    for address, offset, length in mapped:
        low, high = max(first, offset), min(last, offset + length)
        if low < high:
            yield address + low - offset, high - low
