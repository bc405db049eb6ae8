"""One answer as it is written, straight to its connection.

Each token of each answer passes here, so nothing is awaited, queued or formatted twice: an event is a prefix and a
suffix made once for the request, with the JSON text between them, framed as one chunk and sent by one write.
"""

from __future__ import annotations

import asyncio
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from slmdesk.inference.answers import Stop

if TYPE_CHECKING:
    from slmdesk.inference.answers import Delta, EngineChanged, LoadProgress, Started
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


class AnswerStream:
    """Writes the events of one answer. `take` is the engine's sink.

    Text that comes before `open` is held back, so that a refusal can still be answered with its status.
    """

    def __init__(self, request: web.Request, writer: Writer) -> None:
        self.ended: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()
        self.response: web.StreamResponse | None = None
        self._request = request
        self._writer = writer
        self._prefix, self._suffix = writer.around_text()
        self._transport: asyncio.Transport | None = None
        self._chunked = request.version >= HttpVersion11
        self._held: list[str] = []
        self._held_length = 0
        self._flowing = False

    async def open(self, headers: dict[str, str]) -> None:
        """Send status 200 and the headers."""
        response = web.StreamResponse(
            headers={"Content-Type": self._writer.content_type, **_HEADERS, **headers}
        )
        if self._chunked:
            response.enable_chunked_encoding()
        await response.prepare(self._request)
        self.response = response
        self._transport = self._request.transport
        if self._transport is None:
            raise ReaderLostError

    def flow(self, started: Started) -> None:
        """The prompt was taken: from now on text is sent as it comes."""
        self._flowing = True
        first = self._writer.opening(started)
        text = self._release()
        self._write(first + self._event(text) if text else first)

    def take(self, piece: Delta | Stop) -> None:
        """The next piece of the answer, or its end."""
        if isinstance(piece, str):
            transport = self._transport
            if (
                self._held
                or not self._flowing
                or transport is None
                or transport.get_write_buffer_size() > _SLOW_READER
            ):
                self._hold(piece)
            else:
                event = self._prefix + encode_basestring(piece).encode() + self._suffix
                transport.write(b"%x\r\n%b\r\n" % (len(event), event) if self._chunked else event)
        elif not isinstance(piece, Stop):
            text = self._release()
            self._write((self._event(text) if text else b"") + self._writer.event(piece))
        elif not self.ended.done():
            self.ended.set_result(piece)

    def send(self, event: LoadProgress | EngineChanged) -> None:
        """What is no part of the answer."""
        self._write(self._writer.event(event))

    async def close(self, last: bytes) -> None:
        """Send the text held back and `last`, and end the response once the client has taken it.

        Raises `ReaderLostError` when it does not.
        """
        assert self.response is not None
        text = self._release()
        self._write(self._event(text) + last if text else last)
        try:
            async with asyncio.timeout(_LAST_READ_S):
                await self.response.write_eof()
        except TimeoutError as error:
            self.abort()
            raise ReaderLostError from error

    def abort(self) -> None:
        """Cut the connection: the client sees that the answer is not whole."""
        if self._transport is not None:
            self._transport.abort()

    def _hold(self, text: str) -> None:
        self._held.append(text)
        self._held_length += len(text)
        transport = self._transport
        if transport is None or not self._flowing:
            return
        if transport.get_write_buffer_size() <= _SLOW_READER:
            self._write(self._event(self._release()))
        elif self._held_length > _LOST_READER and not self.ended.done():
            self.ended.set_exception(ReaderLostError())

    def _release(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        self._held_length = 0
        return text

    def _event(self, text: str) -> bytes:
        return self._prefix + encode_basestring(text).encode() + self._suffix

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and data and not transport.is_closing():
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
