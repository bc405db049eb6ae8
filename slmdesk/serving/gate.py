"""Who may call the service: the token, and where there is none, the Host and Origin that a browser cannot forge."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass

from aiohttp import web

from slmdesk.core.errors import SlmDeskError

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[^/:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known about who sent a request. Only who showed the token may name files by their path."""

    trusted: bool


# What the gate leaves on a request for its handler.
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
CORS: web.RequestKey[dict[str, str]] = web.RequestKey("cors", dict[str, str])


class Gate:
    """Checks each request before anything else looks at it.

    A web page can make a browser send requests to this machine, and by renaming its own host to 127.0.0.1
    read the answers. So the Host must be one we are known by, and an Origin must be loopback or allowed.
    """

    def __init__(
        self, *, host: str, port: int, token: str, token_required: bool, origins: tuple[str, ...] = ()
    ) -> None:
        self._port = port
        self._token = token.encode()
        self._token_required = token_required
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._any_address = host in _ANY_ADDRESS
        bound = f"[{host}]" if ":" in host else host
        self._names = _LOOPBACK_NAMES | {bound.lower()}

    def check(self, request: web.BaseRequest) -> Caller:
        """Raises `host_refused`, `origin_refused` or `unauthorized`."""
        self._check_host(request.headers.getall("Host", []))
        origin = request.headers.get("Origin")
        if origin is not None and not self.allows_origin(origin):
            raise SlmDeskError(
                "origin_refused",
                "Web pages of other sites may not use this service.",
                "Start it with --allow-origin to let that site in.",
            )
        trusted = self._has_token(request.headers.get("Authorization", ""))
        # A key is only waived for programs on this machine, whatever address is bound.
        waived = not self._token_required and _is_loopback(request.remote)
        # A browser asks with OPTIONS first, and without the key; the answer holds nothing but headers.
        if not trusted and not waived and request.method != "OPTIONS":
            raise SlmDeskError(
                "unauthorized",
                "The key is missing or wrong.",
                "Send “Authorization: Bearer” with the token in the service's state file.",
            )
        return Caller(trusted)

    def allows_origin(self, origin: str) -> bool:
        """Whether a page of this origin may read answers."""
        origin = origin.lower()
        match = _ORIGIN.fullmatch(origin)
        return origin in self._origins or (match is not None and match[1] in _LOOPBACK_NAMES)

    def _check_host(self, hosts: list[str]) -> None:
        if len(hosts) == 1:
            name, separator, port = hosts[0].strip().lower().rpartition(":")
            if not separator or port.endswith("]"):
                name, port = hosts[0].strip().lower(), "80"
            if port == str(self._port) and (name in self._names or (self._any_address and _is_address(name))):
                return
        raise SlmDeskError(
            "host_refused",
            "The Host of the request is not the address of this service.",
            f"Use http://127.0.0.1:{self._port}.",
        )

    def _has_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("utf-8", "surrogateescape"), self._token
        )


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_address(name: str) -> bool:
    """A number cannot be made to mean another machine, as a name can."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
