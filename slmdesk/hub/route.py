"""Which way leads to a hub: its address, the proxies and the certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.proxies import Proxies  # noqa: TC001 - the codec reads it
from slmdesk.inference.wire import converted, plain


@dataclass(frozen=True, slots=True)
class HubRoute:
    """How a hub is reached. `proxies` are those of `core.proxies` and may hold logins: never log or store them."""

    endpoint: str
    proxies: Proxies = field(default_factory=dict)
    ca_file: str = ""

    def __repr__(self) -> str:
        proxies = "yes" if self.proxies else "no"
        return f"HubRoute({self.endpoint}, proxies={proxies}, ca_file={self.ca_file!r})"


@dataclass(frozen=True, slots=True)
class Way:
    """A route without its logins, so that it may be kept and shown. `own_proxy`: the proxy is that of the setting
    network.proxy, whose login is in the keyring; else the proxies are the environment's."""

    hub: str
    proxies: Proxies = field(default_factory=dict)
    ca_file: str = ""
    own_proxy: bool = False

    @property
    def proxy(self) -> str:
        """The proxy for showing; "" where there is none."""
        told = [proxy for proxy in self.proxies.values() if proxy]
        return told[0] if told else ""

    def to_json(self) -> dict[str, Any]:
        """As a part of a job's parameters."""
        return plain(self)

    @classmethod
    def from_json(cls, data: object) -> Way:
        """The reverse of `to_json`. Raises `SlmDeskError("bad_request")` that says what is wrong."""
        return converted(data, cls)


def checked_endpoint(text: str) -> str:
    """A hub's address without a slash at the end. Raises `SlmDeskError("endpoint_invalid")`."""
    address = text.rstrip("/")
    try:
        parts = urlsplit(address)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or not address.isprintable() or " " in address:
        raise SlmDeskError(
            "endpoint_invalid",
            "The hub's address is not one.",
            "It looks like https://huggingface.co (setting hub.endpoint, variable HF_ENDPOINT).",
        )
    return address
