"""A server as a person types it into a form: a command line, an address, or pasted JSON."""

from __future__ import annotations

import re
import shlex
import sys

from slmdesk.core.errors import SlmDeskError
from slmdesk.tools.server import NewServer, read_pasted

_PAIR = re.compile(r"([^=:\s]+)\s*[=:]\s*(.*)")


def read_typed(name: str, what: str, values: str) -> list[NewServer]:
    """The servers. `values`: one NAME=VALUE a line, environment variables of a command or headers of an address.

    Raises `SlmDeskError("tool_server_invalid")`.
    """
    text = what.strip()
    if text.startswith(("{", "//", "/*")) or (text.startswith('"') and "{" in text):
        return read_pasted(text)
    named = name.strip() or _name_of(text)
    pairs = _pairs(values)
    if text.startswith(("http://", "https://")):
        return [NewServer.reached(named, text, pairs)]
    try:
        # On Windows a backslash parts folders and quotes nothing.
        words = shlex.split(text, posix=sys.platform != "win32")
    except ValueError as error:
        raise _invalid(
            f"The command cannot be read: {error}.", "Close what is opened by a quotation mark."
        ) from error
    if not words:
        raise _invalid(
            "There is no command and no address.", "Type what starts the server, or paste its JSON."
        )
    return [
        NewServer.started(named, words[0].strip('"'), tuple(word.strip('"') for word in words[1:]), pairs)
    ]


def _pairs(values: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, values.splitlines())):
        pair = _PAIR.fullmatch(line)
        if pair is None:  # not shown: it may be a key alone
            raise _invalid("A line of the keys is no name with a value.", "Write NAME=VALUE, one a line.")
        found[pair[1]] = pair[2]
    return found


def _name_of(text: str) -> str:
    """A name for a server that was given none: that of its machine, or of its package."""
    if text.startswith("http"):
        return text.split("//", 1)[1].split("/", 1)[0].split(":", 1)[0][:48] or "server"
    words = [re.split(r"[/\\]", word.rstrip("/\\"))[-1] for word in text.split() if not word.startswith("-")]
    plain = [re.sub(r"(@.*|\.(py|js|mjs|exe))$|[^A-Za-z0-9._-]", "", word) for word in words[:2]]
    return next((word[:48] for word in reversed(plain) if word), "server")


def _invalid(message: str, hint: str) -> SlmDeskError:
    return SlmDeskError("tool_server_invalid", message, hint)
