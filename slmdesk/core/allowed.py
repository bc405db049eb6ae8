"""Which Hosts and which Origins are let in beside our own: patterns, honoured exactly or refused with a reason."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?")
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^/:\[\]@]+)(:(?P<port>[0-9]{1,5}|\*))?"
)
_PORT = re.compile(r"[0-9]{1,5}")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A name, or every name below one (`*.home.arpa`), at one port or at any ("")."""

    name: str
    port: str = ""

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Of `--allow-host`. Raises `SlmDeskError("pattern_invalid")`."""
        given = text.strip().lower()
        name, port = split_host(given)
        if given == "*":
            _refuse(
                text,
                "Any name would let each web page in that gives its own name to this machine (DNS rebinding)",
                "Name the hosts, as in --allow-host models.example or --allow-host '*.home.arpa'. "
                "Who sends a key is not asked for its Host.",
            )
        if (
            "/" in given
            or (port and not _PORT.fullmatch(port))
            or not (is_address(name) or _NAME.fullmatch(name))
        ):
            _refuse(
                text,
                "It is no host",
                "Write a name or address, with a port or without: models.example, '*.home.arpa', 192.168.1.5:8765.",
            )
        return cls(name.rstrip("."), port)

    def takes(self, name: str, port: str) -> bool:
        """Whether a request's Host, in small letters, is meant."""
        return self.port in {"", port} and _name_fits(self.name, name)


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """Pages of one site, of every site below one (`https://*.example.org`), or of all."""

    scheme: str  # "" with any scheme, host and port
    host: str
    port: str  # "*": any

    @classmethod
    def parse(cls, text: str) -> OriginPattern:
        """Of `--allow-origin`. Raises `SlmDeskError("pattern_invalid")`."""
        given = text.strip().lower()
        if given == "*":
            return cls("", "*", "*")
        if given == "null":
            _refuse(
                text,
                "Pages without an origin of their own (files, sandboxed frames of any site) all say “null”",
                "Serve the page from an address and allow that.",
            )
        match = _ORIGIN.fullmatch(given.rstrip("/"))
        host = match["host"] if match else ""
        if match is None or not (host == "*" or is_address(host) or _NAME.fullmatch(host)):
            _refuse(
                text,
                "It is no origin",
                "Write scheme, host and port as the browser's address begins, without a path: "
                "https://notes.example, http://localhost:3000, 'https://*.example.org', app://obsidian.md.",
            )
        return cls(match["scheme"], host, match["port"] or _DEFAULT_PORTS.get(match["scheme"], ""))

    @property
    def wide(self) -> bool:
        """Whether sites that nobody named are among them: those need a key."""
        return self.host.startswith("*")

    def takes(self, origin: str) -> bool:
        """Whether pages of this origin, in small letters, are meant."""
        match = _ORIGIN.fullmatch(origin)
        if not self.scheme:
            return True
        if match is None or match["scheme"] != self.scheme:
            return False
        port = match["port"] or _DEFAULT_PORTS.get(self.scheme, "")
        return self.port in {"*", port} and _name_fits(self.host, match["host"])


LOOPBACK_ORIGINS = tuple(
    OriginPattern(scheme, host, "*")
    for scheme in ("http", "https")
    for host in ("localhost", "127.0.0.1", "[::1]")
)


def parse_hosts(texts: Iterable[str]) -> tuple[HostPattern, ...]:
    """Raises `SlmDeskError("pattern_invalid")` for the first that is wrong."""
    return tuple(HostPattern.parse(text) for text in texts)


def parse_origins(texts: Iterable[str]) -> tuple[OriginPattern, ...]:
    """Raises `SlmDeskError("pattern_invalid")` for the first that is wrong."""
    return tuple(OriginPattern.parse(text) for text in texts)


def split_host(host: str) -> tuple[str, str]:
    """Name and port ("" without one) of a Host header; an IPv6 address keeps its brackets."""
    name, separator, port = host.rpartition(":")
    return (host, "") if not separator or port.endswith("]") or name.endswith(":") else (name, port)


def is_address(name: str) -> bool:
    """Whether this is a number: that cannot be made to mean another machine, as a name can."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _name_fits(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return name.rstrip(".").endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return name.rstrip(".") == pattern


def _refuse(text: str, reason: str, hint: str) -> NoReturn:
    raise SlmDeskError("pattern_invalid", f"“{text}” cannot be allowed. {reason}.", hint)
