"""The way to an MCP server by streamable HTTP: a client that takes answers of a bounded size, and what went wrong."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx2

from slmdesk.core.errors import SlmDeskError
from slmdesk.hub.client import CONNECT_S, ProxyUnreachableError, async_client, caused_by
from slmdesk.hub.route import HubRoute
from slmdesk.tools.wire import LARGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from slmdesk.tools.wire import ServerSpec

_READ_S = 300.0  # a server may hold a stream of events open in silence; calls have a limit of their own


class ReachedServer:
    """What is known of the way to a server. `status`: of the last answer that was refused (0: none was)."""

    def __init__(self, spec: ServerSpec) -> None:
        self.url = spec.url
        self.host = httpx2.URL(spec.url).host
        self.status = 0
        self.too_large = False
        self._spec = spec

    def client(self) -> httpx2.AsyncClient:
        """A client for the server. Raises `ca_file_invalid`, `proxy_invalid`."""
        spec = self._spec
        return async_client(
            HubRoute(spec.url, spec.proxies, spec.ca_file),
            headers=spec.headers,
            follow_redirects=False,
            timeout=httpx2.Timeout(_READ_S, connect=CONNECT_S),
            event_hooks={"response": [self._bound]},
        )

    async def _bound(self, response: httpx2.Response) -> None:
        if response.status_code >= 400:
            self.status = response.status_code
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, self)

    def problem(self, error: BaseException) -> SlmDeskError | None:
        """What an error means to a person, where it has to do with the way."""
        if self.too_large or caused_by(error, _TooLargeError):
            return too_large()
        cause = _http_error(error)
        if isinstance(cause, ProxyUnreachableError):
            return _unreachable(f"The proxy {cause} does not answer", "Check the proxy in the settings.")
        if isinstance(cause, httpx2.ConnectError) and caused_by(cause, ssl.SSLError):
            return _unreachable(
                f"The certificate of {self.host} is not trusted",
                "Check the address, and the setting network.ca_file.",
            )
        if isinstance(cause, httpx2.TimeoutException):
            return _unreachable(f"{self.host} does not answer", "Check that the server runs.")
        if isinstance(cause, httpx2.TransportError):
            return _unreachable(f"{self.host} cannot be reached", "Check its address, and that it runs.")
        return self._refusal()

    def _refusal(self) -> SlmDeskError | None:
        match self.status:
            case 0:
                return None
            case 401 | 403:
                return SlmDeskError(
                    "tool_server_refused",
                    f"{self.host} refuses the request: it wants a key, or another one (HTTP {self.status}).",
                    "Add the server again with the header it asks for, mostly Authorization: Bearer KEY.",
                )
            case 404 | 405:
                return SlmDeskError(
                    "tool_server_refused",
                    f"There is no MCP server at {self.url} (HTTP {self.status}).",
                    "Check the address; it often ends with /mcp.",
                )
            case 429:
                return SlmDeskError(
                    "tool_server_refused", f"{self.host} takes no more requests for now.", "Try again later."
                )
        return SlmDeskError(
            "tool_server_refused",
            f"{self.host} answers with an error (HTTP {self.status}).",
            "Try again later.",
        )


def too_large() -> SlmDeskError:
    """The error of a server that says more at once than is taken."""
    return SlmDeskError(
        "tool_server_failed",
        f"The server sent more than {LARGEST_MESSAGE // 1024 // 1024} MB at once and was ended.",
        "Ask for less, or use another server.",
    )


class _TooLargeError(httpx2.StreamError):
    pass


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, as far as it may go."""

    def __init__(self, stream: object, server: ReachedServer) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream = stream
        self._server = server

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > LARGEST_MESSAGE:
                self._server.too_large = True
                raise _TooLargeError("the answer is too large")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _http_error(error: BaseException | None) -> httpx2.HTTPError | None:
    """The first error of HTTP in a chain or a group of errors."""
    waiting, seen = [error], 0
    while waiting and seen < 50:
        one, seen = waiting.pop(0), seen + 1
        if isinstance(one, httpx2.HTTPError):
            return one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        if one is not None:
            waiting += [one.__cause__, one.__context__]
    return None


def _unreachable(what: str, hint: str) -> SlmDeskError:
    return SlmDeskError("tool_server_unreachable", f"{what}.", hint)
