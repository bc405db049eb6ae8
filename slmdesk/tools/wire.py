"""What the window or the command line, and the process that speaks with a server, say to each other."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from slmdesk.core.proxies import Proxies
from slmdesk.inference.wire import Wire

LARGEST_MESSAGE = 8 * 1024 * 1024
"""Bytes of one message of a server. One that says more at once is ended."""
MOST_TOOLS = 256  # of one server
LARGEST_TOOL = 64 * 1024  # characters of a tool's schema, as JSON
LONGEST_DESCRIPTION = 4000  # characters
START_S = 60.0  # for a server to answer first; `npx` and `uvx` may download it before


class ServerSpec(Wire, frozen=True):
    """What the process is started for. Holds secrets: it travels by a pipe only and is never logged."""

    kind: Literal["stdio", "http"]
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    proxies: Proxies = field(default_factory=dict)
    ca_file: str = ""
    offline: bool = False
    start_s: float = START_S

    def __repr__(self) -> str:
        return f"ServerSpec({self.kind})"


class ToolsOffered(Wire, frozen=True):
    """One tool as a server offers it."""

    name: str
    title: str = ""
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    read_only: bool = False


class Order(Wire, frozen=True):
    """What the process is to do: call `tool` (with `id`), ask whether the server is there ("ping"), forget a call, or
    end. `limit_s` in seconds, `most` in characters of the result."""

    do: Literal["call", "ping", "cancel", "end"]
    id: int = 0
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    limit_s: float = 60.0
    most: int = 16_000
