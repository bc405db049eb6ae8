"""Who may use the service: Host, Origin, the key, and the file it is in."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import urllib.parse
from typing import TYPE_CHECKING

import psutil
import pytest

from slmdesk.core.paths import resources_folder
from slmdesk.serving.discovery import read_state
from slmdesk.serving.keys import ApiKeys

from .conftest import MODEL, Front, Running, environment, other_address, serve

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


async def test_other_machines_need_a_key(home: Path) -> None:
    address = other_address()
    keys = ApiKeys(home / "data" / "keys.json")
    made = await keys.add("phone")
    with serve(home, "--host", "0.0.0.0") as running:
        port = int(running.netloc.split(":")[1])
        state = read_state(running.paths.service_state)
        assert state is not None
        assert state.url == running.url == f"http://127.0.0.1:{port}"
        host = ("Host", f"{address}:{port}")
        assert raw(f"127.0.0.1:{port}", [host]).status == 200
        there = f"{address}:{port}"
        assert raw(there, [host]).status == 401
        for key in (state.token, made.secret):
            assert raw(there, [host, ("Authorization", f"Bearer {key}")]).status == 200
            assert raw(there, [host, ("x-api-key", key)]).status == 200
            # Who shows a key may have come by any name: of a container, a tunnel, its own.
            assert raw(there, [("Host", "models.example"), ("x-api-key", key)]).status == 200
        wrong = ("Authorization", f"Bearer {made.secret[:-1]}")
        assert raw(there, [host, wrong]).status == 401
        assert raw(there, [("Host", f"evil.example:{port}"), wrong]).status == 403
        await keys.revoke("phone")
        assert raw(there, [host, ("x-api-key", made.secret)]).status == 401


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--host", "0.0.0.0"), "key_needed", "slmdesk keys add"),
        (("--allow-origin", "*"), "key_needed", "slmdesk keys add"),
        (("--allow-origin", "https://*.example.org"), "key_needed", "slmdesk keys add"),
        (("--allow-origin", "null"), "pattern_invalid", "null"),
        (("--allow-origin", "notes.example"), "pattern_invalid", "scheme"),
        (("--allow-origin", "https://notes.example/page"), "pattern_invalid", "path"),
        (("--allow-origin", "https://no*tes.example"), "pattern_invalid", "no origin"),
        (("--allow-host", "*"), "pattern_invalid", "DNS rebinding"),
        (("--allow-host", "http://x.example"), "pattern_invalid", "no host"),
        (("--allow-host", "a.*.example"), "pattern_invalid", "no host"),
        (("--api-key", "short"), "key_invalid", "8"),
        (("--api-key", ""), "key_invalid", "8"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_start(
    home: Path, args: tuple[str, ...], code: str, words: str
) -> None:
    command = [sys.executable, "-P", "-m", "slmdesk", "serve", "--port", "0", "--json", *args]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(home), timeout=60
    )
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, code)
    assert words in f"{error['message']} {error['hint']}"


def test_settings_let_pages_and_hosts_in_too(home: Path) -> None:
    allowed = {
        "SLMDESK_SERVICE_ALLOW_ORIGINS": "https://notes.example app://obsidian.md",
        "SLMDESK_SERVICE_ALLOW_HOSTS": "models.example",
    }
    with serve(home, env=allowed) as running:
        for origin, status in (("https://notes.example", 200), ("app://obsidian.md", 200), ("app://x", 403)):
            assert running.ask("GET", "/v1/models", headers={"Origin": origin}).status == status, origin
        assert raw(running.netloc, [("Host", "models.example")]).status == 200
    command = [sys.executable, "-P", "-m", "slmdesk", "serve", "--port", "0", "--json"]
    wrong = environment(home, {"SLMDESK_SERVICE_ALLOW_HOSTS": "*"})
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=wrong, timeout=60)
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, "setting_invalid")
    assert "SLMDESK_SERVICE_ALLOW_HOSTS" in error["message"]


def test_a_given_key_is_needed_on_this_machine_too(home: Path) -> None:
    with serve(home, env={"SLMDESK_API_KEY": "a-key-of-mine"}) as running:
        assert running.ask("GET", "/v1/models").status == 401
        right = {"Authorization": "Bearer a-key-of-mine"}
        assert running.ask("GET", "/v1/models", headers=right).status == 200
        assert running.ask("GET", "/v1/models", headers={"x-api-key": "a-key-of-mine"}).status == 200
        assert running.ask("GET", "/v1/models", headers={"x-api-key": "a-key-of-mine "[:-2]}).status == 401
        assert running.chat().status == 401
        # Neither the engines nor the log have it.
        assert running.post("/slmdesk/v1/load", {"model": MODEL}, right).status == 200
        service = psutil.Process(running.process.pid)
        if sys.platform == "linux":
            assert all("SLMDESK_API_KEY" not in child.environ() for child in service.children())
        texts = [path.read_text("utf-8", "replace") for path in running.paths.logs.iterdir()]
        assert all("a-key-of-mine" not in text for text in texts)


def test_a_wrong_key_is_told_in_the_form_of_each_api(home: Path) -> None:
    with serve(home, "--api-key", "a-key-of-mine") as running:
        wrong = {"x-api-key": "another-key"}
        openai = running.post("/v1/chat/completions", {}, wrong)
        assert (openai.status, openai.error["code"]) == (401, "invalid_api_key")
        anthropic = running.post("/v1/messages", {}, wrong)
        assert anthropic.status == 401
        assert anthropic.json["type"] == "error"
        assert anthropic.json["error"]["type"] == "authentication_error"
        ollama = running.post("/api/chat", {}, wrong)
        assert ollama.status == 401
        assert isinstance(ollama.json["error"], str)


def test_pages_on_this_machine_see_no_paths_and_unload_nothing(service: Running) -> None:
    page = {"Origin": "http://localhost:3000"}
    assert service.chat().status == 200
    for headers in (page, {}):
        assert service.ask("GET", "/slmdesk/v1/status", headers=headers).status == 401
        for path in ("load", "unload", "shutdown", "ask", "count", "tokenize"):
            assert service.post(f"/slmdesk/v1/{path}", {"model": MODEL}, headers).status == 401, path
    assert service.ask("GET", "/metrics", headers=page).status == 401
    assert service.ask("GET", "/slots/", headers=page).status == 401
    assert service.ask("GET", "/metrics").status == 200
    assert service.status()["state"] == "ready"


def test_a_refused_page_never_reaches_a_handler(service: Running) -> None:
    before = service.status()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 400}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", **service.own},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        answer = service.post("/v1/chat/completions", body, headers)
        assert (answer.status, answer.error["code"]) == (403, "origin_refused")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert service.post("/slmdesk/v1/unload", {"model": MODEL}, headers).status == 403
    assert service.status()["loaded_at"] == before["loaded_at"]


def test_what_a_proxy_passes_on_needs_a_key(service: Running) -> None:
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert service.ask("GET", "/v1/models", headers={name: "203.0.113.9"}).status == 401
        assert service.ask("GET", "/v1/models", headers={name: "203.0.113.9", **service.own}).status == 200


def test_other_hosts_can_be_allowed(home: Path) -> None:
    allowed = (
        "--allow-host",
        "models.example",
        "--allow-host",
        "*.home.arpa",
        "--allow-host",
        "x.example:81",
    )
    with serve(home, *allowed) as running:
        for host, status in (
            ("models.example", 200),
            ("MODELS.example:8443", 200),
            ("desk.home.arpa", 200),
            ("a.b.home.arpa:80", 200),
            ("home.arpa", 403),
            ("evilhome.arpa", 403),
            ("x.example:81", 200),
            ("x.example", 403),
            ("models.example.evil.example", 403),
        ):
            assert raw(running.netloc, [("Host", host)]).status == status, host


async def test_pages_let_in_by_a_pattern_need_a_key(home: Path) -> None:
    made = await ApiKeys(home / "data" / "keys.json").add("page")
    key = {"Authorization": f"Bearer {made.secret}"}
    patterns = ("--allow-origin", "https://*.example.org", "--allow-origin", "https://one.example.org:*")
    with serve(home, *patterns) as running:

        def ask(origin: str, headers: Mapping[str, str]) -> int:
            return running.ask("GET", "/v1/models", headers={"Origin": origin, **headers}).status

        assert ask("https://a.example.org", {}) == 401
        assert ask("https://a.example.org", key) == 200
        assert ask("https://one.example.org:8443", {}) == 200  # named
        for other in ("http://a.example.org", "https://a.example.org:8443", "https://example.org"):
            assert ask(other, key) == 403, other
        assert ask("http://localhost:3000", {}) == 200
    with serve(home, "--allow-origin", "*") as running:
        assert ask("https://anything.example", {}) == 401
        assert ask("https://anything.example", key) == 200
        assert ask("null", key) == 200
        assert ask("http://localhost:3000", {}) == 200
        asked = [
            ("Host", running.netloc),
            ("Origin", "https://anything.example"),
            ("Access-Control-Request-Headers", "authorization"),
        ]
        answer = raw(running.netloc, asked, "OPTIONS", "/v1/chat/completions")
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "https://anything.example"
        refused = running.ask("GET", "/v1/models", headers={"Origin": "https://anything.example"})
        assert refused.headers["Access-Control-Allow-Origin"] == "https://anything.example"


def test_a_path_as_a_model_name_opens_nothing(home: Path, tmp_path: Path) -> None:
    """With a key too: only our own front ends name files."""
    outside = tmp_path / "outside.gguf"
    shutil.copyfile(resources_folder() / "desk-guide" / "desk-guide-F16.gguf", outside)
    text = tmp_path / "text"
    text.write_text("no model")
    key = {"x-api-key": "a-key-of-mine"}
    with serve(home, "--api-key", "a-key-of-mine", "--model", MODEL) as running:
        body = {"messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "max_tokens": 1}
        for name in (
            str(outside),
            str(text),
            "/etc/passwd",
            "/etc",
            "../../outside.gguf",
            "../" * 12 + "etc/passwd",
            f"slmdesk/../../../../../../..{outside}",
            "./desk-guide",
            "~/model.gguf",
            "C:\\model.gguf",
            "\\\\server\\share\\model.gguf",
            "models/x.gguf",
            "x\x00y",
            "x" * 5000,
            "/" + "x/" * 2000,
        ):
            for path in ("/v1/chat/completions", "/v1/completions"):
                answer = running.post(path, {"model": name, **body}, key)
                assert (answer.status, answer.error["code"]) == (404, "model_not_found"), (name[:80], path)
            for path in ("load", "unload"):
                answer = running.post(f"/slmdesk/v1/{path}", {"model": name, **body}, key)
                assert answer.status == 404, (name[:80], path)
        quoted = urllib.parse.quote(str(outside), safe="")
        assert running.ask("GET", f"/v1/models/{quoted}", headers=key).status == 404
        # Names that programs send of their own mean the one model given.
        for name in ("gpt-4o-mini", "claude-sonnet", "any.gguf", "somebody/something:Q4"):
            answer = running.post("/v1/chat/completions", {"model": name, **body}, key)
            assert answer.status == 200, name
        assert [
            entry["id"] for entry in running.ask("GET", "/slmdesk/v1/status", headers=key).json["loaded"]
        ] == ["slmdesk/desk-guide:F16"]


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
