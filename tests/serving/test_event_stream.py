"""Streams to clients that read slowly, late or never: nothing is lost, nothing grows without end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import Started, Stop
from slmdesk.serving.answer_stream import AnswerStream, EventConnection, ReaderLostError
from slmdesk.serving.dialects.dialect import Written

DONE = b"data: [DONE]\n\n"
WORD = "word "


class Events:
    """The smallest writer."""

    content_type = "text/event-stream"
    tells_all = False

    def __init__(self, first: bytes = b"") -> None:
        self.first = first

    def around_text(self, _choice: int) -> tuple[bytes, bytes]:
        return b'data: {"text":', b"}\n\n"

    def text(self, text: str, choice: int) -> bytes:
        return json.dumps(text).encode().join(self.around_text(choice))

    def opening(self, _started: Started, _choice: int) -> bytes:
        return self.first

    def event(self, _event: object, _choice: int) -> bytes:
        return b""

    def ending(self, _stop: Stop, _choice: int) -> bytes:
        return b""

    def closing(self, _stops: Sequence[Stop]) -> bytes:
        return DONE

    def waiting(self) -> bytes:
        return b""

    def failing(self, error: SlmDeskError) -> bytes:
        raise error

    def whole(self, answers: Sequence[Written]) -> dict[str, Any]:
        return {"text": answers[0].text}


@dataclass
class Stream(AnswerStream):
    """The one answer of a connection."""

    connection: EventConnection

    def __post_init__(self) -> None:
        super().__init__(self.connection, Events(FIRST))

    async def close(self, last: bytes) -> None:
        await self.connection.close(self.rest() + last)


STARTED = Started(1)
FIRST = b": first\n\n"
Handler = Callable[["Stream"], Awaitable[None]]


@asynccontextmanager
async def streaming(handle: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A real server with one stream, and a client that has asked for it and not read yet."""
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        connection = EventConnection(request, Events(FIRST), {})
        await connection.open()
        try:
            await handle(Stream(connection))
        finally:
            ended.set()
        assert connection.response is not None
        return connection.response

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # so that not everything fits on the way
    connection.connect(("127.0.0.1", runner.addresses[0][1]))
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    try:
        yield reader, writer
        async with asyncio.timeout(20):
            await ended.wait()
    finally:
        writer.close()
        await runner.cleanup()


def text_in(received: bytes) -> str:
    events = received.partition(b"\r\n\r\n")[2].decode().split("\n\n")
    return "".join(json.loads(event[6:])["text"] for event in events if event.startswith("data: {"))


async def test_text_that_came_before_the_stream_opened_is_sent_first() -> None:
    async def handle(stream: Stream) -> None:
        stream.take("early ")
        stream.flow(STARTED)
        stream.take("late")
        stream.take(Stop("stop"))
        assert (await stream.ended).reason == "stop"
        await stream.close(DONE)

    async with streaming(handle) as (reader, _):
        received = await reader.read()
    body = received.partition(b"\r\n\r\n")[2]
    assert body == b': first\n\ndata: {"text":"early "}\n\ndata: {"text":"late"}\n\ndata: [DONE]\n\n'


async def test_a_slow_reader_gets_everything_in_fewer_pieces() -> None:
    count = 200_000

    async def handle(stream: Stream) -> None:
        stream.flow(STARTED)
        for number in range(count):
            stream.take(WORD)
            if number % 1000 == 0:
                await asyncio.sleep(0)
        stream.take(Stop("stop"))
        await stream.ended
        await stream.close(DONE)

    async with streaming(handle) as (reader, _):
        await asyncio.sleep(2)  # the stream outruns its reader by far more than the system buffers
        received = await reader.read()
    assert text_in(received) == WORD * count
    assert received.endswith(DONE)
    assert received.count(b"data: {") < count


async def test_a_reader_that_never_reads_is_given_up_before_memory_is() -> None:
    seen: list[BaseException] = []

    async def handle(stream: Stream) -> None:
        stream.flow(STARTED)
        for number in range(1_000_000):
            stream.take(WORD * 100)
            if stream.ended.done():
                break
            if number % 1000 == 0:
                await asyncio.sleep(0)
        with pytest.raises(ReaderLostError) as lost:
            await stream.ended
        seen.append(lost.value)
        stream.abort()

    async with streaming(handle):
        pass
    assert len(seen) == 1
