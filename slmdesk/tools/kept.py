"""What is kept of tools: the servers, and the tools that may be called without asking. A file of this user."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import filelock
import msgspec

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.tools.server import MOST_SERVERS, McpServer, NewServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from slmdesk.core.secrets import Secrets

_LOCK_S = 10.0


class KeptTools(msgspec.Struct, frozen=True):
    """The file. `always`: keys of tools that a person allowed once for all."""

    servers: tuple[McpServer, ...] = ()
    always: tuple[str, ...] = ()
    version: int = 1

    def server(self, name: str) -> McpServer:
        """The server of this name. Raises `SlmDeskError("tool_server_missing")`."""
        for server in self.servers:
            if server.name.casefold() == name.strip().casefold():
                return server
        known = ", ".join(server.name for server in self.servers)
        raise SlmDeskError(
            "tool_server_missing",
            f"There is no server of tools called “{name[:60]}”.",
            f"There is: {known}." if known else "“slmdesk tools add” adds one.",
        )


class ToolKeeping:
    """Reads and changes the file, which other programs do too; values that may be secret go to the keyring. Blocks."""

    def __init__(self, path: Path, secrets: Secrets) -> None:
        self._path = path
        self._secrets = secrets

    def read(self) -> KeptTools:
        """What is kept now. Raises `tools_damaged`, `file_unreadable`."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=KeptTools)
        except FileNotFoundError:
            return KeptTools()
        except OSError as error:
            raise SlmDeskError(
                "file_unreadable",
                f"{self._path} cannot be read: {error.strerror or error}.",
                "Check its permissions.",
            ) from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise SlmDeskError(
                "tools_damaged",
                f"{self._path}, which holds the servers of tools, is damaged: {error}.",
                "Correct it, or delete it and add the servers again.",
            ) from error

    def add(self, new: Iterable[NewServer], *, replace: bool = False) -> list[McpServer]:
        """Keep servers, all of them or none. Raises `tool_server_exists` unless they may `replace` others."""
        wanted = list(new)
        with self._changing() as kept:
            servers = {server.name.casefold(): server for server in kept.servers}
            for one in wanted:
                name = one.server.name
                if name.casefold() in servers and not replace:
                    raise SlmDeskError(
                        "tool_server_exists",
                        f"There is a server of tools called “{name}” already.",
                        "Choose another name, or remove that one first.",
                    )
                servers[name.casefold()] = one.server
            if len(servers) > MOST_SERVERS:
                raise SlmDeskError(
                    "tool_server_invalid",
                    f"More than {MOST_SERVERS} servers cannot be kept.",
                    "Remove some that are not used.",
                )
            for one in wanted:
                self._keep_values(one)
            # What was allowed of another server of that name is not allowed of this one.
            names = {one.server.name.casefold() for one in wanted}
            always = tuple(key for key in kept.always if key.partition("/")[0].casefold() not in names)
            self._write(KeptTools(tuple(servers.values()), always))
        return [one.server for one in wanted]

    def remove(self, name: str) -> NewServer:
        """Forget a server, its secrets, and what was allowed of it; returns all of it, for an undo.

        Raises `tool_server_missing`.
        """
        with self._changing() as kept:
            gone = self.with_values(kept.server(name))
            left = tuple(server for server in kept.servers if server != gone.server)
            prefix = f"{gone.server.name}/"
            always = tuple(key for key in kept.always if not key.startswith(prefix))
            self._write(msgspec.structs.replace(kept, servers=left, always=always))
        for secret in _secrets_of(gone.server):
            self._secrets.delete(secret)
        return gone

    def enable(self, name: str, on: bool) -> McpServer:
        """Use a server, or leave it alone. Raises `tool_server_missing`."""
        with self._changing() as kept:
            server = kept.server(name)
            changed = msgspec.structs.replace(server, enabled=on)
            servers = tuple(changed if one == server else one for one in kept.servers)
            self._write(msgspec.structs.replace(kept, servers=servers))
        return changed

    def allow(self, key: str, always: bool) -> None:
        """Let a tool be called without asking from now on, or have it asked for again."""
        with self._changing() as kept:
            keys = dict.fromkeys(kept.always)
            if always:
                keys[key] = None
            else:
                keys.pop(key, None)
            self._write(msgspec.structs.replace(kept, always=tuple(keys)))

    def with_values(self, server: McpServer) -> NewServer:
        """The server with the values of variables and headers. Raises `tool_server_missing` where those are gone."""
        found = {secret: self._secrets.get(secret) for secret in _secrets_of(server)}
        if missing := [secret for secret, value in found.items() if value is None]:
            raise SlmDeskError(
                "tool_server_missing",
                f"What the server “{server.name}” needs is not in the keyring: {missing[0].rpartition(':')[2]}.",
                "Unlock the keyring, or add the server again.",
            )
        told = {secret: value or "" for secret, value in found.items()}
        return NewServer(
            server,
            {name: told[_secret(server, "env", name)] for name in server.env_names},
            {name: told[_secret(server, "header", name)] for name in server.header_names},
            told.get(_secret(server, "address", "query"), ""),
        )

    def _keep_values(self, new: NewServer) -> None:
        """Each value by itself: Windows' keyring takes 1 280 characters and no more."""
        server = new.server
        for name, value in new.env.items():
            self._secrets.set(_secret(server, "env", name), value)
        for name, value in new.headers.items():
            self._secrets.set(_secret(server, "header", name), value)
        if server.has_query:
            self._secrets.set(_secret(server, "address", "query"), new.query)

    def _write(self, kept: KeptTools) -> None:
        atomic_write(self._path, msgspec.json.format(msgspec.json.encode(kept)), mode=0o600)

    @contextmanager
    def _changing(self) -> Iterator[KeptTools]:
        """One program changes the file at a time."""
        lock = filelock.FileLock(str(self._path.with_suffix(".lock")), timeout=_LOCK_S, mode=0o600)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # filelock's Timeout is an OSError
            raise SlmDeskError(
                "lock_failed",
                f"{self._path} cannot be locked: {error}.",
                "Check the permissions there, and that no other slmdesk hangs.",
            ) from error
        try:
            yield self.read()
        finally:
            lock.release()


def _secret(server: McpServer, kind: str, name: str) -> str:
    return f"tools:{server.name.casefold()}:{kind}:{name}"


def _secrets_of(server: McpServer) -> list[str]:
    """The names by which the keyring has what a server needs."""
    query = [_secret(server, "address", "query")] if server.has_query else []
    return [
        *(_secret(server, "env", name) for name in server.env_names),
        *(_secret(server, "header", name) for name in server.header_names),
        *query,
    ]
