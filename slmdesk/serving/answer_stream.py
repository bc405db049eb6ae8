"""Answers as they are written, straight to their connection.

Each token of each answer passes here, so nothing is awaited, queued or formatted twice: an event is a prefix and a
suffix made once for the answer, with the JSON text between them, framed as one chunk and sent by one write.
"""

from __future__ import annotations

import asyncio
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from slmdesk.inference.answers import Stop

if TYPE_CHECKING:
    from slmdesk.inference.answers import Delta, Started
    from slmdesk.serving.dialects.dialect import Writer

# Bytes the system has not taken yet, above which text is collected instead of being written.
_SLOW_READER = 64 * 1024
# Characters collected for a client that reads nothing, above which it is taken for gone.
_LOST_READER = 1024 * 1024
# Seconds a client may take to read what is left at the end.
_LAST_READ_S = 30.0

_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class ReaderLostError(ConnectionError):
    """The client stopped reading."""


class EventConnection:
    """The connection of one streamed response."""

    def __init__(self, request: web.Request, writer: Writer, headers: dict[str, str]) -> None:
        self.response: web.StreamResponse | None = None
        self.transport: asyncio.Transport | None = None
        self.chunked = request.version >= HttpVersion11
        self.written = 0  # events
        self._request = request
        self._writer = writer
        self._headers = headers
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Send status 200 and the headers, once."""
        async with self._opening:
            if self.response is not None:
                return
            response = web.StreamResponse(
                headers={"Content-Type": self._writer.content_type, **_HEADERS, **self._headers}
            )
            if self.chunked:
                response.enable_chunked_encoding()
            await response.prepare(self._request)
            self.response = response
            self.transport = self._request.transport
            if self.transport is None:
                raise ReaderLostError

    def write(self, data: bytes) -> None:
        """Send bytes of the body."""
        transport = self.transport
        if transport is not None and data and not transport.is_closing():
            self.written += 1
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def close(self, last: bytes) -> None:
        """Send `last`, and end the response once the client has taken it.

        Raises `ReaderLostError` when it does not.
        """
        assert self.response is not None
        self.write(last)
        try:
            async with asyncio.timeout(_LAST_READ_S):
                await self.response.write_eof()
        except TimeoutError as error:
            self.abort()
            raise ReaderLostError from error

    def abort(self) -> None:
        """Cut the connection: the client sees that the answer is not whole."""
        if self.transport is not None:
            self.transport.abort()


class AnswerStream:
    """Writes the events of one answer. `take` is the engine's sink.

    Text that comes before `flow` is held back, so that a refusal can still be answered with its status.
    """

    def __init__(self, connection: EventConnection, writer: Writer, choice: int = 0) -> None:
        self.ended: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._writer = writer
        self._choice = choice
        around = writer.around_text(choice)
        self._prefix: bytes | None = around[0] if around is not None else None
        self._suffix = around[1] if around is not None else b""
        self._chunked = connection.chunked
        self._transport: asyncio.Transport | None = None
        self._held: list[Delta] = []
        self._held_length = 0
        self._flowing = False

    def flow(self, started: Started) -> None:
        """The prompt was taken: from now on text is sent as it comes."""
        self._flowing = True
        self._transport = self._connection.transport
        self._connection.write(self._writer.opening(started, self._choice) + self.rest())

    def take(self, piece: Delta | Stop) -> None:
        """The next piece of the answer, or its end."""
        if isinstance(piece, str):
            transport = self._transport
            if (
                self._held
                or self._prefix is None
                or transport is None
                or transport.get_write_buffer_size() > _SLOW_READER
            ):
                self._hold(piece)
            else:
                event = self._prefix + encode_basestring(piece).encode() + self._suffix
                transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._chunked else event)
                self._connection.written += 1
        elif not isinstance(piece, Stop):
            self._hold(piece)
        elif not self.ended.done():
            self.ended.set_result(piece)

    def rest(self) -> bytes:
        """The events of what was held back, neighbouring texts as one."""
        held, self._held, self._held_length = self._held, [], 0
        events: list[bytes] = []
        texts: list[str] = []
        for piece in (*held, None):
            if isinstance(piece, str):
                texts.append(piece)
                continue
            if texts:
                events.append(self._writer.text("".join(texts), self._choice))
                texts.clear()
            if piece is not None:
                events.append(self._writer.event(piece, self._choice))
        return b"".join(events)

    def _hold(self, piece: Delta) -> None:
        self._held.append(piece)
        self._held_length += len(piece) if isinstance(piece, str) else _EVENT_LENGTH
        transport = self._transport
        if transport is None or not self._flowing:
            return
        if transport.get_write_buffer_size() <= _SLOW_READER:
            self._connection.write(self.rest())
        elif self._held_length > _LOST_READER and not self.ended.done():
            self.ended.set_exception(ReaderLostError())


_EVENT_LENGTH = 100  # characters that what is no text counts for
