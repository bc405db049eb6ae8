"""Where the service listens, and the conditions on which it does: an address that others reach needs a key."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.allowed import parse_hosts, parse_origins
from slmdesk.core.errors import SlmDeskError
from slmdesk.serving.gate import Access

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from slmdesk.core.allowed import HostPattern, OriginPattern
    from slmdesk.core.settings import Settings
    from slmdesk.serving.keys import KeyBook
    from slmdesk.serving.start import ServeOptions

log = logging.getLogger(__name__)

DEFAULT_PORT = 8765  # of a service started by hand
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of one service: `own`, for our own front ends, only where `public` speaks TLS; `ollama` at that
    program's port, where it is wanted."""

    public: socket.socket
    own: socket.socket | None = None
    tls: ssl.SSLContext | None = None
    ollama: socket.socket | None = None

    @property
    def private_port(self) -> int:
        """0: there is none."""
        return int(self.own.getsockname()[1]) if self.own is not None else 0

    @property
    def ollama_port(self) -> int:
        """0: there is none."""
        return int(self.ollama.getsockname()[1]) if self.ollama is not None else 0

    async def open(self, factory: Callable[[], asyncio.Protocol], handshake_s: float) -> list[asyncio.Server]:
        """Begin to accept connections."""
        loop = asyncio.get_running_loop()
        timeout = handshake_s if self.tls is not None else None
        servers = [
            await loop.create_server(
                factory, sock=listener, ssl=self.tls, backlog=128, ssl_handshake_timeout=timeout
            )
            for listener in (self.public, self.ollama)
            if listener is not None
        ]
        if self.own is not None:
            servers.append(await loop.create_server(factory, sock=self.own, backlog=128))
        return servers


def address_of(options: ServeOptions, settings: Settings) -> tuple[str, int]:
    """Host and port to listen at; port 0 takes any."""
    host = options.host or str(settings.get("service.host")) or LOOPBACK
    port = int(settings.get("service.port")) or (0 if options.on_demand else DEFAULT_PORT)
    return host, port if options.port is None else options.port


def listen(options: ServeOptions, settings: Settings) -> socket.socket:
    """A listening socket. Raises `port_in_use` or `address_unusable`."""
    host, port = address_of(options, settings)
    try:
        return bind(host, port)
    except SlmDeskError as error:
        if not options.on_demand or error.code != "port_in_use":
            raise
        log.warning("%s Taking another one.", error.message)
        return bind(host, 0)


def listen_as_ollama(options: ServeOptions, settings: Settings) -> socket.socket | None:
    """A listening socket at Ollama's port; None where that is not wanted. Raises as `listen` does."""
    wanted = options.ollama_port
    port = int(settings.get("service.ollama_port")) if wanted is None else wanted
    if wanted is None and not port:
        return None
    host = address_of(options, settings)[0]
    try:
        return bind(host, port)
    except SlmDeskError as error:
        if error.code == "port_in_use":
            error = SlmDeskError(
                error.code, error.message, "Ollama itself may run there: end it, or choose another port."
            )
        if not options.on_demand:
            raise error from None
        log.warning("%s %s", error.message, error.hint)
        return None


def access_of(options: ServeOptions, settings: Settings, keys: KeyBook, listeners: Listeners) -> Access:
    """What the gate asks for at this address.

    Raises `key_needed` where others could reach a service that has no key, and `pattern_invalid`.
    """
    listener, private_port = listeners.public, listeners.private_port
    host, port = address_of(options, settings)[0], int(listener.getsockname()[1])
    hosts, origins = _allowed(options, settings)
    if not options.on_demand and not keys:
        if not _only_here(listener):
            raise SlmDeskError(
                "key_needed",
                f"At {host} other machines could use the service, and there is no key yet that they would need.",
                "Make one with “slmdesk keys add NAME”, or give one in the variable SLMDESK_API_KEY.",
            )
        wide = next((one for one in origins if one.wide), None)
        if wide is not None:
            raise SlmDeskError(
                "key_needed",
                "--allow-origin with * lets pages in that nobody named, and those need a key. There is none yet.",
                "Make one with “slmdesk keys add NAME”, or name each page, as in --allow-origin "
                "https://notes.example.",
            )
    return Access(
        host=host,
        port=port,
        waived=not options.on_demand and not keys.given,
        hosts=hosts,
        origins=origins,
        private_port=private_port,
        ollama_port=listeners.ollama_port,
        scheme="https" if private_port else "http",
    )


def reachable(host: str) -> str:
    """How programs on this machine reach a service bound to `host`."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared with, not bound to
        return "[::1]" if host == "::" else LOOPBACK
    return f"[{host}]" if ":" in host else host


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `port_in_use` or `address_unusable`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES, 10013, 10048}:
            raise SlmDeskError(
                "port_in_use",
                f"Port {port} on {host} cannot be used: {error.strerror or error}.",
                "Choose another one, or end the program that uses it.",
            ) from error
        raise SlmDeskError(
            "address_unusable",
            f"The service cannot answer at {host}: {error.strerror or error}.",
            "Use 127.0.0.1, or an address of this machine.",
        ) from error


def _allowed(
    options: ServeOptions, settings: Settings
) -> tuple[tuple[HostPattern, ...], tuple[OriginPattern, ...]]:
    """What the command line names and what the settings do; a service started by hand takes no wrong ones silently."""
    wrong = [problem for problem in settings.problems if "service.allow_" in problem.hint]
    if wrong and not options.on_demand:
        raise wrong[0]
    return (
        parse_hosts((*options.allow_hosts, *str(settings.get("service.allow_hosts")).split())),
        parse_origins((*options.allow_origins, *str(settings.get("service.allow_origins")).split())),
    )


def _only_here(listener: socket.socket) -> bool:
    """Whether nobody but this machine reaches the socket."""
    return ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback
