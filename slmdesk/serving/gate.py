"""Who may call the service: keys, and where none is needed, the Host and Origin that a browser cannot forge."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.allowed import LOOPBACK_ORIGINS, is_address, split_host
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.core.allowed import HostPattern, OriginPattern
    from slmdesk.serving.keys import KeyBook

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NOT_FOR_PAGES = frozenset(
    {"/metrics", "/slots", "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"}
)
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
# What a proxy adds. Behind one, that a connection comes from this machine says nothing about who asks.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

OWN_PROGRAMS = "slmdesk"
"""The name in the log of our own front ends, which show the token of the state file."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known about who sent a request.

    `trusted`: it showed the token of the state file, so it is a program of this user, which may name files by their
    path. `key`: the name of what it showed; "" when it showed nothing that opens.
    """

    trusted: bool
    key: str = ""

    @property
    def known(self) -> bool:
        """Whether it showed the token or a key."""
        return bool(self.key)


# What the gate leaves on a request for its handler.
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
CORS: web.RequestKey[dict[str, str]] = web.RequestKey("cors", dict[str, str])


@dataclass(frozen=True, slots=True)
class Access:
    """How a service is reached, and what it asks for.

    `waived`: programs on this machine need no key. `private_port` (0: there is none) listens for our own front ends
    alone, where others must speak TLS. `ollama_port` (0: there is none) is a second one for everybody.
    """

    host: str
    port: int
    waived: bool
    hosts: tuple[HostPattern, ...] = ()
    origins: tuple[OriginPattern, ...] = ()
    private_port: int = 0
    ollama_port: int = 0
    scheme: str = "http"


class Gate:
    """Checks each request before anything else looks at it.

    A web page can make a browser send requests to this machine, and by renaming its own host to 127.0.0.1 read the
    answers. So the Host must be one we are known by, and an Origin must be loopback or allowed. Who shows a key is no
    such page, and may have come by any name.
    """

    def __init__(self, access: Access, token: str, keys: KeyBook) -> None:
        self._access = access
        self._token = token.encode()
        self._keys = keys
        bound = f"[{access.host}]" if ":" in access.host else access.host
        self._names = _LOOPBACK_NAMES | {bound.lower()}

    def identify(self, request: web.BaseRequest) -> Caller:
        """Who this is. Raises `host_refused` for a Host that it must not come by."""
        caller = self._caller(request)
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not (caller.known or self._takes_host(hosts[0])):
            access = self._access
            raise SlmDeskError(
                "host_refused",
                "The Host of the request is not an address of this service.",
                f"Use {access.scheme}://127.0.0.1:{access.port}, send a key, or start it with --allow-host.",
            )
        return caller

    def check_origin(self, request: web.BaseRequest) -> dict[str, str]:
        """Headers that let a page read the answer; none for what is no page. Raises `origin_refused`."""
        origin = request.headers.get("Origin")
        if origin is None:
            # A page may send a GET without its origin, and reads nothing of the answer.
            if request.headers.get("Sec-Fetch-Site") == "cross-site" and not _followed_link(request):
                raise _foreign_page()
            return {}
        if self._pattern(origin) is None:
            raise _foreign_page()
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def check_key(self, request: web.BaseRequest, caller: Caller) -> None:
        """Raises `unauthorized` when this caller needs a key for this request."""
        # A browser asks with OPTIONS first, and without the key; the answer holds nothing but headers.
        if caller.known or request.method == "OPTIONS":
            return
        if self._waived(request) and not _closed(request):
            return
        raise SlmDeskError(
            "unauthorized",
            "The key is missing or wrong.",
            "Send “Authorization: Bearer KEY” or “x-api-key: KEY”. “slmdesk keys add NAME” makes a key.",
        )

    def _caller(self, request: web.BaseRequest) -> Caller:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        shown = [bearer.strip()] if scheme.lower() == "bearer" else []
        shown += request.headers.getall("x-api-key", [])[:1]
        for key in shown:
            if hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._token):
                return Caller(trusted=True, key=OWN_PROGRAMS)
        return Caller(trusted=False, key=next(filter(None, map(self._keys.name_of, shown)), ""))

    def _waived(self, request: web.BaseRequest) -> bool:
        """A key is only waived for programs on this machine, whatever address is bound."""
        if not self._access.waived or port_of(request) == self._access.private_port:
            return False
        if not _is_loopback(request.remote) or any(name in request.headers for name in _FORWARDED):
            return False
        origin = request.headers.get("Origin")
        pattern = self._pattern(origin) if origin is not None else None
        return pattern is None or not pattern.wide

    def _pattern(self, origin: str) -> OriginPattern | None:
        """What lets pages of this origin in; one that names them before one that takes many."""
        origin = origin.lower()
        there = [one for one in (*LOOPBACK_ORIGINS, *self._access.origins) if one.takes(origin)]
        return min(there, key=lambda one: one.wide, default=None)

    def _takes_host(self, host: str) -> bool:
        access = self._access
        name, port = split_host(host.strip().lower())
        port = port or ("443" if access.scheme == "https" else "80")
        if any(allowed.takes(name, port) for allowed in access.hosts):
            return True
        if port not in {str(access.port), str(access.private_port), str(access.ollama_port)}:
            return False
        return name in self._names or (access.host in _ANY_ADDRESS and is_address(name))


def _closed(request: web.BaseRequest) -> bool:
    """Whether a request is for who shows a key alone: what tells of files or changes what is loaded is, and what
    tells how the service does, or changes which models there are, is not for pages."""
    path = request.path
    return path.startswith("/slmdesk/") or (
        "Origin" in request.headers and (path.rstrip("/") in _NOT_FOR_PAGES or path.startswith("/api/blobs/"))
    )


def _followed_link(request: web.BaseRequest) -> bool:
    return request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"


def _foreign_page() -> SlmDeskError:
    return SlmDeskError(
        "origin_refused",
        "Web pages of other sites may not use this service.",
        "Start it with --allow-origin to let that site in.",
    )


def port_of(request: web.BaseRequest) -> int:
    """The port of ours that the connection came by."""
    name = request.get_extra_info("sockname")
    return int(name[1]) if isinstance(name, tuple) else -1


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
