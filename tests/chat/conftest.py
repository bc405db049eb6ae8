"""A database in a folder of the test; the whole application with one service that all tests of the room share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from slmdesk.application import Application
from slmdesk.chat import store
from slmdesk.chat.turns import TurnOptions
from slmdesk.core.database import Database
from slmdesk.core.paths import STARTER_VARIABLE, Paths
from slmdesk.core.state import StateFile
from slmdesk.inference.asks import Sampling

GREEDY = TurnOptions(Sampling(temperature=0.0))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "chats.sqlite3", store.MIGRATIONS)
    yield database
    database.close()


@pytest.fixture(scope="session")
def service_home(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Path]:
    """A home whose service, once started, stays for all tests."""
    home = tmp_path_factory.mktemp("home")
    lasting_homes.add(str(home))
    yield home
    asyncio.run(end_service(home))


@pytest.fixture
async def application(service_home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    use_home(monkeypatch, service_home)
    application = Application.build()
    yield application
    await application.close()


def use_home(monkeypatch: pytest.MonkeyPatch, home: Path, **settings: str) -> None:
    """Let this process and its children live in `home`, without settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("SLMDESK_") and name != STARTER_VARIABLE]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLMDESK_HOME", str(home))
    for name, value in settings.items():
        monkeypatch.setenv(f"SLMDESK_{name}", value)


async def end_service(home: Path) -> None:
    application = Application.build({"SLMDESK_HOME": str(home), STARTER_VARIABLE: ""}, keep_chats=False)
    try:
        client = await application.connector.attached()
        if client is not None:
            await client.shutdown()
    finally:
        await application.close()


def service_process(paths: Paths) -> psutil.Process:
    pid = StateFile(paths.service_state).get("pid")
    assert isinstance(pid, int)
    return psutil.Process(pid)


def engine_processes(paths: Paths) -> list[psutil.Process]:
    engines = [child for child in service_process(paths).children() if "engine" in child.cmdline()]
    assert engines
    return engines
