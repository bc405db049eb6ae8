"""A token in a real Secret Service, through a real search and download: it is with the hub, and nowhere else."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.hub import LoopbackHub, User
from tests.hub.files import safetensors_file

TOKEN = "hf_plantedWhereOnlyTheHubMayLook0123"
PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")
REPO, FILE, MOVED = "maker/gated", "weights.safetensors", "moved.safetensors"
SIZE = 6_000_000
KEEP = """
import sys
from slmdesk.application import Application
application = Application.build()
application.hub.set_token(sys.stdin.readline())
assert application.secrets.persistent, application.secrets.problem
"""
SESSION = f"""
set -e
printf pw | gnome-keyring-daemon --unlock --components=secrets > "$HOME/daemon.log" 2>&1
"$1" -c "$2"
exec < /dev/null
"$1" -m slmdesk search gated --json
"$1" -m slmdesk pull {REPO}/{FILE} --json
"$1" -m slmdesk pull {REPO}/{MOVED} --json
"$1" -m slmdesk pull maker/refused/{FILE} --json || true
"$1" -m slmdesk jobs --json
"$1" -m slmdesk doctor --json > "$HOME/doctor.json" || true
"$1" -m slmdesk stop --json
"""


class Onlooker(threading.Thread):
    """Reads what everybody may: arguments and environments of all processes of one home."""

    def __init__(self, home: Path) -> None:
        super().__init__(name="onlooker", daemon=True)
        self._home = str(home)
        self._end = threading.Event()
        self.commands: set[str] = set()
        self.environments: set[str] = set()

    def run(self) -> None:
        while not self._end.wait(0.05):
            for process in psutil.process_iter():
                try:
                    environ = process.environ()
                    if environ.get("HOME") == self._home:
                        self.commands.add(" ".join(process.cmdline()))
                        self.environments.add("\n".join(f"{key}={value}" for key, value in environ.items()))
                except psutil.Error:
                    continue

    def end(self) -> None:
        self._end.set()
        self.join()


@contextmanager
def onlooker(home: Path) -> Iterator[Onlooker]:
    watching = Onlooker(home)
    watching.start()
    try:
        yield watching
    finally:
        watching.end()


def gives_away(text: bytes) -> bool:
    return TOKEN.encode() in text or base64.b64encode(TOKEN.encode()).rstrip(b"=") in text


@pytest.mark.slow
def test_the_token_of_a_real_keyring_is_nowhere_but_at_the_hub(tmp_path: Path) -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    home = tmp_path / "home"
    home.mkdir()
    script = tmp_path / "session.sh"
    script.write_text(SESSION)
    files = {FILE: safetensors_file(SIZE, 1), MOVED: safetensors_file(SIZE, 2)}
    users = {TOKEN: User("ada", accepted=frozenset({REPO}))}
    with LoopbackHub(users=users) as hub, LoopbackHub({REPO: files}) as elsewhere, onlooker(home) as saw:
        hub.add(REPO, files, gated="manual")
        hub.add("maker/refused", {FILE: files[FILE]}, gated="manual")
        hub.faults.slow(f"{REPO}/*", 4e6)
        hub.faults.redirect(
            f"{REPO}/{MOVED}", f"{elsewhere.url}/{REPO}/resolve/main/{MOVED}", where="resolve"
        )
        kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("DATA", "CACHE", "CONFIG", "STATE")}
        env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        env |= {"HF_ENDPOINT": hub.url, "SLMDESK_LOGS_LEVEL": "debug"}
        done = subprocess.run(
            ["dbus-run-session", "--", "sh", str(script), sys.executable, KEEP],
            input=f"{TOKEN}\n".encode(),
            env=env,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        events = [json.loads(line) for line in done.stdout.decode().splitlines() if line.startswith("{")]
        # The downloads needed the token, and worked; the refused one was told as what it is.
        for name in (FILE, MOVED):
            (path,) = home.rglob(name)
            assert path.read_bytes() == files[name]
        assert "licence_not_accepted" in [e["error"]["code"] for e in events if e["event"] == "error"]
        # It went to the hub, and to no other host: neither its storage nor where it redirected to.
        assert hub.holders_of(TOKEN) == {"hub"}
        assert elsewhere.holders_of(TOKEN) == set()
        assert elsewhere.served(REPO, MOVED) >= SIZE
    # No argument and no environment showed it while it was used.
    for word in ("pull", "work", "search"):
        assert any(f"slmdesk {word}" in command for command in saw.commands), saw.commands
    assert not [text for text in saw.commands | saw.environments if gives_away(text.encode())]
    # No output and no file has it: settings, database, logs, state, sidecars, the keyring's own file.
    assert not gives_away(done.stdout + done.stderr)
    written = [path for path in home.rglob("*") if path.is_file()]
    assert {".keyring", ".sqlite3", ".log"} <= {path.suffix for path in written}
    assert not [path for path in written if gives_away(path.read_bytes())]
