"""Secrets: in a real Secret Service, and without any keyring."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from slmdesk.core import logs
from slmdesk.core.secrets import Secrets

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")

# Two processes' worth of use: one keeps secrets, one finds them, changes and deletes them.
KEEP = """
import json
from slmdesk.core.secrets import Secrets
secrets = Secrets()
secrets.set("hub", "hf_Grüße-0123456789")
secrets.set("proxy", "second")
print(json.dumps([secrets.persistent, str(secrets.problem)]))
"""
FIND = """
import json
from slmdesk.core.secrets import Secrets
secrets = Secrets()
found = [secrets.get("hub"), secrets.get("proxy"), secrets.get("nothing")]
secrets.set("hub", "changed")
secrets.delete("proxy")
secrets.delete("nothing")
found += [Secrets().get("hub"), Secrets().get("proxy"), secrets.persistent, str(secrets.problem)]
print(json.dumps(found))
"""


class Refusing(keyring.backend.KeyringBackend):
    """A keyring that is locked and stays so."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:  # noqa: ARG002
        raise keyring.errors.KeyringLocked("the value was s3cr3t-value")

    def set_password(self, service: str, username: str, password: str) -> None:  # noqa: ARG002
        raise keyring.errors.KeyringLocked(password)

    def delete_password(self, service: str, username: str) -> None:  # noqa: ARG002
        raise keyring.errors.KeyringLocked


class PlaintextKeyring(Refusing):
    """By its name, one that writes a readable file."""


def test_real_secret_service(tmp_path: Path) -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    script = tmp_path / "session.sh"
    script.write_text(
        "set -e\n"
        'printf pw | gnome-keyring-daemon --unlock --components=secrets > "$HOME/daemon.log" 2>&1\n'
        '"$1" -c "$2"\n'
        '"$1" -c "$3"\n'
    )
    kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = ["dbus-run-session", "--", "sh", str(script), sys.executable, KEEP, FIND]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    kept_line, found_line = result.stdout.strip().splitlines()
    assert json.loads(kept_line) == [True, "None"]
    assert json.loads(found_line) == ["hf_Grüße-0123456789", "second", None, "changed", None, True, "None"]
    # The keyring's own file is there, and holds no readable secret.
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != script]
    assert any(path.suffix == ".keyring" for path in files)
    assert not any(b"0123456789" in path.read_bytes() for path in files)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(keyring, "get_keyring", request.param)


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring, PlaintextKeyring], indirect=True)
def test_without_a_keyring_secrets_last_for_the_session(backend: None) -> None:
    secrets = Secrets()
    assert secrets.get("hub") is None
    secrets.set("hub", "value-1")
    assert secrets.get("hub") == "value-1"
    assert not secrets.persistent
    assert secrets.problem is not None
    assert secrets.problem.code == "keyring_missing"
    secrets.delete("hub")
    secrets.delete("hub")
    assert secrets.get("hub") is None
    secrets.set("hub", "value-2")
    assert Secrets().get("hub") is None


@pytest.mark.parametrize("backend", [Refusing], indirect=True)
def test_a_keyring_that_refuses_is_told_and_nothing_is_lost(
    backend: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = Secrets()
    assert secrets.get("hub") is None
    secrets.set("hub", "s3cr3t-value")
    assert secrets.get("hub") == "s3cr3t-value"
    assert not secrets.persistent
    assert secrets.problem is not None
    assert secrets.problem.code == "keyring_failed"
    assert "s3cr3t-value" not in str(secrets.problem.to_json())
    assert "s3cr3t-value" not in caplog.text
    secrets.delete("hub")
    assert secrets.get("hub") is None


def test_a_keyring_that_breaks_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("a plug-in is broken")

    monkeypatch.setattr(keyring, "get_keyring", broken)
    secrets = Secrets()
    secrets.set("hub", "value-1")
    assert secrets.get("hub") == "value-1"
    assert secrets.problem is not None


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring], indirect=True)
def test_secrets_stay_out_of_the_logs(backend: None) -> None:
    Secrets().set("hub", "a-word-nobody-guesses")
    assert logs.redact("it is a-word-nobody-guesses") == "it is [hidden]"
