"""Why a server that was started ended, in words: from its exit status and the last lines it wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What the tail shows, what it means, and what to do.
_KNOWN = (
    (
        re.compile(
            r"npm (?:error|ERR!) (?:code )?E?404|npm (?:error|ERR!).*is not in (?:this|the npm) registry",
            re.IGNORECASE,
        ),
        "npm knows no package of that name",
        "Check the name in the server's documentation.",
    ),
    (
        re.compile(
            r"npm (?:error|ERR!) code (?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENOTCACHED|ETIMEDOUT)",
            re.IGNORECASE,
        ),
        "npm cannot fetch the server: there is no way to its registry",
        "Check the network, and whether “Work offline” is on; what was fetched once works without.",
    ),
    (
        re.compile(r"No solution found when resolving|was not found in the package registry", re.IGNORECASE),
        "uv finds no package of that name, or none that runs here",
        "Check the name in the server's documentation.",
    ),
    (
        re.compile(
            r"Failed to fetch: |error sending request|network (?:was|is) disabled|--offline", re.IGNORECASE
        ),
        "the server cannot be fetched: there is no way to the package index",
        "Check the network, and whether “Work offline” is on; what was fetched once works without.",
    ),
    (
        re.compile(r"Cannot connect to the Docker daemon|docker daemon is not running", re.IGNORECASE),
        "Docker does not run",
        "Start Docker and try again.",
    ),
    (
        re.compile(r"ModuleNotFoundError: No module named '([^']+)'"),
        "a Python package it needs is not installed",
        "Install it in the Python that the server is started with.",
    ),
    (
        re.compile(r"Error: Cannot find module '([^']+)'"),
        "a file or package it needs is not there",
        "Check the path in its arguments.",
    ),
    (
        re.compile(r"(?:can't open file|No such file or directory|ENOENT)"),
        "a file it needs is not there",
        "Check the paths in its arguments.",
    ),
)


def explained(status: int | None, tail: Sequence[str]) -> SlmDeskError:
    """The error of a server that ended. `status`: its exit status, negative for a signal."""
    text = "\n".join(tail)
    for pattern, meaning, hint in _KNOWN:
        if pattern.search(text):
            return SlmDeskError("tool_server_failed", f"The server ended: {meaning}.", hint, details=text)
    how = "" if status is None else f" by signal {-status}" if status < 0 else f" with status {status}"
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    said = f"; its last line is “{last[:160]}”" if last else " and said nothing"
    return SlmDeskError(
        "tool_server_failed",
        f"The server ended{how}{said}.",
        "Check its command and its arguments; its log tells more.",
        details=text,
    )
