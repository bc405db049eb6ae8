"""The one stream over which the answers of all requests travel."""

from __future__ import annotations

import asyncio
import select
import threading
from contextlib import suppress
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.inference.wire import encoded

if TYPE_CHECKING:
    import socket

    from slmdesk.engines.llama.loop import Ends, Texts

_PARENT_PATIENCE = 30.0  # seconds the parent may leave the stream unread before it counts as gone


def encode(texts: Texts, ends: Ends) -> bytes:
    """One line for one step: `[[[key, delta, token], …], [[key, stop], …]]`.

    `token` is -1 for what comes beside a token: a second delta, or text that was held back until the answer's end.
    """
    head = ",".join(
        [
            f"[{key},{encode_basestring(delta) if isinstance(delta, str) else encoded(delta).decode()},{token}]"
            for key, delta, token in texts
        ]
    )
    if not ends:
        return f"[[{head}],[]]\n".encode("utf-8", "replace")
    tail = ",".join([f"[{key},{encoded(end).decode()}]" for key, end in ends])
    return f"[[{head}],[{tail}]]\n".encode("utf-8", "replace")


class EventStream:
    """The `GET /events` connection of the one parent. A newer connection takes over from an older one.

    `send` is called on the worker thread and writes to the socket there and then: waking the event loop for every
    step would cost as much processor time as everything else around a token together. A parent that does not read
    holds up the worker, which is right: nobody else hears these answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._chunked = False
        self._replaced: asyncio.Event | None = None
        self._early: list[bytes] = []  # what came before the parent listened

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Hold the connection open until the other side leaves. The body is bare lines for HTTP/1.0."""
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        if self._replaced is not None:
            self._replaced.set()
        replaced = self._replaced = asyncio.Event()
        # A second handle on the connection, for the worker thread; the event loop writes no more to its own.
        connection = transport.get_extra_info("socket").dup()
        chunked = response.headers.get("Transfer-Encoding") == "chunked"
        await asyncio.to_thread(self._take_over, connection, chunked=chunked)
        try:
            await replaced.wait()
        finally:
            with self._lock:
                if self._socket is connection:
                    self._socket = None
            connection.close()
        return response

    def send(self, line: bytes) -> None:
        """Write one line; kept until somebody listens."""
        with self._lock:
            if self._socket is None:
                self._early.append(line)
            else:
                self._write(line)

    def _take_over(self, connection: socket.socket, *, chunked: bool) -> None:
        with self._lock:
            self._socket, self._chunked = connection, chunked
            early, self._early = self._early, []
            for line in early:
                self._write(line)

    def _write(self, line: bytes) -> None:
        connection = self._socket
        if connection is None:
            return
        data = b"%x\r\n%b\r\n" % (len(line), line) if self._chunked else line
        try:
            try:
                sent = connection.send(data)
            except BlockingIOError:
                sent = 0
            while sent < len(data):  # the parent is behind: wait for it
                if not select.select([], [connection], [], _PARENT_PATIENCE)[1]:
                    raise TimeoutError("nobody reads the events")
                with suppress(BlockingIOError):
                    sent += connection.send(data[sent:])
        except OSError:
            self._socket = None  # the parent left
