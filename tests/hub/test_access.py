"""The way to a hub, over real HTTP: what a person sets, what goes wrong, and where the token goes."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import socket
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.secrets import Secrets
from slmdesk.core.settings import Settings
from slmdesk.hub.access import HubAccess
from slmdesk.hub.errors import HubError, hub_error, retry_after_s
from slmdesk.hub.logins import Logins
from tests.hub import LoopbackHub, User

TOKEN = "hf_plantedTokenOfTheAccessTests"
WEIGHTS = b"GGUF" + bytes(range(256)) * 2000


class MemorySecrets(Secrets):
    """Secrets without a keyring, whatever this machine has."""

    def _open(self) -> None:
        return None


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    users = {TOKEN: User("ada", refused=frozenset({"pub/no"}), pending=frozenset({"pub/wait"}))}
    with LoopbackHub(users=users) as hub:
        hub.add("pub/model", {"a.gguf": WEIGHTS, "README.md": b"# A"})
        for name in ("gated", "no", "wait"):
            hub.add(f"pub/{name}", {"a.gguf": WEIGHTS}, gated="manual")
        hub.add("pub/gone", {"a.gguf": WEIGHTS}, disabled=True)
        yield hub


Make = Callable[..., HubAccess]


@pytest.fixture
async def make(tmp_path: Path, hub: LoopbackHub) -> AsyncIterator[Make]:
    made: list[HubAccess] = []

    def make(token: str = "", **environ: str) -> HubAccess:
        env = {"HF_ENDPOINT": hub.url, **environ}
        access = HubAccess(Settings(tmp_path / "settings.toml", env), MemorySecrets(), env)
        if token:
            access.set_token(token)
        made.append(access)
        return access

    yield make
    for access in made:
        await access.close()
    huggingface_hub.close_session()


async def refusal(call: asyncio.Future[object] | object) -> HubError:
    with pytest.raises(HubError) as caught:
        await call  # type: ignore[misc]
    return caught.value


def test_the_address(tmp_path: Path) -> None:
    def endpoint(chosen: str = "", **environ: str) -> str:
        settings = Settings(tmp_path / "s.toml", environ)
        settings.set("hub.endpoint", chosen)
        return HubAccess(settings, MemorySecrets(), environ).endpoint

    assert endpoint() == "https://huggingface.co"
    assert endpoint("https://mirror.example/") == "https://mirror.example"
    assert endpoint("https://mirror.example", HF_ENDPOINT="http://10.0.0.1:80") == "http://10.0.0.1:80"
    ours = {"HF_ENDPOINT": "https://a.example", "SLMDESK_HUB_ENDPOINT": "https://b.example"}
    assert endpoint(**ours) == "https://b.example"
    with pytest.raises(SlmDeskError) as caught:
        endpoint(HF_ENDPOINT="not an address")
    assert caught.value.code == "endpoint_invalid"


def test_a_login_is_no_part_of_a_setting(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "s.toml", {})
    for key in ("network.proxy", "hub.endpoint"):
        with pytest.raises(SlmDeskError) as caught:
            settings.set(key, "http://ada:sEcretWord@10.0.0.1:3128")
        assert caught.value.code == "setting_invalid"
        assert "sEcretWord" not in str(caught.value)
    assert settings.set("network.proxy", "socks5://10.0.0.1:1080") == "socks5://10.0.0.1:1080"
    assert settings.set("network.proxy", "") == ""


async def test_reads_pages_and_files(make: Make, hub: LoopbackHub) -> None:
    access = make()
    hub.page_size = 2
    first = await access.get_json("/api/models", {"sort": "likes"})
    assert len(first.data) == 2
    assert first.next_page.startswith(hub.url)
    rest = await access.get_json(first.next_page)
    assert {m["id"] for m in first.data}.isdisjoint(m["id"] for m in rest.data)
    assert await access.get_file("pub/model", "README.md") == b"# A"
    assert await access.get_file("pub/model", "a.gguf", start=1000, count=50) == WEIGHTS[1000:1050]
    hub.faults.ignore_range("pub/model/*")
    assert await access.get_file("pub/model", "a.gguf", start=1000, count=50) == WEIGHTS[1000:1050]
    assert await access.get_file("pub/model", "a.gguf", start=len(WEIGHTS) + 5, count=50) == b""


async def test_the_token_stays_with_the_hub(
    make: Make, hub: LoopbackHub, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    access = make(TOKEN)
    assert await access.whoami(TOKEN) == "ada"
    await access.get_file("pub/model", "a.gguf")
    api = await asyncio.to_thread(access.api)
    await asyncio.to_thread(api.hf_hub_download, "pub/model", "a.gguf", local_dir=tmp_path / "down")
    hub.faults.redirect("/api/models", f"{hub.cdn_url}/api/models")
    await refusal(access.get_json("/api/models"))
    assert any(request.side == "cdn" for request in hub.requests)
    assert hub.holders_of(TOKEN) == {"hub"}
    assert TOKEN not in caplog.text
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()]


async def test_a_link_to_another_hub_stays_on_this_one(make: Make, hub: LoopbackHub) -> None:
    access = make(TOKEN)
    answer = await access.get_json("https://huggingface.co/api/models?limit=1")
    assert len(answer.data) == 1


@pytest.mark.parametrize(
    ("repo", "token", "code"),
    [
        ("pub/gated", "", "token_missing"),
        ("pub/gated", TOKEN, "licence_not_accepted"),
        ("pub/no", TOKEN, "access_refused"),
        ("pub/wait", TOKEN, "access_pending"),
        ("pub/gone", "", "repo_disabled"),
        ("pub/none", "", "repo_not_found"),
        ("pub/none", TOKEN, "repo_not_found"),
        ("pub/model", "hf_unknownToken123", "token_invalid"),
    ],
)
async def test_who_may_not_read(make: Make, hub: LoopbackHub, repo: str, token: str, code: str) -> None:
    access = make(token)
    error = await refusal(access.get_file(repo, "a.gguf"))
    assert error.code == code
    if code in {"token_missing", "licence_not_accepted"}:
        assert f"{hub.url}/{repo}" in error.hint
    # huggingface_hub's own calls end in the same words.
    api = await asyncio.to_thread(access.api)
    with pytest.raises(OSError, match=r".") as caught:
        await asyncio.to_thread(api.hf_hub_download, repo, "a.gguf")
    told = hub_error(caught.value, hub.url, repo)
    assert told is not None
    assert told.code == code


async def test_each_failure_has_its_words(make: Make, hub: LoopbackHub) -> None:
    access = make()
    listing = lambda: access.get_json("/api/models")  # noqa: E731
    hub.faults.status("/api/models", 429, retry_after=17)
    error = await refusal(listing())
    assert (error.code, error.retry_after_s, error.temporary) == ("rate_limited", 17, True)
    assert "in 17 s." in error.hint
    hub.faults.status("/api/models", 503)
    assert (await refusal(listing())).code == "hub_down"
    hub.faults.cut_json("/api/models")
    assert (await refusal(listing())).code == "hub_answer_invalid"
    hub.faults.redirect_loop("/api/models", times=20)
    assert (await refusal(listing())).code == "hub_answer_invalid"
    hub.faults.clear()
    hub.faults.cut("/api/models", after=5)
    assert (await refusal(listing())).code == "connection_lost"
    assert (await refusal(access.get_file("pub/model", "none.gguf"))).code == "file_not_found"
    assert (
        await refusal(access.get_json("/api/models/pub/model/revision/none"))
    ).code == "revision_not_found"
    hub.stop()
    error = await refusal(listing())
    assert (error.code, error.temporary) == ("hub_unreachable", True)
    hub.start()
    assert (await listing()).data


async def test_a_listing_waits_as_long_as_the_hub_asks(make: Make, hub: LoopbackHub) -> None:
    access = make()
    hub.faults.status("/api/models", 429, retry_after=1, times=2)
    begun = time.monotonic()
    assert (await access.get_json("/api/models")).data
    assert time.monotonic() - begun >= 2
    assert hub.count("GET", "/api/models") == 3
    hub.faults.status(
        "/api/models", 503, retry_after=email.utils.formatdate(time.time() + 2, usegmt=True), times=1
    )
    assert (await access.get_json("/api/models")).data
    # Not for ever, and not beyond what a person would wait.
    hub.forget()
    hub.faults.status("/api/models", 429, retry_after=7, times=9)
    waiting = asyncio.create_task(access.get_json("/api/models"))
    while not hub.requests:
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    hub.faults.clear()
    hub.faults.status("/api/models", 429, retry_after=60)
    assert "in 1 min." in (await refusal(access.get_json("/api/models"))).hint
    hub.faults.status("/api/models", 503)
    assert (await refusal(access.get_json("/api/models"))).code == "hub_down"


def test_what_a_refusal_says_of_the_wait() -> None:
    assert retry_after_s({"Retry-After": "17"}) == 17
    assert retry_after_s({"RateLimit": '"api";r=0;t=55'}) == 55
    assert retry_after_s({"RateLimit": "limit=500, remaining=0"}) is None
    assert retry_after_s({"Retry-After": "²"}) is None
    assert retry_after_s({}) is None


async def test_a_storage_that_cannot_be_reached_is_not_told_as_the_hub(make: Make, hub: LoopbackHub) -> None:
    access = make()
    hub.faults.redirect("pub/model/*", "http://localhost:9/somewhere", where="resolve")
    error = await refusal(access.get_file("pub/model", "a.gguf"))
    assert (error.code, error.temporary) == ("storage_unreachable", True)
    assert error.message.startswith(f"localhost, where {hub.url} keeps its files")
    hub.faults.clear()
    hub.faults.status("pub/model/a.gguf", 500)
    error = await refusal(access.get_file("pub/model", "a.gguf"))
    assert error.code == "hub_down"
    assert hub.url not in error.message


async def test_a_proxy_that_cannot_be_reached_is_not_told_as_the_hub(make: Make, hub: LoopbackHub) -> None:
    for scheme in ("http", "socks5"):
        access = make(SLMDESK_NETWORK_PROXY=f"{scheme}://127.0.0.1:9")
        error = await refusal(access.get_json("/api/models"))
        assert error.code == "proxy_failed"
        assert f"{scheme}://127.0.0.1:9" in error.message
        assert hub.url not in error.message


async def test_offline_asks_nobody(make: Make, hub: LoopbackHub) -> None:
    for access in (make(SLMDESK_NETWORK_OFFLINE="true"), make(HF_HUB_OFFLINE="1")):
        assert (await refusal(access.get_json("/api/models"))).code == "offline"
        with pytest.raises(HubError):
            access.api()
    assert not hub.requests


async def test_a_cancelled_request_closes_its_connection(make: Make, hub: LoopbackHub) -> None:
    access = make()
    await access.get_json("/api/models")
    hub.faults.stall("/api/models", times=3)
    tasks = [asyncio.create_task(access.get_json("/api/models")) for _ in range(3)]
    while hub.count("GET", "/api/models") < 4:
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert all(task.cancelled() for task in tasks)
    assert (await access.get_json("/api/models")).data


async def test_close_breaks_off_what_runs(make: Make, hub: LoopbackHub) -> None:
    access = make()
    hub.faults.stall("/api/models")
    task = asyncio.create_task(access.get_json("/api/models"))
    while not hub.requests:
        await asyncio.sleep(0.01)
    await access.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [t for t in threading.enumerate() if t.name == "slmdesk-hub"]


async def test_an_http_proxy_with_a_login(make: Make, hub: LoopbackHub) -> None:
    # A proxy is sent whole addresses; the loopback hub answers them like its own.
    access = make(HF_ENDPOINT="http://models.invalid", SLMDESK_NETWORK_PROXY=hub.url)
    await Logins(access, access._secrets).keep_proxy_login("ada", "pass:word")
    assert (await access.get_json("/api/models")).data
    assert hub.requests[-1].headers["proxy-authorization"] == "Basic YWRhOnBhc3M6d29yZA=="
    assert "pass" not in repr(access.route())
    assert not access.direct
    assert make().direct
    lost = make(SLMDESK_NETWORK_PROXY="http://127.0.0.1:9")
    assert (await refusal(lost.get_json("/api/models"))).code in {"hub_unreachable", "proxy_failed"}


async def test_a_socks_proxy(make: Make, hub: LoopbackHub) -> None:
    with socks_proxy() as (address, wanted):
        access = make(SLMDESK_NETWORK_PROXY=f"socks5://{address}")
        assert (await access.get_json("/api/models")).data
        assert wanted == [("127.0.0.1", int(hub.url.rpartition(":")[2]))]


async def test_a_certificate_file_that_is_none(make: Make, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    access = make(SLMDESK_NETWORK_CA_FILE=str(tmp_path / "ca.pem"))
    with pytest.raises(SlmDeskError) as caught:
        await access.get_json("/api/models")
    assert caught.value.code == "ca_file_invalid"


@contextmanager
def socks_proxy() -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """A SOCKS5 proxy without a login (RFC 1928), and where it was asked to connect to."""
    wanted: list[tuple[str, int]] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            client.recv(2 + client.recv(2)[1])
            client.sendall(b"\x05\x00")
            head = client.recv(4)
            named = head[3] != 1
            host = client.recv(client.recv(1)[0]).decode() if named else socket.inet_ntoa(client.recv(4))
            port = int.from_bytes(client.recv(2), "big")
            wanted.append((host, port))
            with socket.create_connection((host, port)) as target:
                client.sendall(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=_pump, args=(target, client), daemon=True)
                back.start()
                _pump(client, target)
                target.shutdown(socket.SHUT_RDWR)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", wanted
        server.shutdown()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


async def test_a_token_is_kept_once_the_hub_has_said_whose_it_is(make: Make) -> None:
    access = make()
    logins = Logins(access, access._secrets)
    wrong = await refusal(logins.keep_token("hf_ofNobodyAtAllInTheseTests"))
    assert wrong.code == "token_invalid"
    assert access.token(fresh=True) is None
    kept = await logins.keep_token(TOKEN)
    assert (kept.name, kept.overruled) == ("ada", False)
    assert kept.problem is access._secrets.known_problem  # no keyring here: for this session alone
    assert access.token() == TOKEN
    overruled = make(HF_TOKEN="hf_ofTheEnvironmentInTheseTests")
    assert (await Logins(overruled, overruled._secrets).keep_token(TOKEN)).overruled


async def test_a_proxy_login_is_kept_and_forgotten(make: Make) -> None:
    access = make(SLMDESK_NETWORK_PROXY="http://127.0.0.1:9")
    logins = Logins(access, access._secrets)
    await logins.keep_proxy_login("ada", "pass:word")
    assert "ada:pass" in str(dict(access.route().proxies))
    await logins.forget_proxy_login()
    assert "ada" not in str(dict(access.route().proxies))
