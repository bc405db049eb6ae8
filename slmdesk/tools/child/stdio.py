"""The way to an MCP server that is started here: its process, and messages on its stdin and stdout, a line each.

The `mcp` package has such a transport too; it takes lines of any length, which a server that runs away would fill the
memory with, and gives the server an environment of its own choice.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import child_environment, start_child
from slmdesk.tools.wire import LARGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    from slmdesk.core.processes import ChildProcess
    from slmdesk.tools.wire import ServerSpec

    Received = MemoryObjectSendStream[SessionMessage | Exception]
    Sent = MemoryObjectReceiveStream[SessionMessage]
    Streams = tuple[
        MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
    ]

_END_S = 1.0  # for a server to end by itself once its stdin is closed
_DEATH_S = 1.0  # until the status of one that closed its stdout is there
_ID = re.compile(
    rb'"id"\s*:\s*(\d{1,18}|"[A-Za-z0-9_-]{1,64}")'
)  # not by a parser: the line may be what none reads
_SHOWN = 200  # characters of a line that is no message
_WITHOUT_NETWORK = {"npm_config_offline": "true", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
_INSTALL = {
    "npx": "Install Node.js, which brings npx.",
    "node": "Install Node.js.",
    "uvx": "Install uv, which brings uvx.",
    "uv": "Install uv.",
    "docker": "Install Docker, and start it.",
    "python": "Install Python, or name the one to use by its path.",
    "python3": "Install Python, or name the one to use by its path.",
}


class StartedServer:
    """A running server. `process` is None until it was started; `unreadable` is the first line that was no message."""

    def __init__(self, spec: ServerSpec) -> None:
        self._spec = spec
        self.process: ChildProcess | None = None
        self.unreadable = ""
        self.too_large = False
        self._silent = asyncio.Event()  # nothing more comes from it

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Streams]:
        """Messages from it and to it. Raises `SlmDeskError("tool_server_failed")` where it cannot be started."""
        self.process = process = await self._start()
        to_us, ours = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        theirs, to_them = anyio.create_memory_object_stream[SessionMessage](0)
        reading = asyncio.create_task(self._read(process, to_us))
        writing = asyncio.create_task(self._write(process, to_them, to_us))
        try:
            yield ours, theirs
        finally:
            for stream in (to_us, ours, theirs, to_them):
                stream.close()
            for task in (reading, writing):
                task.cancel()
            await asyncio.wait((reading, writing))
            process.stdin.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_S)
            await process.terminate_tree(_END_S)

    @property
    def over(self) -> bool:
        """Whether nothing more comes from it."""
        return self._silent.is_set()

    async def gone(self) -> None:
        """Returns once it ended, or nothing more can come from it."""
        await self._silent.wait()

    async def status(self) -> int | None:
        """The exit status of a server that is ending; None: it runs."""
        if self.process is None:
            return None
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.process.wait(), _DEATH_S)
        return None

    async def _start(self) -> ChildProcess:
        spec = self._spec
        env = {**(_WITHOUT_NETWORK if spec.offline else {}), **spec.env}
        program = shutil.which(spec.command, path=child_environment(env).get("PATH"))
        if program is None:
            raise SlmDeskError(
                "tool_server_failed",
                f"“{spec.command}” is not on this machine.",
                _INSTALL.get(Path(spec.command).stem.lower(), "Install it, or name it by its path."),
            )
        folder = _folder(spec.cwd)
        try:
            return await start_child(
                (program, *spec.args), env=env, cwd=folder, on_stderr=_told, own_group=False
            )
        except SlmDeskError as error:
            raise SlmDeskError("tool_server_failed", error.message, error.hint) from error

    async def _read(self, process: ChildProcess, to_us: Received) -> None:
        """Until it ends: a line over the limit, like the end of its stdout, ends the connection."""
        try:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError), to_us:
                await self._read_lines(process, to_us)
        finally:
            self._silent.set()

    async def _read_lines(self, process: ChildProcess, to_us: Received) -> None:
        data = bytearray()
        while chunk := await process.stdout.read(65536):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                data += line
                await self._take(bytes(data), to_us)
                data.clear()
            data += rest
            if len(data) > LARGEST_MESSAGE:
                self.too_large = True
                return

    async def _take(self, line: bytes, to_us: Received) -> None:
        if not line.strip():
            return
        try:
            message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError:
            # Servers greet on stdout, and some log there: what is no message is a line of the log.
            shown = line[:_SHOWN].decode("utf-8", "replace").strip()
            _told(shown)
            broken = _broken_answer(line)
            if broken is None:
                self.unreadable = self.unreadable or shown
                return
            message = SessionMessage(broken)
        await to_us.send(message)

    async def _write(self, process: ChildProcess, to_them: Sent, to_us: Received) -> None:
        try:
            async with to_them:
                async for sent in to_them:
                    text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            to_us.close()


def _broken_answer(line: bytes) -> JSONRPCError | None:
    """What stands in for an answer that cannot be read, so that nobody waits for it; None for what is no answer."""
    found = _ID.search(line)
    if found is None or not line.lstrip().startswith(b"{") or b'"method"' in line:
        return None
    number = json.loads(found[1].decode("utf-8", "replace"))
    error = ErrorData(code=PARSE_ERROR, message="what it answered cannot be read")
    return JSONRPCError(jsonrpc="2.0", id=number, error=error)


def _folder(named: str) -> Path:
    folder = Path(named).expanduser() if named else Path.home()
    if not folder.is_dir():
        raise SlmDeskError("tool_server_failed", f"The folder {folder} is not there.", "Name another one.")
    return folder


def _told(line: str) -> None:
    """A line of the server's log; the parent keeps the last of them."""
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
