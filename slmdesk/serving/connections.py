"""Connections to the service: how many there may be, and how long one may take without a request on it.

aiohttp speaks the protocol; what it leaves to a proxy before it is here. A connection waits for the head of a request,
from its beginning or from the first byte of a later one, for so long and no longer, and one without any byte is closed
too. A slow client therefore costs a socket for some seconds. What cannot be read as HTTP is answered in the API's form.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, LineTooLong

from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.api_errors import error_response
from slmdesk.serving.try_later import TryLaterError

if TYPE_CHECKING:
    from aiohttp.web_server import Server

    from slmdesk.core.settings import Settings

log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between two looks at the connections
_LINGER_S = 5.0  # for a client that still sends what was refused to read why
_AGAIN_S = 5
_MOST_TURNED_AWAY = 64  # that are still open at any moment


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Numbers of connections, and seconds."""

    most: int
    most_of_one: int  # of one other machine; this one's programs all come from one address
    head_s: float
    idle_s: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        """What a person set."""
        return cls(
            most=int(settings.get("service.max_connections")),
            most_of_one=int(settings.get("service.max_client_connections")),
            head_s=float(settings.get("service.header_seconds")),
            idle_s=float(settings.get("service.keepalive_seconds")),
        )


class Door:
    """Makes the protocol of each connection, and closes those that take too long. Lives on the event loop."""

    def __init__(self, server: Server, limits: ConnectionLimits) -> None:
        self._server = server
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._of_one: Counter[str] = Counter()
        self._look: asyncio.TimerHandle | None = None
        self._turned_away: deque[float] = deque()  # when

    @property
    def connections(self) -> int:
        return len(self._open)

    def __call__(self) -> Connection:
        """asyncio's factory of protocols."""
        return Connection(self._server, self, loop=self._loop)

    def close(self) -> None:
        """Look at no connection any more; the server closes them."""
        if self._look is not None:
            self._look.cancel()

    def enter(self, connection: Connection) -> SlmDeskError | None:
        """Count a connection in, or say why it may not stay."""
        limits, client = self._limits, connection.client
        if len(self._open) >= limits.most:
            whose = f"{limits.most} connections are"
        elif client and self._of_one[client] >= limits.most_of_one:
            whose = f"{limits.most_of_one} connections of {client} are"
        else:
            self._open.add(connection)
            self._of_one[client] += 1
            if self._look is None:
                self._look = self._loop.call_later(_LOOK_S, self._look_at_all)
            return None
        return TryLaterError(
            "too_many_connections",
            f"{whose} open already, which is the limit.",
            "Close some, or allow more with the settings service.max_connections and "
            "service.max_client_connections.",
            retry_after_s=_AGAIN_S,
        )

    def leave(self, connection: Connection) -> None:
        """Count it out. Harmless when it was not counted in."""
        if connection in self._open:
            self._open.remove(connection)
            self._of_one[connection.client] -= 1
            if self._of_one[connection.client] <= 0:
                del self._of_one[connection.client]

    def turns_away(self) -> bool:
        """Whether one more refused connection may stay for the moment that it takes to read why."""
        now = self._loop.time()
        while self._turned_away and now - self._turned_away[0] > _LOOK_S:
            self._turned_away.popleft()
        if len(self._turned_away) >= _MOST_TURNED_AWAY:
            return False
        self._turned_away.append(now)
        return True

    def _look_at_all(self) -> None:
        self._look = self._loop.call_later(_LOOK_S, self._look_at_all) if self._open else None
        now = self._loop.time()
        for connection in tuple(self._open):
            connection.look(now, self._limits)


class Connection(web.RequestHandler):
    """One connection. `client` is the address of another machine, and "" for this one."""

    __slots__ = ("_answering", "_began", "_deaf", "_door", "_fresh", "_refused", "_since", "client")

    def __init__(self, server: Server, door: Door, *, loop: asyncio.AbstractEventLoop) -> None:
        # Its own timer would only start behind the first request.
        super().__init__(server, loop=loop, access_log=cast("Any", None), lingering_time=_LINGER_S)
        self._door = door
        self._refused = False  # from its beginning
        self._deaf = False  # what still comes is thrown away
        self._answering = 0
        self._fresh = True  # nothing was asked on it yet
        self._since = loop.time()  # when it began to wait for a request
        self._began: float | None = None  # when the first byte of that came
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.client = _other_machine(transport.get_extra_info("peername"))
        error = self._door.enter(self)
        if error is None:
            super().connection_made(transport)
        else:
            self._deaf = self._refused = True
            self._turn_away(cast("asyncio.Transport", transport), error)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.leave(self)
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._began is None and data and not self._answering:
            self._began = self._since = asyncio.get_running_loop().time()
        super().data_received(data)

    def begins(self) -> None:
        """The head of a request is complete."""
        self._answering += 1
        self._fresh, self._began = False, None

    def ends(self) -> None:
        """Its answer is written, or is being read by the client."""
        self._answering -= 1
        self._since = asyncio.get_running_loop().time()

    def abandon(self) -> None:
        """Read no more of the request that is answered with an error: what still comes is thrown away unread.

        A client that has not sent everything would otherwise find the connection reset, not the answer.
        """
        self._deaf = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def look(self, now: float, limits: ConnectionLimits) -> None:
        """Close it when it has waited for too long."""
        transport = self.transport
        if self._answering or transport is None:
            return
        heading = self._began is not None
        if now - self._since < (limits.head_s if heading or self._fresh else limits.idle_s):
            return
        if transport.get_write_buffer_size():
            transport.abort()  # nobody reads the last answer
        elif heading:
            transport.write(plain(error_response(_slow_head(limits.head_s))))
        self.force_close()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What is the client's doing fills no log."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError | HttpProcessingError | ConnectionError):
            log.debug("a connection ended: %r", kw["exc_info"])
        else:
            super().log_exception(*args, **kw)

    def _turn_away(self, transport: asyncio.Transport, error: SlmDeskError) -> None:
        """Say why, and close: a little later, so that the client reads it before its own bytes are refused."""
        transport.write(plain(error_response(error)))
        if self._door.turns_away():
            if transport.can_write_eof():
                transport.write_eof()
            asyncio.get_running_loop().call_later(_LOOK_S, transport.abort)
        else:
            transport.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP that aiohttp reads, as an error of the API. The connection is closed."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client went away; aiohttp closes the connection
        if status >= 500:
            log.error("a request failed outside its handler", exc_info=exc)
            error = SlmDeskError(
                "unexpected", "The service failed in a way it should not.", "Its log has the reason."
            )
        else:
            error = unreadable(exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = error_response(error)
        response.force_close()
        return response


def unreadable(exc: BaseException | None, message: str | None = None) -> SlmDeskError:
    """Why aiohttp could not read a request."""
    if isinstance(exc, LineTooLong):
        return SlmDeskError(
            "headers_too_large",
            "The address or a header of the request is longer than 8 190 bytes.",
            "Send what is long in the body.",
        )
    if isinstance(exc, ContentEncodingError) and "decode content-encoding" in str(exc):
        return unknown_encoding(str(exc).rpartition(":")[2].strip() or "another encoding")
    reason = str(message or exc or "it is damaged").strip().splitlines()[0][:200]
    return SlmDeskError("bad_request", f"The request cannot be read: {reason}", "Send HTTP/1.1.")


def unknown_encoding(name: str) -> SlmDeskError:
    """A body in a form of compression that is not read."""
    return SlmDeskError(
        "encoding_unsupported",
        f"The body says that it is encoded as {name[:40]}.",
        "Send it plain, or as gzip or deflate.",
    )


def plain(response: web.Response) -> bytes:
    """An answer as bytes, for a connection that is closed behind it."""
    body = response.body if isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _slow_head(limit_s: float) -> SlmDeskError:
    return SlmDeskError(
        "body_incomplete", f"The head of the request was not complete within {limit_s:g} s.", "Send it again."
    )


def _other_machine(peer: object) -> str:
    """The address of another machine; "" for this one."""
    text = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) and peer else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return "" if (mapped or address).is_loopback else str(mapped or address)
