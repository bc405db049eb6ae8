"""What an MCP server is: how it is started or reached, without any secret; and the usual JSON of other programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from slmdesk.core.errors import SlmDeskError
from slmdesk.tools.tool import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Mapping

ServerKind = Literal["stdio", "http"]

MOST_SERVERS = 64
_MOST_PASTED = 1024 * 1024  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,47}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_SEEN_BY_OTHERS = re.compile(
    r"(^|[-_])(token|secret|password|api[-_]?key|access[-_]?key|bearer|authorization)([=:]|$)", re.IGNORECASE
)
# What other programs call the same thing.
_HTTP_TYPES = frozenset({"http", "streamable-http", "streamableHttp", "streamable_http"})


class McpServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server as it is kept. Values of `env_names` and `header_names`, and a query of the address, are in the
    keyring.

    stdio: `command` with `args` is started, in the folder `cwd` ("": the person's own). http: `url` is asked.
    """

    name: str
    kind: ServerKind
    command: str = ""
    args: tuple[str, ...] = ()
    cwd: str = ""
    env_names: tuple[str, ...] = ()
    url: str = ""
    header_names: tuple[str, ...] = ()
    has_query: bool = False
    enabled: bool = True

    @property
    def on_this_machine(self) -> bool:
        """Whether talking to it makes no connection to another machine of ours."""
        return self.kind == "stdio" or (urlsplit(self.url).hostname or "") in _LOCAL

    @property
    def where(self) -> str:
        """How it is started or reached, for showing."""
        return self.url if self.kind == "http" else " ".join((self.command, *self.args))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it."""
        shown = [arg for arg in self.args if _SEEN_BY_OTHERS.search(arg)]
        if not shown:
            return ()
        argument = shown[0].partition("=")[0]
        seen = f"The argument “{argument}” looks as if a key came with it, and other programs here see arguments."
        return (f"{seen} Give it as an environment variable if the server takes one.",)

    def to_json(self) -> dict[str, Any]:
        """For showing: nothing of it is secret."""
        data: dict[str, Any] = {"name": self.name, "kind": self.kind, "enabled": self.enabled}
        if self.kind == "http":
            return data | {"url": self.url, "headers": list(self.header_names)}
        more = {"cwd": self.cwd} if self.cwd else {}
        return data | {"command": self.command, "args": list(self.args), "env": list(self.env_names), **more}


class NewServer(msgspec.Struct, frozen=True):
    """A server as a person gives it, secrets and all. `env`, `headers`: names and values."""

    server: McpServer
    env: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    query: str = ""

    def __repr__(self) -> str:
        return f"NewServer({self.server!r})"

    @classmethod
    def started(
        cls,
        name: str,
        command: str,
        args: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: str = "",
    ) -> NewServer:
        """One that is started here. Raises `SlmDeskError("tool_server_invalid")`."""
        values = dict(env or {})
        for variable in values:
            if not _VARIABLE.fullmatch(variable):
                raise _invalid(name, f"“{variable[:60]}” is no name of an environment variable")
        texts = (command, *args, cwd, *values.values())
        if not command.strip():
            raise _invalid(name, "it has no command")
        if any("\x00" in text for text in texts) or sum(map(len, texts)) > 32_000:
            raise _invalid(name, "its command cannot be given to a process")
        server = McpServer(
            checked_name(name), "stdio", command.strip(), tuple(args), cwd.strip(), tuple(sorted(values))
        )
        return cls(server, env=values)

    @classmethod
    def reached(cls, name: str, url: str, headers: Mapping[str, str] | None = None) -> NewServer:
        """One that is reached by HTTP. Raises `SlmDeskError("tool_server_invalid")`."""
        values = dict(headers or {})
        for header, value in values.items():
            if not _HEADER.fullmatch(header) or not value.isascii() or not value.isprintable():
                raise _invalid(name, f"the header “{header[:60]}” cannot be sent")
        address, mark, query = url.strip().partition("?")
        try:
            parts = urlsplit(address)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not address.isprintable() or " " in address or "#" in address:
            raise _invalid(name, "its address is none, such as https://example.org/mcp")
        if "@" in parts.netloc:
            raise _invalid(name, "its address holds a login; give that as the header Authorization")
        if parts.scheme == "http" and values and (parts.hostname or "") not in _LOCAL:
            raise _invalid(name, "its headers would be sent readable by everybody on the way: use https")
        server = McpServer(
            checked_name(name), "http", url=address, header_names=tuple(sorted(values)), has_query=bool(mark)
        )
        return cls(server, headers=values, query=query)


def checked_name(name: str) -> str:
    """A name a server may have. Raises `SlmDeskError("tool_server_invalid")`."""
    told = name.strip()
    if not _NAME.fullmatch(told) or told.casefold() == BUILT_IN:
        raise SlmDeskError(
            "tool_server_invalid",
            f"{name[:60]!r} is no name for a server of tools.",
            "Take up to 48 letters, digits, spaces and . _ - @, as in “files” or “my-notes”.",
        )
    return told


def read_pasted(text: str) -> list[NewServer]:
    """The servers in the usual JSON, `{"mcpServers": {"name": {"command": …, "args": […], "env": {…}} | {"url": …}}}`.

    Also as VS Code writes it (`servers`), the inner object alone, and with `//` comments and commas at ends as
    editors allow them. Raises `SlmDeskError("tool_server_invalid")`, which names the server and the field.
    """
    found = _object(text)
    servers = next((found[key] for key in ("mcpServers", "servers", "mcp_servers") if key in found), found)
    if isinstance(servers, dict) and {"command", "url", "serverUrl"} & servers.keys():
        servers = {_named_after(servers): servers}
    if not isinstance(servers, dict) or not servers:
        raise _unreadable("There is no server in it")
    return [_one(str(name), value) for name, value in servers.items()]


def _object(text: str) -> dict[str, Any]:
    if len(text) > _MOST_PASTED:
        raise _unreadable("It is longer than a megabyte")
    bare = text.strip().lstrip("\ufeff")
    if bare.startswith('"'):
        bare = "{" + bare.rstrip(",") + "}"  # an entry copied out of its list
    for candidate in (bare, _without_comments(bare)):
        try:
            found = msgspec.json.decode(candidate.encode())
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            problem = str(error)
            continue
        if isinstance(found, dict):
            return found
        problem = "it is no object"
    raise _unreadable(f"It is not written as JSON ({problem})")


def _without_comments(text: str) -> str:
    """JSON as editors allow it: comments and commas before a closing bracket are taken away, texts stay."""
    tokens = re.compile(
        r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL
    )
    return tokens.sub(lambda found: found[0] if found[0].startswith('"') else "", text)


def _named_after(entry: dict[str, Any]) -> str:
    """A name for a server that came without: its address' machine, or the last word of its command that is one."""
    url = entry.get("url") or entry.get("serverUrl")
    if isinstance(url, str):
        return (urlsplit(url).hostname or "server").removeprefix("www.")
    words = [str(entry.get("command", "")), *map(str, entry.get("args") or [])]
    plain = [re.split(r"[/\\@]", word.rstrip("/"))[-1] for word in words if not word.startswith("-")]
    named = [re.sub(r"[^A-Za-z0-9._-]", "", word) for word in plain]
    return next((word[:48] for word in reversed(named) if word), "server")


def _one(name: str, entry: Any) -> NewServer:
    if not isinstance(entry, dict):
        raise _invalid(name, "it is no object with “command” or “url”")
    kind = entry.get("type") or entry.get("transport") or ""
    url = entry.get("url") or entry.get("serverUrl") or entry.get("httpUrl")
    if kind == "sse":
        raise _invalid(
            name, "it uses the old SSE transport; most servers offer streamable HTTP at another address, /mcp"
        )
    if kind and kind not in _HTTP_TYPES and kind != "stdio":
        raise _invalid(name, f"its type “{str(kind)[:40]}” is not known; stdio and http are")
    if url and kind != "stdio":
        made = NewServer.reached(name, _text(name, "url", url), _texts(name, "headers", entry.get("headers")))
    elif "command" in entry:
        args = entry.get("args") or []
        if not isinstance(args, list):
            raise _invalid(name, "“args” is no list of texts")
        made = NewServer.started(
            name,
            _text(name, "command", entry["command"]),
            tuple(_text(name, "args", arg) for arg in args),
            _texts(name, "env", entry.get("env")),
            _text(name, "cwd", entry.get("cwd") or ""),
        )
    else:
        raise _invalid(name, "it has neither “command” nor “url”")
    if entry.get("disabled") is True or entry.get("enabled") is False:
        made = msgspec.structs.replace(made, server=msgspec.structs.replace(made.server, enabled=False))
    return made


def _text(name: str, field: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _invalid(name, f"“{field}” is no text")
    if "${input:" in value:
        raise _invalid(
            name, f"“{field}” asks for a value (${{input:…}}) that only VS Code has; write the value there"
        )
    return value


def _texts(name: str, field: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(name, f"“{field}” is no object of texts")
    return {str(key): _text(name, field, one) for key, one in value.items()}


def _invalid(name: str, why: str) -> SlmDeskError:
    return SlmDeskError(
        "tool_server_invalid",
        f"The server “{name[:60]}” cannot be added: {why}.",
        "Its own documentation shows what to write.",
    )


def _unreadable(why: str) -> SlmDeskError:
    return SlmDeskError(
        "tool_server_invalid",
        f"That is no list of servers: {why}.",
        'It looks like {"mcpServers": {"files": {"command": "npx", "args": ["-y", "some-server"]}}}.',
    )
