"""The real program as a child process, in homes of its own. One home has a service that all its tests share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.database import Database
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.paths import STARTER_VARIABLE, Paths
from slmdesk.core.settings import Settings
from slmdesk.schema import MIGRATIONS


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """What the last event, which must be `done`, holds."""
        last = self.events[-1]
        assert last["event"] == "done", last
        value = last["result"]
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> dict[str, str]:
        last = self.events[-1]
        assert last["event"] == "error", last
        value = last["error"]
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Program:
    """`slmdesk` in one home."""

    home: Path

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-P", "-m", "slmdesk", *args]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if (not name.startswith("SLMDESK_") or name == STARTER_VARIABLE)
            and name not in {"DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"}
        }
        return kept | {"SLMDESK_HOME": str(self.home), "PYTHONUTF8": "1"} | dict(extra or {})

    def run(
        self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 90
    ) -> Result:
        done = subprocess.run(
            self.command(*args),
            input=stdin.encode(),
            capture_output=True,
            env=self.environment(env),
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    @property
    def database(self) -> Path:
        return self.home / "data" / "slmdesk.sqlite3"


async def end_service(home: Path) -> None:
    from slmdesk.serving.connector import ServiceConnector

    paths = Paths.resolve({"SLMDESK_HOME": str(home)})
    connector = ServiceConnector(paths, Settings(paths.settings_file, {}))
    try:
        client = await connector.attached()
        if client is not None:
            await client.shutdown()
    finally:
        await connector.close()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """In a fresh home; for what needs no service."""
    return Program(tmp_path / "home")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Program]:
    """In a home whose service, once started, stays for all tests."""
    home = tmp_path_factory.mktemp("home")
    lasting_homes.add(str(home))
    yield Program(home)
    asyncio.run(end_service(home))


@pytest.fixture
def quantizing(program: Program) -> Iterator[Program]:
    """The process that runs the jobs is ended behind the test."""
    yield program
    paths = Paths.resolve({"SLMDESK_HOME": str(program.home)})

    async def end() -> None:
        database = Database(paths.database, MIGRATIONS)
        try:
            assert await Jobs(database, paths).end_runner()
        finally:
            database.close()

    asyncio.run(end())
