"""What the program is started with and did not choose: proxies, tokens, bytes that are no text, a full stdout.

Real processes; each says in words what is wrong, before anything is sent or lost.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hub import LoopbackHub, User

from .conftest import Program, Result

NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="arguments and streams are other things there")


@pytest.fixture
def hub(desk_guide: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub({"slmdesk/guide-GGUF": {"guide-F16.gguf": desk_guide}}) as hub:
        hub.users = {"hf_knownToken123": User("ada")}
        yield hub


def told(result: Result) -> str:
    """The words of a command that failed as it should: no traceback, no defect."""
    assert result.code == 1, result.err
    assert "Traceback" not in result.out + result.err
    assert "in a way it should not" not in result.err
    return result.err


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ALL_PROXY": "socks4://127.0.0.1:9"}, "ALL_PROXY is of the kind “socks4”"),
        ({"HTTPS_PROXY": "http://proxy:port", "HTTP_PROXY": "ftp://x"}, "_PROXY"),
        ({"ALL_PROXY": "socks://127.0.0.1:9"}, "The proxy socks5://127.0.0.1:9 cannot be reached"),
        ({"http_proxy": "http://127.0.0.1:9"}, "The proxy http://127.0.0.1:9 cannot be reached"),
        ({"HF_TOKEN": "hf_abc\u200bdef"}, "HF_TOKEN holds a letter that no access token has: U+200B"),
        ({"HF_TOKEN": "hf_abcü"}, "U+00FC"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE"),
        ({"HF_ENDPOINT": "http://[::1"}, "The hub's address is not one."),
    ],
)
def test_surroundings_that_cannot_be_used_are_told_before_anything_is_sent(
    program: Program, hub: LoopbackHub, variables: Mapping[str, str], words: str
) -> None:
    env = {"HF_ENDPOINT": hub.url, **NO_KEYRING, **variables}
    assert words in told(program.run("pull", "slmdesk/guide-GGUF", env=env))
    assert not hub.requests


def test_a_proxy_that_cannot_be_used_hides_no_list_of_models(program: Program) -> None:
    env = {"ALL_PROXY": "socks4://127.0.0.1:9", "HF_ENDPOINT": "http://127.0.0.1:9", **NO_KEYRING}
    found = program.run("search", "qwen", "--limit", "1", env=env)
    assert found.code == 0, found.err
    assert "Qwen/" in found.out
    assert "socks4" in found.err
    assert program.run("list", env=env).code == 0


def test_a_number_sign_in_a_proxys_password_reaches_the_proxy(program: Program, hub: LoopbackHub) -> None:
    # A proxy is sent whole addresses; the loopback hub answers them like its own.
    proxy = hub.url.replace("http://", "http://ada:pa#ss@")
    env = {"HF_ENDPOINT": "http://models.invalid", "HTTP_PROXY": proxy, **NO_KEYRING}
    found = program.run("search", "slmdesk/guide-GGUF", "--json", env=env)
    assert found.code == 0, found.err
    assert "slmdesk/guide-GGUF" in found.out
    sent = {request.headers["proxy-authorization"] for request in hub.requests}
    assert sent == {"Basic " + base64.b64encode(b"ada:pa#ss").decode()}
    logs = "".join(path.read_text("utf-8") for path in program.home.rglob("*.log"))
    assert "pa#ss" not in found.out + found.err + logs


def test_what_clings_to_a_copied_token_is_left_away(program: Program, hub: LoopbackHub) -> None:
    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "\ufeff hf_knownToken123\u200b\n", **NO_KEYRING}
    found = program.run("search", "guide", "--json", env=env)
    assert found.result["error"] is None, found.out
    assert hub.holders_of("hf_knownToken123") == {"hub"}


def test_a_byte_order_mark_keeps_the_settings(program: Program) -> None:
    settings = program.home / "config" / "settings.toml"
    path = Path(program.run("config", "--json").result["path"])
    assert path.name == settings.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'\xef\xbb\xbf[chat]\ntemperature = 0.25\n[logs]\nlevel = "debug"\n')
    assert program.run("config", "chat.temperature", "--json").result["value"] == 0.25
    changed = program.run("config", "chat.top_k", "7")
    assert (changed.code, changed.err) == (0, "")
    assert program.run("config", "logs.level", "--json").result["value"] == "debug"
    assert not list(path.parent.glob("*.damaged*"))


@posix
@pytest.mark.parametrize(
    "words",
    [(b"show", b"a\xff/b"), (b"import", b"/tmp/\xfe"), (b"config", b"chat.model", b"\xff"), (b"\xff",)],
)
def test_bytes_that_are_no_text_are_refused_in_words(program: Program, words: tuple[bytes, ...]) -> None:
    command = [*map(os.fsencode, program.command()), *words]
    done = subprocess.run(command, env=program.environment(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no UTF-8 text" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@posix
def test_bytes_that_are_no_text_are_no_value_of_a_setting(program: Program) -> None:
    env = {**program.environment(), "SLMDESK_CHAT_MODEL": os.fsdecode(b"a\xff/b")}
    done = subprocess.run(
        program.command("config", "chat.model"), env=env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert b"SLMDESK_CHAT_MODEL is wrong" in done.stderr
    assert b'chat.model = ""' in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("--help",), ("config", "--table")])
def test_a_full_stdout_is_told(program: Program, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _into(program, full.fileno(), *words)
    assert "stdout: no space left" in told(done)


@posix
@pytest.mark.parametrize("words", ["list", "list --json", "chat -p hello"])
def test_a_closed_stdout_is_told(program: Program, words: str) -> None:
    done = _shell(program, f"{words} >&-")
    assert "stdout: it is closed" in told(done)


@posix
def test_closed_and_full_side_streams_end_nothing(program: Program) -> None:
    for streams in ("2>&-", "<&-", "2>/dev/full"):
        done = _shell(program, f"list {streams}")
        assert done.code == 0
        assert "slmdesk/desk-guide" in done.out
    assert _shell(program, "show nobody/nothing 2>&-").code == 1


def _into(program: Program, stdout: int, *words: str) -> Result:
    done = subprocess.run(
        program.command(*words),
        env=program.environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, "", done.stderr.decode())


def _shell(program: Program, words: str) -> Result:
    python = " ".join(program.command())
    done = subprocess.run(
        ["sh", "-c", f"{python} {words}"],
        env=program.environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
