"""Bodies of requests, read before a handler sees them: bounded in size, in time and in what all of them hold.

aiohttp stops reading from a connection whose body nobody asks for, so that what waits for its turn here waits at the
client, not in memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.connections import unknown_encoding
from slmdesk.serving.try_later import TryLaterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slmdesk.core.settings import Settings

_MIB = 1024 * 1024
_SMALL = 64 * 1024  # bytes that each connection may hold anyway
_AT_LEAST = 64 * _MIB  # bytes that all larger bodies share
_AGAIN_S = 10
_READ = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


class Bodies:
    """Reads bodies. What one holds it holds until its request is answered."""

    def __init__(self, most: int, seconds: float) -> None:
        """`most`: bytes of one body, unpacked; `seconds` for one to come."""
        self.most = most
        self._seconds = seconds
        self._free = max(_AT_LEAST, 2 * most)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @classmethod
    def of(cls, settings: Settings) -> Bodies:
        """What a person set."""
        return cls(
            int(settings.get("service.max_body_mb")) * _MIB, float(settings.get("service.body_seconds"))
        )

    async def pieces(self, request: web.Request) -> AsyncIterator[bytes]:
        """A body that is too large to be held, as it comes. Raises `body_incomplete`, `bad_request`."""
        await ask_for_it(request)
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    piece = await request.content.readany()
            except TimeoutError as error:
                raise SlmDeskError(
                    "body_incomplete",
                    f"Nothing more of the body came for {self._seconds:g} s.",
                    "Send it again, or allow more time with the setting service.body_seconds.",
                ) from error
            except (web.RequestPayloadError, HttpProcessingError) as error:
                raise SlmDeskError("bad_request", "The body broke off.", "Send it again.") from error
            if not piece:
                return
            yield piece

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[None]:
        """The body is there in the block: `request.read()` has it at once.

        Raises `body_too_large`, `body_incomplete`, `encoding_unsupported`, `bad_request` or `queue_full`.
        """
        if not request.body_exists:
            yield
            return
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _READ:
            raise unknown_encoding(encoding)
        length = request.content_length
        if length is not None and length > self.most:
            raise self._too_large()
        packed = encoding not in {"", "identity"}
        promised = length if length is not None and not packed else self.most
        held = await self._take(promised) if promised > _SMALL else 0
        try:
            await ask_for_it(request)
            size = await self._body(request)
            if held:
                kept = min(held, size if size > _SMALL else 0)
                self._give_back(held - kept)
                held = kept
            yield
        finally:
            self._give_back(held)

    async def _body(self, request: web.Request) -> int:
        try:
            async with asyncio.timeout(self._seconds):
                return len(await request.read())
        except TimeoutError as error:
            raise SlmDeskError(
                "body_incomplete",
                f"The body of the request was not complete within {self._seconds:g} s.",
                "Send it again, or allow more time with the setting service.body_seconds.",
            ) from error
        except web.HTTPRequestEntityTooLarge as error:
            raise self._too_large() from error
        except (web.RequestPayloadError, HttpProcessingError) as error:
            raise SlmDeskError(
                "bad_request",
                "The body of the request is damaged, or is not encoded as its headers say.",
                "Send it again; without Content-Encoding it is taken as it is.",
            ) from error

    async def _take(self, size: int) -> int:
        """Hold `size` bytes, in the order of asking. Raises `queue_full` when none come free in time."""
        if self._waiting or self._free < size:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (size, turn)
            self._waiting.append(entry)
            try:
                async with asyncio.timeout(self._seconds):
                    await turn
            except BaseException as error:
                if turn.done() and not turn.cancelled():
                    self._give_back(size)
                elif entry in self._waiting:
                    self._waiting.remove(entry)
                    self._give_back(0)
                if isinstance(error, TimeoutError):
                    raise TryLaterError(
                        "queue_full",
                        "Too many large requests are being read at once.",
                        "Ask again later, or send shorter requests.",
                        retry_after_s=_AGAIN_S,
                    ) from error
                raise
        else:
            self._free -= size
        return size

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)

    def _too_large(self) -> SlmDeskError:
        return SlmDeskError(
            "body_too_large",
            f"The body is larger than {self.most // _MIB} MiB.",
            "Send a shorter request, or allow more with the setting service.max_body_mb.",
        )


async def ask_for_it(request: web.Request) -> None:
    """A client may wait to be told that its body is wanted. Raises `bad_request` for another expectation."""
    expected = request.headers.get("Expect", "").strip().lower()
    if expected == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was sent is no part of the answer.
        request.writer.output_size = 0
    elif expected:
        raise SlmDeskError(
            "bad_request", f"The request expects {expected[:40]!r}.", "Leave the header Expect out."
        )
