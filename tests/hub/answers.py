"""What every route of the loopback hub shares: answers, counted and spoilt as the faults say."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .faults import Fault, Kind, Where
from .repositories import HubFile

if TYPE_CHECKING:
    from .server import LoopbackHub

Side = Literal["hub", "cdn"]

_CHUNK = 256 * 1024
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    side: Side
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in small letters
    status: int


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Answers(BaseHTTPRequestHandler):
    """The handler's lower half. `side`, `hub`, `where_to` and `query` are those of the request."""

    hub: LoopbackHub
    side: Side
    where_to: str
    query: dict[str, list[str]]

    def _one(self, name: str) -> str:
        return (self.query.get(name) or [""])[0]

    def _saw(self, status: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.saw(Request(self.side, self.command, self.where_to, self.query, headers, status))

    def _answer(self, answer: Answer) -> None:
        self._saw(answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Message": message, **(headers or {}), **({"X-Error-Code": code} if code else {})}
        self._answer(
            Answer(
                status, {**told, "Content-Type": "application/json"}, json.dumps({"error": message}).encode()
            )
        )

    def _json(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(data).encode()
        if self.hub.faults.take("api", self.where_to, ("cut_json",)):
            body = body[: len(body) // 2]
        self._paced(
            self._start(
                status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, len(body)
            ),
            self.hub.faults.take("api", self.where_to, ("stall", "cut", "slow")),
            [body],
            "",
        )

    def _spoiled(self, where: Where, key: str) -> bool:
        """Whether a fault answered in place of the route."""
        kinds: tuple[Kind, ...] = ("status", "redirect", "loop")
        found = self.hub.faults.take(where, key, kinds)
        if fault := found.get("status"):
            headers = {"Retry-After": fault.text} if fault.text else {}
            self._answer(Answer(int(fault.number), headers, b"it is meant to fail"))
        elif fault := found.get("redirect"):
            self._answer(Answer(302, {"Location": fault.text}))
        elif "loop" in found:
            self._answer(Answer(302, {"Location": self.path}))
        return bool(found)

    def _start(self, status: int, headers: Mapping[str, str], length: int) -> int:
        self._saw(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        return 0 if self.command == "HEAD" else length

    def _content(self, key: str, file: HubFile, headers: dict[str, str]) -> None:
        if self.command == "HEAD":
            self._start(200, headers, file.size)
            return
        if self._spoiled("body", key):
            return
        faults = self.hub.faults.take("body", key, ("stall", "cut", "slow", "bytes", "no_range", "packed"))
        content = _spoilt(file, faults["bytes"]) if "bytes" in faults else file.content
        if "packed" in faults:
            content = gzip.compress(content if isinstance(content, bytes) else content.read_bytes())
            headers["Content-Encoding"] = "gzip"
        size = len(content) if isinstance(content, bytes) else file.size
        first, last = 0, size - 1
        status = 200
        if not faults.keys() & {"no_range", "packed"} and (asked := self.headers.get("Range")):
            bounds = bounds_of(asked, size)
            if bounds is None:
                self._answer(Answer(416, {"Content-Range": f"bytes */{size}"}))
                return
            first, last = bounds
            status = 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        length = self._start(status, headers, last - first + 1)
        self._paced(length, faults, _pieces(content, first, length), key)

    def _paced(self, length: int, faults: Mapping[Kind, Fault], pieces: Iterable[bytes], key: str) -> None:
        """Send the body as far and as fast as the faults let it."""
        limit = min((int(faults[kind].number) for kind in ("stall", "cut") if kind in faults), default=length)
        rate = faults["slow"].number if "slow" in faults else 0.0
        sent, begun = 0, time.monotonic()
        self.wfile.flush()
        for piece in pieces if length else ():
            rest = memoryview(piece)[: max(0, limit - sent)]
            while rest:
                step = rest[: max(1, int(rate / 20))] if rate else rest
                self.connection.sendall(step)
                sent += len(step)
                rest = rest[len(step) :]
                if key:
                    self.hub.sent(key, len(step))
                if rate and self.hub.closing.wait(max(0.0, sent / rate - (time.monotonic() - begun))):
                    raise BrokenOffError
            if sent >= limit:
                break
        if sent >= length:
            return
        if "stall" in faults:
            self._wait_until_left()
        raise BrokenOffError

    def _wait_until_left(self) -> None:
        self.connection.settimeout(0.05)
        while not self.hub.closing.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue


class BrokenOffError(Exception):
    """The answer ends here, in the middle."""


class AnsweredError(Exception):
    """An answer has been sent already."""


def bounds_of(asked: str, size: int) -> tuple[int, int] | None:
    found = _RANGE.match(asked.strip())
    if found is None or found[1] == found[2] == "":
        return None
    first = int(found[1]) if found[1] else max(0, size - int(found[2]))
    last = int(found[2]) if found[1] and found[2] else size - 1
    last = min(last, size - 1)
    return (first, last) if first <= last else None


def _spoilt(file: HubFile, fault: Fault) -> bytes:
    if fault.data:
        return fault.data
    whole = bytearray(file.content if isinstance(file.content, bytes) else file.content.read_bytes())
    whole[len(whole) // 2] ^= 0x5A
    return bytes(whole)


def _pieces(content: bytes | Path, first: int, count: int) -> Iterable[bytes]:
    if isinstance(content, bytes):
        for start in range(first, first + count, _CHUNK):
            yield content[start : min(start + _CHUNK, first + count)]
        return
    with content.open("rb", buffering=0) as file:
        file.seek(first)
        while count > 0:
            piece = file.read(min(_CHUNK, count))
            if not piece:
                return
            count -= len(piece)
            yield piece
