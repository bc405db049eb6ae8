"""The service with a certificate: others speak TLS, our own front ends find it all the same."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from slmdesk.core.settings import Settings
from slmdesk.serving.connector import ServiceConnector
from slmdesk.serving.discovery import read_state
from tests.hub.certificates import make_authority

from .conftest import MODEL, environment, serve

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """authority.pem, server.pem (key and certificate), key.pem and certificate.pem."""
    folder = tmp_path_factory.mktemp("pems")
    make_authority(folder)
    key, mark, certificate = (folder / "server.pem").read_text().partition("-----BEGIN CERTIFICATE-----")
    (folder / "key.pem").write_text(key)
    (folder / "certificate.pem").write_text(mark + certificate)
    return folder


@pytest.mark.parametrize("files", [("server.pem",), ("certificate.pem", "key.pem")])
async def test_programs_speak_tls_and_front_ends_find_it(
    home: Path, pems: Path, files: tuple[str, ...]
) -> None:
    given = [part for pair in zip(("--tls-cert", "--tls-key"), files, strict=False) for part in pair]
    args = [str(pems / part) if part.endswith(".pem") else part for part in given]
    with serve(home, "--model", MODEL, *args) as running:
        address = urlsplit(running.url)
        assert address.scheme == "https"
        context = ssl.create_default_context(cafile=str(pems / "authority.pem"))
        connection = http.client.HTTPSConnection(
            str(address.hostname), address.port, timeout=30, context=context
        )
        body = {"model": MODEL, "prompt": "Hi", "max_tokens": 4, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.status == 200
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.request("GET", "/v1/models", headers={"Host": "evil.example"})
        refused = connection.getresponse()
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (403, "host_refused")
        connection.close()

        state = read_state(running.paths.service_state)
        assert state is not None
        assert state.port != address.port
        connector = ServiceConnector(running.paths, Settings(running.paths.settings_file))
        client = await connector.connect(start=False)
        assert (await client.status()).model(MODEL) is not None
        await connector.close()
        # The port of our own front ends is for them alone.
        plain = http.client.HTTPConnection("127.0.0.1", state.port, timeout=30)
        plain.request("GET", "/v1/models")
        assert plain.getresponse().status == 401
        plain.close()
        # Who speaks plain HTTP to the other one gets no answer that could be read on the way.
        with socket.create_connection(("127.0.0.1", address.port or 0), timeout=30) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            with suppress(ConnectionResetError):
                assert b"slmdesk" not in raw.recv(1000)


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("missing.pem", "", "There is no file"),
        (".", "", "is a folder"),
        ("key.pem", "", "no certificate"),
        ("text.pem", "key.pem", "no certificate"),
        ("certificate.pem", "", "no private key"),
        ("certificate.pem", "text.pem", "no private key"),
        ("certificate.pem", "missing.pem", "There is no file"),
        ("certificate.pem", "other.pem", "is not that of the certificate"),
        ("certificate.pem", "locked.pem", "password"),
        ("", "key.pem", "no certificate"),
    ],
)
def test_files_that_will_not_do_are_told_in_words(
    home: Path, pems: Path, cert: str, key: str, words: str
) -> None:
    (pems / "text.pem").write_text("not PEM")
    make_authority(pems / "another")
    (pems / "other.pem").write_text(
        (pems / "another" / "server.pem").read_text().partition("-----BEGIN CERT")[0]
    )
    own = serialization.load_pem_private_key((pems / "key.pem").read_bytes(), None)
    (pems / "locked.pem").write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    given = [("--tls-cert", cert), ("--tls-key", key)]
    args = [part for name, file in given if file for part in (name, str(pems / file))]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "slmdesk", "serve", "--port", "0", "--json", *args],
        capture_output=True,
        text=True,
        env=environment(home),
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["code"]) == (1, "tls_invalid")
    assert words in error["message"]
    assert error["hint"]
