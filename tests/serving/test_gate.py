"""Who may use the service: Host, Origin, the key, and the file it is in."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from slmdesk.serving.discovery import read_state

from .conftest import Front, Running, serve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)


def raw(
    netloc: str, headers: list[tuple[str, str]], method: str = "GET", path: str = "/v1/models"
) -> http.client.HTTPResponse:
    """A request with exactly these headers."""
    connection = http.client.HTTPConnection(netloc, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def test_only_its_own_addresses_are_taken_as_host(service: Running) -> None:
    port = service.netloc.split(":")[1]
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert raw(service.netloc, [("Host", f"{name}:{port}")]).status == 200, name
    for host in (
        f"evil.example:{port}",
        "localhost",
        f"localhost:{int(port) ^ 1}",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        f"0.0.0.0:{port}",
        f"192.168.1.5:{port}",
        f"user@localhost:{port}",
        "",
        ":",
    ):
        assert raw(service.netloc, [("Host", host)]).status == 403, host
    twice = [("Host", f"localhost:{port}"), ("Host", "evil.example")]
    assert raw(service.netloc, twice).status in {400, 403}


def test_pages_of_other_sites_are_refused(service: Running) -> None:
    host = ("Host", service.netloc)
    for origin in ("http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443", "http://localhost"):
        answer = raw(service.netloc, [host, ("Origin", origin)])
        assert answer.status == 200, origin
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    for origin in (
        "https://evil.example",
        "null",
        "",
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "http://evil.example/localhost",
        "http://user@localhost",
        "file://",
    ):
        answer = raw(service.netloc, [host, ("Origin", origin)])
        assert answer.status == 403, origin
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_browser_may_ask_first(service: Running) -> None:
    asked = [
        ("Host", service.netloc),
        ("Origin", "http://localhost:3000"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ]
    answer = raw(service.netloc, asked, "OPTIONS", "/v1/chat/completions")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type"
    refused = [(name, value.replace("localhost:3000", "evil.example")) for name, value in asked]
    assert raw(service.netloc, refused, "OPTIONS", "/v1/chat/completions").status == 403


def test_a_streamed_answer_tells_its_origin_too(service: Running) -> None:
    answer = service.post(
        "/v1/chat/completions",
        {
            "model": "slmdesk/desk-guide",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "max_tokens": 1,
        },
        {"Origin": "http://localhost:3000"},
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


async def test_a_service_started_on_demand_wants_its_key_everywhere(front: Front) -> None:
    client = await front.client()
    state = front.state
    assert state.started_by == "demand"
    netloc = client.url.removeprefix("http://")

    def ask(method: str, path: str, headers: Mapping[str, str]) -> int:
        connection = http.client.HTTPConnection(netloc, timeout=30)
        connection.request(method, path, json.dumps({}) if method == "POST" else None, dict(headers))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status == 401:
            assert json.loads(body)["error"]["code"] == "invalid_api_key"
            assert response.headers["WWW-Authenticate"] == "Bearer"
        return response.status

    routes = [
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/slmdesk/desk-guide"),
        ("GET", "/slmdesk/v1/status"),
        ("GET", "/no/such/route"),
        *(
            ("POST", path)
            for path in (
                "/v1/chat/completions",
                "/v1/completions",
                "/slmdesk/v1/load",
                "/slmdesk/v1/unload",
                "/slmdesk/v1/tokenize",
                "/slmdesk/v1/shutdown",
            )
        ),
    ]
    for method, path in routes:
        for wrong in (
            {},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer x" * 9},
            {"Authorization": state.token},
        ):
            assert ask(method, path, wrong) == 401, (method, path, wrong)
    assert ask("GET", "/v1/models", {"Authorization": f"bearer {state.token}"}) == 200


@pytest.mark.skipif(os.name == "nt", reason="the folder of the user protects it there")
def test_the_state_file_is_for_its_user_alone(service: Running) -> None:
    assert stat.S_IMODE(service.paths.service_state.stat().st_mode) == 0o600


async def test_the_key_is_in_no_log(front: Front) -> None:
    client = await front.client()
    token = front.state.token
    await client.models()
    texts = [path.read_text("utf-8", "replace") for path in front.paths.logs.iterdir()]
    assert any("answering at" in text for text in texts)
    assert all(token not in text for text in texts)


def test_other_machines_need_the_key(home: Path) -> None:
    """An address of this machine that is not loopback stands for another machine: it is seen as the caller's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only asks for the way there
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    with serve(home, "--host", "0.0.0.0") as running:
        port = int(running.netloc.split(":")[1])
        state = read_state(running.paths.service_state)
        assert state is not None
        assert state.url == running.url == f"http://127.0.0.1:{port}"
        host = ("Host", f"{address}:{port}")
        assert raw(f"127.0.0.1:{port}", [host]).status == 200
        assert raw(f"{address}:{port}", [host]).status == 401
        key = ("Authorization", f"Bearer {state.token}")
        assert raw(f"{address}:{port}", [host, key]).status == 200
        assert raw(f"{address}:{port}", [("Host", f"evil.example:{port}"), key]).status == 403


def test_it_can_answer_over_ipv6(home: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serve(home, "--host", "::1") as running:
        assert running.url.startswith("http://[::1]:")
        assert running.ask("GET", "/health").status == 200


def test_an_origin_can_be_allowed(home: Path) -> None:
    with serve(home, "--allow-origin", "https://notes.example") as running:
        for origin, status in (("https://notes.example", 200), ("https://other.example", 403)):
            assert running.ask("GET", "/v1/models", headers={"Origin": origin}).status == status
