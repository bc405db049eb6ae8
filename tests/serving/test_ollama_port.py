"""The service at Ollama's port: the same for everybody, and a port that is taken is said."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from ollama import Client

from .conftest import MODEL, Front, Running, environment, free_port, serve

pytestmark = pytest.mark.timeout(90)


def test_it_answers_at_both_ports(home: Path) -> None:
    port = free_port()
    with serve(home, "--ollama-port", str(port)) as running:
        theirs = Running(running.process, f"http://127.0.0.1:{port}", running.paths)
        with urlopen(f"{theirs.url}/") as said:
            assert said.read() == b"Ollama is running"
        assert running.ask("GET", "/").json["name"] == "slmdesk"
        client = Client(f"127.0.0.1:{port}")
        assert client.generate(MODEL, "Hello", options={"num_predict": 2}).response
        client._client.close()
        assert next(model["id"] for model in theirs.ask("GET", "/v1/models").json["data"]) == MODEL
        # The gate is the same there.
        assert theirs.ask("GET", "/api/tags", headers={"Host": "evil.example"}).status == 403
        assert theirs.ask("GET", "/slmdesk/v1/status").status == 401
        page = {"Origin": "https://evil.example"}
        assert theirs.ask("GET", "/api/tags", headers=page).status == 403


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [
            sys.executable,
            "-P",
            "-m",
            "slmdesk",
            "serve",
            "--port",
            "0",
            "--json",
            "--ollama-port",
            port,
        ]
        run = subprocess.run(
            command, env=environment(home), capture_output=True, text=True, timeout=60, check=False
        )
    error = json.loads(run.stdout.splitlines()[-1])["error"]
    assert (run.returncode, error["code"]) == (1, "port_in_use")
    assert port in error["message"]
    assert "Ollama" in error["hint"]


async def test_a_service_of_the_window_does_without_a_port_that_is_taken(front: Front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        front.paths.settings_file.parent.mkdir(parents=True, exist_ok=True)
        front.paths.settings_file.write_text(f"[service]\nollama_port = {other.getsockname()[1]}\n")
        client = await front.client()
        assert any(model.id == MODEL for model in await client.models())
