"""Memory that llama.cpp took and does not use yet, given back.

It writes zeros over the whole cache when it opens it, so that all of it is held for a conversation of one sentence.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DONT_NEED = 4  # MADV_DONTNEED
_LINUX: bool = sys.platform == "linux"
_PIECE = 256 * 1024  # bytes that are looked at, and given back, at once


def private_memory() -> list[tuple[int, int]]:
    """Where this process has memory of its own that can be written: (first address, end). Empty but on Linux."""
    if not _LINUX:
        return []
    found = []
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if len(fields) == 5 and fields[1] == "rw-p":  # no name: neither a file nor the heap
                begin, end = (int(part, 16) for part in fields[0].split("-"))
                found.append((begin, end))
    return found


def give_back_zeros(before: list[tuple[int, int]]) -> int:
    """Give back what came since `private_memory` said `before` and holds nothing but zeros; the bytes given back.

    It is there again, as zeros, once it is touched. No other thread may write to memory that is new meanwhile. A cache
    then takes memory as conversations fill it. Linux; elsewhere nothing is done.
    """
    if not _LINUX:
        return 0
    library = ctypes.CDLL(None, use_errno=True)
    advise, compare, resident = library.madvise, library.memcmp, library.mincore
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    resident.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    zeros = ctypes.create_string_buffer(_PIECE)
    pages = ctypes.create_string_buffer(_PIECE // mmap.PAGESIZE)  # a byte each: 1 where it is there
    given = 0
    for begin, end in _newer(private_memory(), before):
        for address in range(-(-begin // _PIECE) * _PIECE, end - _PIECE + 1, _PIECE):
            if resident(address, _PIECE, pages) != 0:
                break
            there = pages.raw.count(1)
            if there and compare(address, zeros, _PIECE) == 0 and advise(address, _PIECE, _DONT_NEED) == 0:
                given += there * mmap.PAGESIZE
    return given


def give_back(address: int, size: int) -> None:
    """Give back memory of this process whose content nobody needs, page by page. Linux; elsewhere nothing."""
    if not _LINUX:
        return
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    page = mmap.PAGESIZE
    begin, end = -(-address // page) * page, (address + size) // page * page
    if begin < end:
        advise(begin, end - begin, _DONT_NEED)


def _newer(now: list[tuple[int, int]], before: list[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The stretches of `now` that are in none of `before`; both in order of their addresses."""
    for begin, end in now:
        for old_begin, old_end in before:
            if old_end <= begin or old_begin >= end:
                continue
            if begin < old_begin:
                yield begin, old_begin
            begin = max(begin, old_end)  # noqa: PLW2901 - what is left of the stretch
        if begin < end:
            yield begin, end
