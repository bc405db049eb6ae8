"""`slmdesk login` as a real process: a hub on the loopback, a keyring in a file, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.hub import LoopbackHub, User

TOKEN = "hf_plantedTokenOfTheLoginTests"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(users={TOKEN: User("ada")}) as hub:
        yield hub


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "home")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture
def surroundings(hub: LoopbackHub, kept: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "PYTHONPATH": str(ROOT),
        "PYTHON_KEYRING_BACKEND": "tests.file_keyring.FileKeyring",
        "SLMDESK_TEST_KEYRING": str(kept),
    }


def test_a_token_is_kept_used_and_forgotten(
    program: Program, surroundings: dict[str, str], kept: Path, hub: LoopbackHub
) -> None:
    done = program.run("login", "--json", stdin=f"{TOKEN}\n", env=surroundings)
    assert done.result == {"name": "ada", "overruled": False}
    assert TOKEN not in done.out + done.err
    assert TOKEN in json.loads(kept.read_text()).values()
    hub.forget()
    program.run("search", "anything", "--json", env=surroundings)
    assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
    assert program.run("login", "--forget", "token", "--json", env=surroundings).code == 0
    assert not json.loads(kept.read_text())


def test_a_token_of_nobody_is_refused_and_not_kept(
    program: Program, surroundings: dict[str, str], kept: Path
) -> None:
    done = program.run("login", "--json", stdin="hf_ofNobodyAtAllInTheseTests\n", env=surroundings)
    assert done.code == 1
    assert done.error["code"] == "token_invalid"
    assert not kept.exists()
    assert program.run("login", "--json", stdin="\n", env=surroundings).code == 2


def test_a_proxy_login_is_kept_beside_the_setting(
    program: Program, surroundings: dict[str, str], kept: Path, hub: LoopbackHub
) -> None:
    assert program.run("login", "--proxy", "ada", "--json", stdin="pw\n", env=surroundings).code == 2
    program.run("config", "network.proxy", hub.url, env=surroundings)
    done = program.run("login", "--proxy", "ada", "--json", stdin="pass:word\n", env=surroundings)
    assert done.result == {"proxy": hub.url, "user": "ada"}
    assert "ada:pass:word" in json.loads(kept.read_text()).values()
    assert "pass:word" not in (program.home / "config" / "settings.toml").read_text()
    # A proxy is sent whole addresses; the loopback hub answers them like its own.
    hub.forget()
    away = surroundings | {"HF_ENDPOINT": "http://models.invalid"}
    program.run("search", "anything", "--json", env=away)
    assert hub.requests[-1].headers["proxy-authorization"] == "Basic YWRhOnBhc3M6d29yZA=="
    assert program.run("login", "--forget", "proxy", env=surroundings).code == 0
    assert not json.loads(kept.read_text())


def test_without_a_keyring_nothing_is_said_to_be_kept(program: Program, surroundings: dict[str, str]) -> None:
    nowhere = surroundings | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    done = program.run("login", "--json", stdin=f"{TOKEN}\n", env=nowhere)
    assert done.code == 1
    assert done.error["code"] == "keyring_missing"
    assert "Nothing was kept." in done.error["message"]
