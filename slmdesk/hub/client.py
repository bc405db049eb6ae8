"""The HTTP clients that go a route to a hub. Import it where a request is made: the HTTP library takes a while.

What the environment says of proxies and certificates was read before, so nothing is taken from it behind our back.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.proxies import without_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slmdesk.hub.route import HubRoute

CONNECT_S, READ_S = 10.0, 20.0  # nothing is silent for longer
REDIRECTS = 8


class ProxyUnreachableError(httpx2.ProxyError):
    """Nobody answers at the proxy's address, which is told without its login."""


def sync_client(route: HubRoute, **more: Any) -> httpx2.Client:
    """A client of this route; `more` goes to it. Blocks. Raises `ca_file_invalid` or `proxy_invalid`."""
    context = trusted(route.ca_file)
    mounts = {key: _made(_Through, proxy, context) for key, proxy in route.proxies.items()}
    return httpx2.Client(**_options(context, more), mounts=mounts)


def async_client(route: HubRoute, **more: Any) -> httpx2.AsyncClient:
    """The same for an event loop. Raises as `sync_client` does."""
    context = trusted(route.ca_file)
    mounts = {key: _made(_AsyncThrough, proxy, context) for key, proxy in route.proxies.items()}
    return httpx2.AsyncClient(**_options(context, more), mounts=mounts)


def trusted(ca_file: str) -> ssl.SSLContext:
    """The system's certificates, and those of the person's file. Raises `SlmDeskError("ca_file_invalid")`."""
    try:
        context: ssl.SSLContext = httpx2.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        variable = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        raise SlmDeskError(
            "ca_file_invalid",
            f"The certificates that {variable} names cannot be used: {error.strerror or error}.",
            f"Correct the variable {variable}, or take it away.",
        ) from error
    if not ca_file:
        return context
    try:
        context.load_verify_locations(cafile=str(Path(ca_file).expanduser()))
    except OSError as error:
        raise SlmDeskError(
            "ca_file_invalid",
            f"The certificate file {ca_file} cannot be used: {error.strerror or error}.",
            "Name a PEM file, or leave the setting network.ca_file empty.",
        ) from error
    return context


def _options(context: ssl.SSLContext, more: dict[str, Any]) -> dict[str, Any]:
    timeout = httpx2.Timeout(READ_S, connect=CONNECT_S)
    ours = {"follow_redirects": True, "max_redirects": REDIRECTS, "timeout": timeout, "verify": context}
    return {**ours, "trust_env": False, **more}


def _made(kind: type[Any], proxy: str | None, context: ssl.SSLContext) -> Any:
    if proxy is None:
        return None
    try:
        transport = kind(proxy=proxy, verify=context, trust_env=False)
    except (httpx2.InvalidURL, ValueError) as error:
        raise SlmDeskError(
            "proxy_invalid",
            f"The proxy {without_login(proxy)[0]} is not written as an address.",
            "Correct it where it is set: the setting network.proxy, or the environment.",
        ) from error
    transport.proxy = without_login(proxy)[0]
    return transport


class _Through(httpx2.HTTPTransport):
    """All of its connections go to the proxy, so one that is not made is the proxy's."""

    proxy: str

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with _told(self.proxy):
            return super().handle_request(request)


class _AsyncThrough(httpx2.AsyncHTTPTransport):
    proxy: str

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        with _told(self.proxy):
            return await super().handle_async_request(request)


@contextmanager
def _told(proxy: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        if caused_by(error, ssl.SSLError):  # the connection through it was there
            raise
        raise ProxyUnreachableError(proxy) from error


def caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an exception of this kind, or a certificate that is not trusted, is among the causes."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, kind) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False
