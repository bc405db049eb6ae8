"""Sizes, rates, times and counts in words, the same in the window, the terminal and every error.

GB are 10^9 bytes, as disks count them, of disks and of memory alike.
"""

from __future__ import annotations

import time

_MINUTE = 60
_HOUR = 3600
_DAY = 86_400


def size(count: float) -> str:
    """Bytes as "3.1 GB", "450 MB" or "12 kB"; less than none counts as none."""
    count = max(0.0, count)
    if count >= 0.9995e9:
        return f"{count / 1e9:.1f} GB"
    if count >= 1e6:
        return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.0f} kB" if count >= 1e3 else counted(round(count), "byte")


def size_parts(count: float) -> tuple[str, str]:
    """A size as number and unit, for tables."""
    number, _, unit = size(count).partition(" ")
    return number, unit


def of(done: float, total: float) -> str:
    """ "1.2 of 2.5 GB"; both with their units where those differ."""
    first, second = size(done), size(total)
    number, _, unit = first.partition(" ")
    return f"{number if unit == second.partition(' ')[2] else first} of {second}"


def rate(bytes_a_second: float) -> str:
    """ "11.4 MB/s"."""
    if bytes_a_second >= 1e6:
        return f"{bytes_a_second / 1e6:.1f} MB/s"
    return f"{bytes_a_second / 1e3:.0f} kB/s"


def duration(seconds: float) -> str:
    """About how long: "45 s", "3 min", "2 h 10 min"."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    hours, rest = divmod(round(seconds / _MINUTE), 60)
    return f"{hours} h {rest} min" if rest and hours < 10 else f"{hours} h"


def took(seconds: float) -> str:
    """Exactly how long: "12 s", "2 min 5 s"."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def moment(at: float, now: float | None = None) -> str:
    """A time since 1970 as "just now", "5 min ago", "today, 14:05" or "3 March 2026"."""
    now = time.time() if now is None else now
    past = now - at
    if past < _MINUTE:
        return "just now"
    if past < _HOUR:
        return f"{round(past / _MINUTE)} min ago"
    then = time.localtime(at)
    clock = time.strftime("%H:%M", then)
    if past < _DAY and then.tm_yday == time.localtime(now).tm_yday:
        return f"today, {clock}"
    return f"{then.tm_mday} {time.strftime('%B %Y', then)}"


def parameters(count: int) -> str:
    """ "4.0 B", "135 M", "4.7 M"; "" when it is not known."""
    if count <= 0:
        return ""
    if count >= 0.9995e9:
        return f"{count / 1e9:.1f} B"
    return f"{count / 1e6:.0f} M" if count >= 1e7 else f"{count / 1e6:.1f} M"


def tokens(count: int) -> str:
    """ "8 k", "128 k", or the plain number where it is no round one."""
    if count >= 1024 and count % 1024 == 0:
        return f"{count // 1024} k"
    return f"{count / 1000:.0f} k" if count >= 10_000 else f"{count:,}"


def counted(count: int, one: str, many: str = "") -> str:
    """ "1 file", "3 files"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def much(count: int) -> str:
    """A large count in short: "1.2 M", "45 k"."""
    if count >= 1e6:
        return f"{count / 1e6:.1f} M"
    return f"{count / 1e3:.0f} k" if count >= 1e4 else f"{count:,}"
