"""Real services in homes of their own; one of them, started by hand, is shared by the tests of the API."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from slmdesk.core.paths import STARTER_VARIABLE, Paths
from slmdesk.core.settings import Settings
from slmdesk.serving.client import ServiceClient
from slmdesk.serving.connector import ServiceConnector
from slmdesk.serving.discovery import ServiceState, read_state

MODEL = "slmdesk/desk-guide"

# The tokens that end an answer, forbidden: the model goes on until the context is full.
ENDLESS: dict[str, Any] = {"logit_bias": {"2": -100, "3": -100, "5": -100}, "temperature": 1}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, in the shape every client of the API expects."""
        error = self.json["error"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        assert set(error) >= {"message", "type", "param", "code"}
        assert isinstance(error, dict)
        return error

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of a stream's events; the end mark must be the last one."""
        events = self.body.decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        assert all(event.startswith("data: ") for event in events[:-1])
        return [json.loads(event[6:]) for event in events[:-2]]


@dataclass
class Running:
    """A service process and a plain HTTP client for it, which shares no code with the program."""

    process: subprocess.Popen[str]
    url: str
    paths: Paths

    @property
    def netloc(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def own(self) -> dict[str, str]:
        """What a front end of this user sends."""
        state = read_state(self.paths.service_state)
        assert state is not None
        return {"Authorization": f"Bearer {state.token}"}

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.netloc, timeout=60)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = self.connection()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask("POST", path, body, headers)

    def chat(self, **fields: Any) -> Answer:
        """One question with the most likely answer; fields add to the request or replace."""
        request = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "What is Q4_K_M?"}],
            "temperature": 0,
            "max_tokens": 12,
            **fields,
        }
        return self.post(
            "/v1/chat/completions", {key: value for key, value in request.items() if value != "absent"}
        )

    def status(self, model: str = MODEL) -> dict[str, Any]:
        """What the status tells about one model; {} when it is not loaded."""
        answer = self.ask("GET", "/slmdesk/v1/status", headers=self.own)
        found = [entry for entry in answer.json["loaded"] if model in entry["names"]]
        return found[0] if found else {}


@contextmanager
def serve(home: Path, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`slmdesk serve` with these arguments, ready; ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "slmdesk", "serve", "--port", "0", "--json", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(home, env),
    )
    try:
        assert process.stdout is not None
        event: dict[str, Any] = {}
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                break
        else:
            raise AssertionError(f"the service ended: {event} {process.communicate()[1]}")
        yield Running(process, event["result"]["url"], Paths.resolve({"SLMDESK_HOME": str(home)}))
    finally:
        process.terminate()
        process.communicate(timeout=30)


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLMDESK_") or name == STARTER_VARIABLE
    }
    return {**kept, "SLMDESK_HOME": str(home), **(extra or {})}


def free_port() -> int:
    """A port of the loopback that nobody listens at right now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def other_address() -> str:
    """An address of this machine that is not loopback stands for another machine: it is seen as the caller's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only asks for the way there
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition; the limit only ends a test that has failed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def kill(pid: int) -> None:
    """End a process at once, and wait until it is gone."""
    try:
        process = psutil.Process(pid)
        process.kill()
    except psutil.NoSuchProcess:
        return  # it was ended before
    until(lambda: _ended(process), f"the end of {pid}")


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, lasting_homes: set[str]) -> Iterator[Running]:
    """A service started by hand with the built-in model loaded: no key is needed."""
    home = tmp_path_factory.mktemp("by-hand")
    lasting_homes.add(str(home))
    with serve(home, "--model", MODEL) as running:
        yield running


@pytest.fixture
async def client(service: Running) -> AsyncIterator[ServiceClient]:
    """Our own client, to the service that the tests share."""
    state = read_state(service.paths.service_state)
    assert state is not None
    client = ServiceClient(state.url, state.token)
    yield client
    await client.close()


def _is_engine(process: psutil.Process) -> bool:
    try:
        return "engine" in process.cmdline()
    except psutil.Error:
        return False  # it ended just now


@dataclass
class Front:
    """A front end in a home of one test."""

    paths: Paths
    connector: ServiceConnector

    @property
    def state(self) -> ServiceState:
        state = read_state(self.paths.service_state)
        assert state is not None
        return state

    @property
    def engines(self) -> list[int]:
        """Process ids of the engines of this home's service."""
        return [child.pid for child in psutil.Process(self.state.pid).children() if _is_engine(child)]

    async def client(self) -> ServiceClient:
        return await self.connector.connect()


@pytest.fixture
async def front(paths: Paths) -> AsyncIterator[Front]:
    """An empty home and a connector to its service. Whatever service a test leaves in it is ended."""
    connector = ServiceConnector(paths, Settings(paths.settings_file))
    yield Front(paths, connector)
    await connector.close()
    state = read_state(paths.service_state)
    if state is not None and state.alive:
        psutil.Process(state.pid).terminate()
        until(lambda: not state.alive, "the end of the service")
