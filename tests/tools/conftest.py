"""The room of tools with real servers: child processes, and HTTP on the loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.core.paths import Paths
from slmdesk.core.secrets import Secrets
from slmdesk.tools.kept import ToolKeeping
from slmdesk.tools.server import NewServer
from slmdesk.tools.toolbox import Tools

HERE = Path(__file__).parent


def good(name: str = "good", env: dict[str, str] | None = None) -> NewServer:
    """The test's own server, started here."""
    return NewServer.started(name, sys.executable, (str(HERE / "mcp_server.py"), "stdio"), env)


def bad(mode: str, *more: str) -> NewServer:
    """A server that misbehaves."""
    return NewServer.started(mode, sys.executable, (str(HERE / "bad_server.py"), mode, *more))


@pytest.fixture
def application(paths: Paths) -> Application:
    return Application.build()


@pytest.fixture
def keeping(application: Application) -> ToolKeeping:
    return ToolKeeping(application.paths.tools, Secrets())


@pytest.fixture
async def tools(application: Application, keeping: ToolKeeping) -> AsyncIterator[Tools]:
    made = Tools(keeping, application.hub, application.settings)
    yield made
    await made.close()
    await application.close()


@pytest.fixture
async def hasty(application: Application, keeping: ToolKeeping) -> AsyncIterator[Tools]:
    """One with little patience for servers that start."""
    made = Tools(keeping, application.hub, application.settings, start_s=3.0)
    yield made
    await made.close()
    await application.close()


@pytest.fixture
async def http_server(tmp_path: Path) -> AsyncIterator[str]:
    """The test's server by HTTP, which wants the key “open-sesame-42”; its address."""
    told = tmp_path / "port"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "mcp_server.py"), "http", str(told), "open-sesame-42"
    )
    try:
        while not told.exists():
            assert process.returncode is None
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{told.read_text()}/mcp"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture(autouse=True)
def _a_keyring_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the keyring of who runs it."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
