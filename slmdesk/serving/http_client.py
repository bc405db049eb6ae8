"""A small HTTP client for our own service on this machine.

The window talks to nothing else over plain HTTP while it starts, and a full client library costs it 20 MB and most of
its start-up time. Requests are HTTP/1.0: one a connection, the answer ends with it, so there is no framing to undo.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_HEAD = 64 * 1024
_ANSWER_S = 30.0  # for answers that do no more than look something up


class Exchange(asyncio.Protocol):
    """One request and its answer: status and headers, then lines or a whole body as they come."""

    def __init__(self, request: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._rest = b""  # of the body: what follows the last whole line
        self._lines: list[bytes] = []
        self._length = -1  # of the body, where it is known
        self._received = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > _LONGEST_HEAD:
                    self.abort()
                return
            data = bytes(self._head[end + 4 :])
            self._read_head(bytes(self._head[:end]))
        if data:
            self._received += len(data)
            lines = (self._rest + data if self._rest else data).split(b"\n")
            self._rest = lines.pop()
            self._lines += lines
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended = True
        self._wake()

    # The client calls these

    async def head(self) -> int:
        """The status. Raises `service_lost` when the connection ends before."""
        while not self.status:
            if self._ended:
                raise lost()
            await self._wait()
        return self.status

    async def lines(self) -> list[bytes]:
        """All whole lines that are there, once there is at least one; empty when the answer has ended."""
        while not self._lines and not self._ended:
            await self._wait()
        lines, self._lines = self._lines, []
        return lines

    async def body(self) -> bytes:
        """The whole body. Raises `service_lost` when it ends too early."""
        while not self._ended and not 0 <= self._length <= self._received:
            await self._wait()
        if self._received < self._length:
            raise lost()
        return b"\n".join([*self._lines, self._rest])

    def abort(self) -> None:
        """Close the connection now: the service stops working for it."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def _read_head(self, head: bytes) -> None:
        first, *headers = head.split(b"\r\n")
        parts = first.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
            self.abort()
            return
        self.status = int(parts[1])
        for header in headers:
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length" and value.strip().isdigit():
                self._length = int(value)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class LocalHttp:
    """Sends requests to one service."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._host = address.hostname or "127.0.0.1"
        self._port = address.port or 80
        self._head = f"Host: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._open: set[Exchange] = set()

    async def begin(
        self, method: str, path: str, data: object = None, headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request; end it with `end`. Raises `service_unreachable`."""
        body = b"" if data is None else encoded(data)
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if data is not None:
            lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        request = f"{method} {path} HTTP/1.0\r\n{self._head}{lines}\r\n".encode() + body
        loop = asyncio.get_running_loop()
        try:
            _, exchange = await loop.create_connection(lambda: Exchange(request), self._host, self._port)
        except OSError as error:
            raise SlmDeskError(
                "service_unreachable",
                "The service cannot be reached.",
                "Try again; it is started when needed.",
            ) from error
        self._open.add(exchange)
        return exchange

    def end(self, exchange: Exchange) -> None:
        """Close an exchange, complete or not."""
        self._open.discard(exchange)
        exchange.abort()

    async def ask(
        self, method: str, path: str, data: object = None, *, timeout: float | None = _ANSWER_S
    ) -> Any:
        """The JSON of a whole answer. Raises the error it holds, `service_unreachable` or `service_lost`."""
        try:
            async with asyncio.timeout(timeout):
                exchange = await self.begin(method, path, data)
                try:
                    status = await exchange.head()
                    return decoded(status, await exchange.body())
                finally:
                    self.end(exchange)
        except TimeoutError as error:
            raise SlmDeskError(
                "service_unreachable", "The service does not answer.", "End it and try again."
            ) from error

    def close(self) -> None:
        """Cut every exchange that is still open."""
        for exchange in tuple(self._open):
            self.end(exchange)


def decoded(status: int, body: bytes) -> Any:
    """The JSON of a body. Raises the error it holds."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise lost() from error
    if status >= 400:
        raise error_in(data)
    return data


def error_in(data: Any) -> SlmDeskError:
    """The error of an error object."""
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict):
        return lost()
    ours = error.get("slmdesk")
    return SlmDeskError.from_json(ours if isinstance(ours, dict) else error)


def lost() -> SlmDeskError:
    """The connection ended in the middle of an answer."""
    return SlmDeskError(
        "service_lost",
        "The connection to the service broke.",
        "Try again; the service is started again when needed.",
    )
