"""What a loopback hub does wrong, for which paths and how often."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass
from typing import Literal

Where = Literal["api", "resolve", "body", "metadata"]
Kind = Literal[
    "stall",
    "cut",
    "slow",
    "status",
    "size",
    "hash",
    "bytes",
    "no_range",
    "redirect",
    "loop",
    "cut_json",
    "expired",
    "packed",
]


@dataclass(slots=True)
class Fault:
    """One thing gone wrong. `times` is how many more answers it spoils; None means all of them."""

    kind: Kind
    pattern: str
    where: Where
    times: int | None
    number: float = 0
    text: str = ""
    data: bytes = b""


class Faults:
    """The faults in force. Patterns are those of `fnmatch`, over "publisher/name/path/in/repo" for files and over
    the address's path ("/api/models", "/api/models/*") for the API. Every method takes `times`: how many answers are
    spoiled before the hub behaves again (None: all). An answer to HEAD is spoiled by `status`, `redirect`, `loop`,
    `size` and `hash` with where="resolve" or "metadata"; everything about bytes concerns GET only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.spoiled = 0  # answers spoiled so far

    def stall(self, pattern: str, *, after: int = 0, times: int | None = 1) -> None:
        """Send `after` bytes of the body, then nothing more; the connection stays open."""
        self._add("stall", pattern, times, number=after)

    def cut(self, pattern: str, *, after: int = 0, times: int | None = 1) -> None:
        """Send `after` bytes of the body, then close the connection."""
        self._add("cut", pattern, times, number=after)

    def slow(self, pattern: str, bytes_per_s: float, *, times: int | None = None) -> None:
        self._add("slow", pattern, times, number=bytes_per_s)

    def status(
        self,
        pattern: str,
        status: int,
        *,
        retry_after: str | int = "",
        times: int | None = 1,
        where: Where | None = None,
    ) -> None:
        """Answer with this status (429, 500, 503, …). For files where="resolve" lets the hub itself say it."""
        self._add("status", pattern, times, number=status, text=str(retry_after), where=where)

    def lie_about_size(self, pattern: str, size: int, *, times: int | None = None) -> None:
        """Metadata (API, X-Linked-Size) says `size`; the bytes are the true ones."""
        self._add("size", pattern, times, number=size, where="metadata")

    def lie_about_hash(self, pattern: str, sha256: str = "0" * 64, *, times: int | None = None) -> None:
        """Metadata (API, X-Linked-ETag) says this hash; the bytes are the true ones."""
        self._add("hash", pattern, times, text=sha256, where="metadata")

    def other_bytes(self, pattern: str, data: bytes = b"", *, times: int | None = 1) -> None:
        """Serve `data` instead, or the true bytes with the one in the middle of the file changed."""
        self._add("bytes", pattern, times, data=data)

    def ignore_range(self, pattern: str, *, times: int | None = None) -> None:
        """Answer a range request with the whole file and 200."""
        self._add("no_range", pattern, times)

    def redirect(
        self, pattern: str, url: str, *, times: int | None = None, where: Where | None = None
    ) -> None:
        self._add("redirect", pattern, times, text=url, where=where)

    def redirect_loop(self, pattern: str, *, times: int | None = None, where: Where | None = None) -> None:
        self._add("loop", pattern, times, where=where)

    def cut_json(self, pattern: str, *, times: int | None = 1) -> None:
        """Send half of the JSON as if it were whole."""
        self._add("cut_json", pattern, times)

    def expired(self, pattern: str, *, times: int | None = 1) -> None:
        """The signed link is too old: the CDN answers 403."""
        self._add("expired", pattern, times)

    def packed(self, pattern: str, *, times: int | None = None) -> None:
        """Send the whole file packed by gzip, whatever the request allows."""
        self._add("packed", pattern, times)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def take(self, where: Where, key: str, kinds: tuple[Kind, ...] = ()) -> dict[Kind, Fault]:
        """The faults that spoil this answer, counted down."""
        found: dict[Kind, Fault] = {}
        with self._lock:
            for fault in list(self._faults):
                wanted = fault.where == where and (not kinds or fault.kind in kinds)
                if not wanted or fault.kind in found or not fnmatch.fnmatchcase(key, fault.pattern):
                    continue
                found[fault.kind] = fault
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
            self.spoiled += bool(found)
        return found

    def _add(
        self,
        kind: Kind,
        pattern: str,
        times: int | None,
        *,
        number: float = 0,
        text: str = "",
        data: bytes = b"",
        where: Where | None = None,
    ) -> None:
        place: Where = where or ("api" if pattern.startswith("/") else "body")
        with self._lock:
            self._faults.append(Fault(kind, pattern, place, times, number, text, data))
