"""Where bytes come from: plain HTTPS with ranges, from any position on."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

from slmdesk import __version__
from slmdesk.hub.errors import HubError, converted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from slmdesk.downloads.plan import DownloadPlan, PlannedFile
    from slmdesk.hub.access import HubAccess

READ_S = 20.0  # nothing is silent for longer
_PIECE = 1024 * 1024
_HOPS = 8
_WINDOW = 1024 * 1024
_NEAR_US = 8000  # a round trip for which that window still carries 125 MB/s


class Stream(Protocol):
    """Bytes of one file from `start` on. `total` is the size of the whole file as its sender tells it."""

    start: int
    total: int | None

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...

    def abort(self) -> None:
        """Break it off, from any thread: whoever waits for bytes gets an error at once."""


class StreamSource(Protocol):
    """Opens streams. Raises `HubError`; one that is `temporary` is worth another try."""

    @property
    def name(self) -> str: ...

    def open(self, file: PlannedFile, start: int) -> Stream: ...

    def failed(self, error: HubError) -> bool:
        """Hear that a stream failed; whether another way is left that is worth taking at once."""

    def close(self) -> None: ...


class HttpsSource:
    """Files by HTTPS. The token goes to the hub alone, whatever it redirects to. Used by one thread."""

    name = "HTTPS"

    def __init__(self, hub: HubAccess, plan: DownloadPlan) -> None:
        from slmdesk.hub.client import sync_client

        self._hub = hub
        self._plan = plan
        self._endpoint = hub.endpoint
        self._client = sync_client(hub.route(), follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    def open(self, file: PlannedFile, start: int) -> HttpsStream:
        """A stream that begins at `start`, or before it when the server knows no ranges."""
        self._hub.require_online()
        headers = {"Accept-Encoding": "identity"}
        with converted(self._endpoint, self._plan.repo):
            ranged = {**headers, "Range": f"bytes={start}-"} if start else headers
            response = self._follow("GET", file, ranged)
            if start and _packed(response):
                # A range of what was packed cannot be unpacked: from the beginning, then.
                response.close()
                response = self._follow("GET", file, headers)
        return HttpsStream(response, start, self._endpoint, self._plan.repo)

    def failed(self, error: HubError) -> bool:  # noqa: ARG002
        return False

    def ask(self, file: PlannedFile) -> httpx2.Headers:
        """What the hub itself says of a file, without its bytes."""
        self._hub.require_online()
        with converted(self._endpoint, self._plan.repo):
            response = self._send("HEAD", self._address(file), {"Accept-Encoding": "identity"}, own=True)
            response.close()
        return response.headers

    def headers(self) -> dict[str, str]:
        """Headers for the hub itself, with the token."""
        from huggingface_hub.utils._headers import build_hf_headers

        token = self._hub.token() or False
        made: dict[str, str] = build_hf_headers(
            token=token, library_name="slmdesk", library_version=__version__
        )
        return made

    def same_hub(self, address: str) -> bool:
        """Whether an address is the hub's own, so that the token may go there."""
        return _origin(address) == _origin(self._endpoint)

    def _address(self, file: PlannedFile) -> str:
        revision = quote(self._plan.revision, safe="")
        return f"{self._endpoint}/{quote(self._plan.repo)}/resolve/{revision}/{quote(file.path)}"

    def _follow(self, method: str, file: PlannedFile, headers: dict[str, str]) -> httpx2.Response:
        address = self._address(file)
        for _ in range(_HOPS):
            own = self.same_hub(address)
            response = self._send(method, address, headers, own=own)
            target = response.headers.get("Location")
            if response.status_code not in {301, 302, 303, 307, 308} or not target:
                return response
            response.close()
            address = urljoin(address, target)
            if urlsplit(address).scheme not in {"http", "https"}:
                break
        raise HubError(
            "hub_answer_invalid",
            f"{self._endpoint} sends us round in circles.",
            "Check the hub's address in the settings, or try again in a while.",
        )

    def _send(self, method: str, address: str, headers: dict[str, str], *, own: bool) -> httpx2.Response:
        """One request; refusals are raised. The token goes along only where `own` says it may."""
        from huggingface_hub.utils._http import hf_raise_for_status

        sent = {**(self.headers() if own else {"User-Agent": f"slmdesk/{__version__}"}), **headers}
        # A cookie of one host must not identify this person to the next.
        self._client.cookies.clear()
        response = self._client.send(self._client.build_request(method, address, headers=sent), stream=True)
        try:
            if response.status_code < 400 or response.status_code == 416:
                return response
            response.read()
            if not own:
                _refuse_of_storage(response)
            hf_raise_for_status(response)
        except BaseException:
            response.close()
            raise
        return response


class HttpsStream:
    """The body of one answer."""

    def __init__(self, response: httpx2.Response, wanted: int, endpoint: str, repo: str) -> None:
        self._response = response
        self._endpoint, self._repo = endpoint, repo
        self._socket: Any = None
        self._line: Any = response.extensions.get("network_stream")
        self.start, self.total = _bounds(response, wanted)
        if self._line is not None:
            with suppress(Exception):
                self._socket = self._line.get_extra_info("socket")
            _keep_window_small(self._socket)

    def __iter__(self) -> Iterator[bytes]:
        if self._response.status_code == 416:
            return
        with converted(self._endpoint, self._repo), _as_http_errors(self._response.request):
            yield from self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        if _packed(self._response):
            # What was packed in spite of our request is unpacked; its length says nothing about the file's.
            yield from self._response.iter_bytes()
            return
        length = self._response.headers.get("Content-Length", "")
        plain = length.isdecimal() and self._response.http_version == "HTTP/1.1" and self._line is not None
        pieces = self._response.iter_raw()
        if not plain:
            yield from pieces
            return
        # The first piece empties what the HTTP parser holds; the rest of a body of known length is taken
        # from the connection itself, in larger pieces than the parser would give.
        left = int(length)
        for first in pieces:
            yield first
            left -= len(first)
            break
        while left > 0:
            piece = self._line.read(min(left, _PIECE), timeout=READ_S)
            if not piece:
                import httpx2

                raise httpx2.RemoteProtocolError("the connection ended too early")
            left -= len(piece)
            yield piece

    def close(self) -> None:
        with suppress(Exception):
            self._response.close()

    def abort(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _bounds(response: httpx2.Response, wanted: int) -> tuple[int, int | None]:
    """Where the body begins, and the size of the whole file."""
    told = response.headers.get("Content-Range", "")
    unit, _, rest = told.partition(" ")
    span, _, total = rest.partition("/")
    whole = int(total) if total.strip().isdecimal() else None
    if response.status_code == 416:
        return wanted, whole
    if response.status_code == 206 and unit == "bytes":
        first = span.partition("-")[0].strip()
        if first.isdecimal() and int(first) <= wanted:
            return int(first), whole
        response.close()
        raise HubError(
            "hub_answer_invalid",
            "The hub's storage sent another part of the file than was asked for.",
            "Try again in a while.",
            temporary=True,
        )
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() and not _packed(response) else None


def _packed(response: httpx2.Response) -> bool:
    """Whether a server packs what it was asked to send as it is; caches and gateways do that to small files.

    Raises `HubError("hub_answer_invalid")` for a packing that nobody here can undo.
    """
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    if packing in {"", "identity"}:
        return False
    if packing in {"gzip", "deflate"}:
        return True
    response.close()
    raise HubError(
        "hub_answer_invalid",
        f"{response.url.host} sends the file packed as “{packing[:40]}”, which nobody asked for.",
        "Something between here and the hub packs it: try again over another network.",
        temporary=True,
    )


def _refuse_of_storage(response: httpx2.Response) -> None:
    """A storage's "no" is mostly about a link that is too old, and says nothing of the person's rights."""
    if response.status_code < 500 and response.status_code not in {408, 429}:
        raise HubError(
            "link_refused",
            "The hub's storage did not give the file.",
            "Try again in a while.",
            details=f"HTTP {response.status_code} from {response.url.host}",
            temporary=True,
        )


@contextmanager
def _as_http_errors(request: httpx2.Request) -> Iterator[None]:
    """What the connection itself raises, as the HTTP client would."""
    import httpcore2
    import httpx2

    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.ReadTimeout("nothing came for a while", request=request) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
        raise httpx2.ReadError("the connection broke", request=request) from error


def _keep_window_small(connection: Any) -> None:
    """Bytes on their way when this process is killed are fetched again: let there be few of them.

    On a long line more must be on the way for it to be fast, so that one is left to the system.
    """
    if sys.platform != "linux" or not isinstance(connection, socket.socket):
        return
    with suppress(OSError, struct.error):
        # tcpi_rtt of <linux/tcp.h>, in microseconds
        (trip,) = struct.unpack_from(
            "=I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128), 68
        )
        if trip < _NEAR_US:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, _WINDOW)


def _origin(address: str) -> tuple[str, str, int]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
