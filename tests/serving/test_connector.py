"""One service a user: found, started, shared, replaced and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.processes import process_create_time
from slmdesk.core.settings import Settings
from slmdesk.serving.connector import ServiceConnector
from slmdesk.serving.discovery import ServiceState, UserLock, read_state, remove_state, write_state
from tests.asking import chatting

from .conftest import ENDLESS, MODEL, Front, environment, kill, serve, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(90)

# A front end as a process of its own: connects, asks, and tells which service it found.
FRONT_END = """
import asyncio, json, sys
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.serving.connector import ServiceConnector

async def main():
    paths = Paths.resolve()
    connector = ServiceConnector(paths, Settings(paths.settings_file))
    sys.stdin.readline()
    client = await connector.connect()
    print(json.dumps({"pid": (await client.health())["pid"], "url": client.url}))
    await connector.close()

asyncio.run(main())
"""


def serve_once(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """`slmdesk serve` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "slmdesk", "serve", "--json", *args],
        capture_output=True,
        text=True,
        env=environment(home),
        check=False,
        timeout=60,
    )


def services_of(home: Path) -> list[psutil.Process]:
    """Every service process of this home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "serve" not in (process.info["cmdline"] or []):
            continue
        try:
            if (
                process.environ().get("SLMDESK_HOME") == str(home)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_ten_front_ends_at_once_find_one_service(home: Path) -> None:
    fronts = [
        subprocess.Popen(
            [sys.executable, "-c", FRONT_END],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(home),
        )
        for _ in range(10)
    ]
    for front in fronts:
        assert front.stdin is not None
        front.stdin.write("go\n")
        front.stdin.flush()
    outputs = [front.communicate(timeout=80) for front in fronts]
    try:
        assert [front.returncode for front in fronts] == [0] * 10, outputs
        found = {json.loads(out)["pid"] for out, _ in outputs}
        assert len(found) == 1
        assert [process.pid for process in services_of(home)] == list(found)
        log = (Paths.resolve({"SLMDESK_HOME": str(home)}).logs / "service.log").read_text()
        assert log.count("answering at") == 1
    finally:
        for process in services_of(home):
            process.terminate()
    until(lambda: not services_of(home), "the end of the service")


def test_ten_services_at_once_leave_one(home: Path) -> None:
    """Also without the front ends' own lock: the service's lock alone decides."""
    command = [sys.executable, "-m", "slmdesk", "serve", "--on-demand", "--json"]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment(home)
        )
        for _ in range(10)
    ]
    paths = Paths.resolve({"SLMDESK_HOME": str(home)})
    try:
        until(lambda: sum(process.poll() is None for process in started) == 1, "nine of them to end", 60)
        (left,) = [process for process in started if process.poll() is None]
        assert sorted(process.returncode for process in started if process is not left) == [0] * 9
        until(
            lambda: (state := read_state(paths.service_state)) is not None and state.pid == left.pid,
            "the file",
        )
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate(timeout=30)
    assert read_state(paths.service_state) is None


async def test_a_known_service_is_asked_again_without_looking(front: Front) -> None:
    client = await front.client()
    assert await front.client() is client
    assert await front.connector.attached() is client
    front.connector.forget()
    again = await front.client()
    assert again.url == client.url
    other = ServiceConnector(front.paths, Settings(front.paths.settings_file))
    attached = await other.attached()
    assert attached is not None
    assert attached.url == client.url
    await other.close()


async def test_no_service_is_started_unasked(front: Front) -> None:
    assert await front.connector.attached() is None
    with pytest.raises(SlmDeskError) as nobody:
        await front.connector.connect(start=False)
    assert nobody.value.code == "service_unreachable"
    assert not front.paths.service_state.exists()


async def stale(front: Front, **changes: Any) -> ServiceState:
    """Leave a state file behind that no living service wrote, with a listener that must not see its token."""
    state = ServiceState(
        port=1,
        pid=os.getpid(),
        create_time=process_create_time(),
        token="left behind",
        version="0.0.1",
        url="http://127.0.0.1:1",
        started_by="demand",
    )
    state = replace(state, **changes)
    write_state(front.paths.service_state, state)
    return state


async def test_a_state_file_of_a_dead_process_is_ignored(front: Front) -> None:
    dead = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await dead.wait()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        port = stranger.getsockname()[1]
        left = await stale(front, pid=dead.pid, port=port, url=f"http://127.0.0.1:{port}")
        client = await front.client()
        assert (await client.health())["pid"] == front.state.pid != left.pid
        with pytest.raises(TimeoutError):  # the token went to nobody
            stranger.accept()


async def test_a_state_file_whose_process_id_was_used_again_is_ignored(front: Front) -> None:
    left = await stale(front, create_time=process_create_time() - 1000)
    client = await front.client()
    assert (await client.health())["pid"] != left.pid


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"port": "x"}', b"\xff\x00", b'{"pid": 1}'])
async def test_a_damaged_state_file_is_ignored(paths: Paths, content: bytes) -> None:
    paths.service_state.write_bytes(content)
    assert read_state(paths.service_state) is None


@pytest.mark.slow
async def test_a_service_that_hangs_is_said_to_hang(front: Front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        await stale(front, port=port, url=f"http://127.0.0.1:{port}")
        with pytest.raises(SlmDeskError) as hanging:
            await front.connector.connect()
    assert hanging.value.code == "service_unreachable"
    remove_state(front.paths.service_state, os.getpid())


async def test_front_ends_use_a_service_started_by_hand(front: Front, home: Path) -> None:
    with serve(home) as running:
        client = await front.client()
        assert client.url == running.url
        assert front.state.started_by == "hand"
        second = await asyncio.to_thread(serve_once, home)
        assert second.returncode == 1
        error = json.loads(second.stdout.splitlines()[-1])["error"]
        assert error["code"] == "service_running"
        assert running.url in error["message"]
        assert running.ask("GET", "/health").status == 200
    assert not front.paths.service_state.exists()


async def test_an_idle_service_makes_way_for_one_started_by_hand(front: Front, home: Path) -> None:
    client = await front.client()
    before = front.state
    with serve(home) as running:
        until(lambda: not before.alive, "the end of the one before")
        assert (await front.client()).url == running.url
        with pytest.raises(SlmDeskError):
            await client.health()


async def test_a_busy_service_does_not_make_way(front: Front, home: Path) -> None:
    client = await front.client()
    async with aclosing(client.ask(chatting(MODEL, [{"role": "user", "content": "Hi"}], ENDLESS))) as events:
        async for event in events:
            if isinstance(event, str):
                break
        refused = await asyncio.to_thread(serve_once, home)
        assert refused.returncode == 1
        assert json.loads(refused.stdout.splitlines()[-1])["error"]["code"] == "service_busy"
        assert isinstance(await anext(events), str)


def test_a_service_started_on_demand_ends_when_idle(home: Path) -> None:
    paths = Paths.resolve({"SLMDESK_HOME": str(home)})
    process = subprocess.Popen(
        [sys.executable, "-m", "slmdesk", "serve", "--on-demand", "--idle-s", "1", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(home),
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["ready", "done"]
    assert events[-1]["result"] == {"reason": "idle"}
    assert not paths.service_state.exists()
    assert "nobody used the service" in (paths.logs / "service.log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to another process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_answers_engines_and_the_file(home: Path, number: signal.Signals, code: int) -> None:
    with serve(home, "--model", MODEL) as running:
        engine = running.status()["pid"]
        connection = running.connection()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True, **ENDLESS}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.readline().startswith(b"data: ")
        running.process.send_signal(number)
        rest = response.read()  # the stream is ended in order, with the reason as its last event
        last = json.loads(rest.strip().splitlines()[-1].removeprefix(b"data: "))
        assert last["error"]["code"] == "service_stopping"
        connection.close()
        assert running.process.wait(timeout=30) == code
        assert not psutil.pid_exists(engine)
        assert not running.paths.service_state.exists()
        assert UserLock.of_service(running.paths).take()


async def test_engines_end_with_a_service_that_was_killed(front: Front) -> None:
    client = await front.client()
    async for _ in client.load(MODEL):
        pass
    (engine,) = front.engines
    await asyncio.to_thread(kill, front.state.pid)
    until(lambda: not psutil.pid_exists(engine), "the end of the engine")


async def test_a_service_that_cannot_start_says_why(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMDESK_SERVICE_HOST", "203.0.113.7")  # an address no machine here has
    with pytest.raises(SlmDeskError) as failed:
        await front.connector.connect()
    assert failed.value.code == "service_start_failed"
    assert "203.0.113.7" in failed.value.message
    assert failed.value.hint


def test_a_port_in_use_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve_once(home, "--port", str(port))
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, "port_in_use")
    assert str(port) in error["message"]


def test_a_model_that_cannot_be_loaded_ends_serve_with_the_reason(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    done = serve_once(home, "--port", "0", "--model", str(broken))
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, "not_gguf")
    assert not Paths.resolve({"SLMDESK_HOME": str(home)}).service_state.exists()


def test_a_model_given_by_path_answers_to_that_name(home: Path, desk_guide: Path) -> None:
    with serve(home, "--model", str(desk_guide)) as running:
        for name in (str(desk_guide), desk_guide.name, desk_guide.stem, desk_guide.name.upper()):
            assert running.chat(model=name).status == 200, name
        # No folder of this machine is told to whoever asks.
        assert str(desk_guide.parent) not in running.ask("GET", "/v1/models").body.decode()


def test_a_given_file_of_no_library_is_listed_by_its_own_name(
    home: Path, smollm2: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / "mine.gguf"
    copy.parent.mkdir()
    copy.symlink_to(smollm2)
    with serve(home, "--model", str(copy)) as running:
        listed = [entry["id"] for entry in running.ask("GET", "/v1/models").json["data"]]
        assert "mine.gguf" in listed
        assert running.ask("GET", "/v1/models/mine.gguf/").json["id"] == "mine.gguf"
        assert running.chat(model="mine", max_tokens=1).status == 200
        for path in ("/v1/models", "/v1/models/mine.gguf", f"/v1/models/{copy}", "/slots", "/metrics"):
            assert str(copy.parent) not in running.ask("GET", path).body.decode(), path
