"""Clients that are slow, many, large or damaged: bounded, and told so in the form of the API."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from slmdesk.serving.rates import Rates
from slmdesk.serving.try_later import TryLaterError

from .conftest import MODEL, Answer, Running, other_address, serve, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def connect(running: Running) -> socket.socket:
    host, port = running.netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the service closes."""
    try:
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionResetError:
        return b""


def sent(running: Running, head: str, body: bytes = b"") -> Answer:
    """One request as bytes, and all that comes back until the end of the connection."""
    with connect(running) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        received = rest_of(connection)
    top, _, content = received.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), content)


def post(running: Running, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> Answer:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {running.netloc}",
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    return sent(running, "\n".join([*lines, *headers]), body)


def test_connections_without_a_whole_head_are_closed(home: Path) -> None:
    with serve(home, env={"SLMDESK_SERVICE_HEADER_SECONDS": "1"}) as running, ExitStack() as all_of_them:
        silent = [all_of_them.enter_context(connect(running)) for _ in range(50)]
        begun = [all_of_them.enter_context(connect(running)) for _ in range(50)]
        for connection in begun:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert [rest_of(connection) for connection in silent] == [b""] * 50
        for connection in begun:
            head, _, body = rest_of(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408 ")
            assert json.loads(body)["error"]["code"] == "body_incomplete"
        assert running.post("/v1/chat/completions", CHAT).status == 200


def test_a_slow_head_is_closed_though_something_always_comes(home: Path) -> None:
    with serve(home, env={"SLMDESK_SERVICE_HEADER_SECONDS": "1"}) as running, connect(running) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        connection.settimeout(0.05)
        received = b""
        while True:
            try:
                connection.sendall(b"X-Drop: x\r\n")
                received = connection.recv(65536)
                break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        assert received == b"" or received.startswith(b"HTTP/1.1 408 ")


def test_idle_connections_are_closed_and_busy_ones_are_not(home: Path) -> None:
    short = {"SLMDESK_SERVICE_KEEPALIVE_SECONDS": "1", "SLMDESK_SERVICE_HEADER_SECONDS": "1"}
    with serve(home, "--model", MODEL, env=short) as running, connect(running) as connection:
        request = f"GET /health HTTP/1.1\r\nHost: {running.netloc}\r\n\r\n".encode()
        for _ in range(3):
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert rest_of(connection) == b""
        # An answer that takes longer than both is written to its end.
        long = running.chat(max_tokens=1500, logit_bias={"2": -100, "3": -100, "5": -100}, temperature=1)
        assert long.json["usage"]["completion_tokens"] > 1000


def test_unfinished_bodies_hold_no_memory_and_end(home: Path) -> None:
    length = 15 * 1024 * 1024
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    with serve(home, "--model", MODEL, env={"SLMDESK_SERVICE_BODY_SECONDS": "5"}) as running:
        service = psutil.Process(running.process.pid)
        before = service.memory_info().rss
        with ExitStack() as all_of_them:
            slow = [all_of_them.enter_context(connect(running)) for _ in range(40)]
            for connection in slow:
                connection.sendall(head.replace("Host: x", f"Host: {running.netloc}").encode())
                connection.setblocking(False)
            chunk, left = b" " * 1_000_000, dict.fromkeys(slow, length - 1)
            # As much of all but the last byte as the service takes.
            for _ in range(200):
                for connection in slow:
                    try:
                        left[connection] -= connection.send(chunk[: left[connection]])
                    except (BlockingIOError, ConnectionError):
                        continue
            assert running.post("/v1/chat/completions", CHAT).status == 200
            assert service.memory_info().rss - before < 160e6
            for connection in slow:
                connection.setblocking(True)
                answer = rest_of(connection)
                assert answer == b"" or answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 "))
        assert running.post("/v1/chat/completions", CHAT).status == 200


def test_there_are_only_so_many_connections(home: Path) -> None:
    with serve(home, env={"SLMDESK_SERVICE_MAX_CONNECTIONS": "8"}) as running, ExitStack() as all_of_them:
        there = [all_of_them.enter_context(connect(running)) for _ in range(8)]
        for connection in there:
            connection.sendall(f"GET /health HTTP/1.1\r\nHost: {running.netloc}\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        refused = sent(running, "GET /health HTTP/1.1")
        assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
        assert int(refused.headers["Retry-After"]) > 0
        there.pop().close()
        until(lambda: sent(running, "GET /health HTTP/1.0\nHost: x").status == 403, "a free place")


def test_one_other_machine_holds_only_so_many_connections(home: Path) -> None:
    address = other_address()
    limit = {"SLMDESK_SERVICE_MAX_CLIENT_CONNECTIONS": "2", "SLMDESK_API_KEY": "a-key-of-mine"}
    with serve(home, "--host", "0.0.0.0", env=limit) as running, ExitStack() as all_of_them:
        port = int(running.netloc.split(":")[1])
        request = b"GET /health HTTP/1.1\r\nHost: x\r\nx-api-key: a-key-of-mine\r\n\r\n"
        for _ in range(2):
            connection = all_of_them.enter_context(socket.create_connection((address, port), timeout=60))
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        third = all_of_them.enter_context(socket.create_connection((address, port), timeout=60))
        third.sendall(request)
        assert rest_of(third).startswith(b"HTTP/1.1 503 ")
        # Programs on the service's own machine are not one client.
        for _ in range(4):
            here = all_of_them.enter_context(connect(running))
            here.sendall(request)
            assert here.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br", "x" * 100])
def test_encodings_that_are_not_read_are_named(service: Running, encoding: str) -> None:
    answer = post(service, b"\x00\x01\x02", f"Content-Encoding: {encoding}")
    assert (answer.status, answer.error["code"]) == (415, "encoding_unsupported")
    assert encoding[:40] in answer.error["message"]


def test_a_body_is_asked_for_behind_the_gate_alone(service: Running) -> None:
    body = json.dumps(CHAT).encode()
    head = "\n".join(
        [
            "POST /v1/chat/completions HTTP/1.1",
            "Connection: close",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",
        ]
    )
    with connect(service) as connection:
        connection.sendall(f"{head}\nHost: {service.netloc}\n\n".replace("\n", "\r\n").encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert rest_of(connection).startswith(b"HTTP/1.1 200 ")
    refused = sent(service, f"{head}\nHost: evil.example", body)
    assert (refused.status, refused.error["code"]) == (403, "host_refused")
    other = post(service, body, "Expect: a miracle")
    assert (other.status, other.error["type"]) == (400, "invalid_request_error")


def test_packed_bodies_are_read(service: Running) -> None:
    body = json.dumps(CHAT).encode()
    assert post(service, gzip.compress(body), "Content-Encoding: gzip").status == 200
    assert post(service, zlib.compress(body), "Content-Encoding: deflate").status == 200


def test_damaged_packed_bodies_are_the_callers_fault(service: Running) -> None:
    packed = gzip.compress(json.dumps({**CHAT, "x": [str(n) for n in range(5000)]}).encode())
    for damaged in (
        b"no gzip at all",
        packed[:-200],
        packed[:100] + bytes(byte ^ 0x5A for byte in packed[100:200]) + packed[200:],
        b"\x1f\x8b",
    ):
        answer = post(service, damaged, "Content-Encoding: gzip")
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error"), damaged[:20]


def test_a_body_that_unpacks_to_gigabytes_is_refused(service: Running) -> None:
    memory = psutil.Process(service.process.pid).memory_info().rss
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(2000)) + packer.flush()
    answer = post(service, packed, "Content-Encoding: gzip")
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert psutil.Process(service.process.pid).memory_info().rss - memory < 100e6


def test_heads_that_are_too_large_are_told_so(service: Running) -> None:
    for head in (
        f"GET /health HTTP/1.1\nHost: {service.netloc}\nX-Long: {'x' * 20_000}",
        f"GET /{'x' * 20_000} HTTP/1.1\nHost: {service.netloc}",
        f"POST /v1/messages HTTP/1.1\nHost: {service.netloc}\nAuthorization: Bearer {'x' * 100_000}",
    ):
        answer = sent(service, head)
        assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
    many = "\n".join(f"X-{number}: x" for number in range(500))
    answer = sent(service, f"GET /health HTTP/1.1\nHost: {service.netloc}\n{many}")
    assert answer.status in {400, 431}
    assert answer.error["message"]


@pytest.mark.parametrize(
    "head", ["nonsense", "GET", "GET / HTTP/9.9", "GET http://[ HTTP/1.1", "\x16\x03\x01\x02"]
)
def test_what_is_no_http_gets_an_error_of_the_api(service: Running, head: str) -> None:
    answer = sent(service, head)
    assert 400 <= answer.status < 500
    assert answer.error["type"] == "invalid_request_error"


def test_slashes_at_the_end_are_taken(service: Running) -> None:
    assert service.ask("GET", "/v1/models/").status == 200
    assert service.ask("GET", f"/v1/models/{MODEL}/").json["id"] == MODEL
    assert service.ask("GET", "/health/").status == 200
    for path in ("/v1/chat/completions/", "/v1/completions/"):
        assert service.post(path, {**CHAT, "prompt": "Hi"}).status == 200


def test_prompts_beyond_any_context_are_refused_before_they_are_read(service: Running) -> None:
    """A hundred thousand messages took the engine minutes, and all that waited behind them."""
    for messages in (
        [{"role": ("user", "assistant")[number % 2], "content": "Hi"} for number in range(99_999)],
        [{"role": "user", "content": " " * 15_000_000}],
    ):
        answer = service.chat(messages=messages)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert "2048" in answer.error["message"]


def test_the_longest_body_is_a_setting(home: Path) -> None:
    with serve(home, "--model", MODEL, env={"SLMDESK_SERVICE_MAX_BODY_MB": "1"}) as running:
        padded = {**CHAT, "metadata": {"x": "x" * 1_100_000}}
        answer = running.post("/v1/chat/completions", padded)
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert "1 MiB" in answer.error["message"]
        body = json.dumps(padded).encode()
        chunked = f"POST /v1/chat/completions HTTP/1.1\nHost: {running.netloc}\nConnection: close\n"
        pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        assert sent(running, f"{chunked}Transfer-Encoding: chunked", pieces).status == 413


def test_requests_a_minute_are_counted_by_key(home: Path) -> None:
    with serve(home, env={"SLMDESK_SERVICE_REQUESTS_PER_MINUTE": "3"}) as running:
        for _ in range(3):
            assert running.ask("GET", "/v1/models").status == 200
        over = running.ask("GET", "/v1/models")
        assert (over.status, over.error["code"]) == (429, "too_many_requests")
        assert 1 <= int(over.headers["Retry-After"]) <= 20
        assert running.ask("GET", "/v1/models", headers=running.own).status == 200


def test_permits_come_back_evenly() -> None:
    now = 0.0
    rates = Rates(lambda: 60, lambda: now)
    for caller in ("a", "b"):
        for _ in range(60):
            rates.check(caller)
        with pytest.raises(TryLaterError) as over:
            rates.check(caller)
        assert over.value.retry_after_s == 1
    now = 2.0
    rates.check("a")
    rates.check("a")
    with pytest.raises(TryLaterError):
        rates.check("a")
    now = 1000.0
    for _ in range(60):
        rates.check("a")
    with pytest.raises(TryLaterError):
        rates.check("a")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="so many sockets need another limit there")
def test_two_thousand_idle_connections_are_let_go(home: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        with serve(home, env={"SLMDESK_SERVICE_HEADER_SECONDS": "3"}) as running, ExitStack() as all_of_them:
            there = [all_of_them.enter_context(connect(running)) for _ in range(2000)]
            for connection in there:
                rest_of(connection)
            assert running.ask("GET", "/health").status == 200
            assert "slmdesk_connections 1.0" in running.ask("GET", "/metrics").body.decode()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
