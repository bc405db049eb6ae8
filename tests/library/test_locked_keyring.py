"""A keyring that is locked, or that waits for a person who is not there: a real Secret Service, the real program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub import LoopbackHub, User

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")
KEPT, GIVEN, FILED = "hf_keptInTheKeyring01", "hf_givenByVariable01", "hf_filedByTheHub01"
REPO = "maker/small"

SESSION = """
printf pw | gnome-keyring-daemon --unlock --components=secrets > "$HOME/daemon.log" 2>&1
exec "$@"
"""
BEGIN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
import psutil, secretstorage
from slmdesk.core.secrets import Secrets

KEPT, GIVEN, FILED = sys.argv[1:]
kept = Secrets()
kept.set("huggingface", KEPT)
assert kept.persistent, kept.problem
assert Secrets().get("huggingface") == KEPT
def ours(process):
    try:
        return process.name().startswith("gnome-keyring") and process.environ().get("HOME") == os.environ["HOME"]
    except psutil.Error:
        return False

daemon = next(filter(ours, psutil.process_iter()))
told = {}

def desk(name, *words, **env):
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "slmdesk", *words, "--json"], env={**os.environ, **env},
                          capture_output=True, text=True, timeout=60)
    last = json.loads(done.stdout.splitlines()[-1])
    told[name] = {"code": done.returncode, "seconds": time.monotonic() - begun, "last": last}
"""
# Presses Ctrl-C once the keyring has been asked.
CTRL_C = """
import os, signal, sys, threading, time
def press():
    while not any(thread.name == "slmdesk-keyring" for thread in threading.enumerate()):
        time.sleep(0.05)
    time.sleep(0.3)
    print(time.monotonic(), file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
from slmdesk.cli.main import main
sys.exit(main(["search", "fifth"]))
"""
LOCKED = (
    BEGIN
    + """
desk("open", "search", "first")
secretstorage.get_default_collection(secretstorage.dbus_init()).lock()
desk("locked", "search", "second")
desk("variable", "search", "third", HF_TOKEN=GIVEN)
file = Path(os.environ["HOME"], "token"); file.write_text(FILED)
desk("file", "search", "fourth", HF_TOKEN_PATH=str(file))
print(json.dumps(told))
"""
)
SILENT = (
    BEGIN
    + f"CTRL_C = {CTRL_C!r}\n"
    + """
daemon.suspend()  # as one does that waits for the person to answer its question
try:
    begun = time.monotonic()
    secrets = Secrets(patience_s=1.0)
    first, second = secrets.get("huggingface"), secrets.get("huggingface")
    told["waited"] = time.monotonic() - begun
    told["found"], told["problem"] = [first, second], secrets.known_problem.to_json()
    desk("variable", "search", "third", HF_TOKEN=GIVEN)
    desk("silent", "pull", "maker/gated")
    pressed = subprocess.run([sys.executable, "-c", CTRL_C], capture_output=True, text=True, timeout=60)
    ended = time.monotonic()
    told["ctrl_c"] = {"code": pressed.returncode, "seconds": ended - float(pressed.stderr.split()[0])}
finally:
    daemon.resume()
until = time.monotonic() + 20
while (late := secrets.get("huggingface")) is None and time.monotonic() < until:
    time.sleep(0.1)
told["late"] = [late, secrets.known_problem and secrets.known_problem.code]
print(json.dumps(told))
"""
)


def session(script: str, hub: LoopbackHub, home: Path) -> dict[str, Any]:
    """What the script tells, run in a desktop session of its own with an unlocked keyring."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"not installed here: {', '.join(missing)}")
    kept = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("DATA", "CACHE", "CONFIG", "STATE")}
    env |= {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "HF_ENDPOINT": hub.url}
    command = [
        "dbus-run-session",
        "--",
        "sh",
        "-c",
        SESSION,
        "sh",
        sys.executable,
        "-c",
        script,
        KEPT,
        GIVEN,
        FILED,
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def tokens(hub: LoopbackHub, words: str) -> set[str]:
    """Which tokens came with a search."""
    return {
        request.headers.get("authorization", "").removeprefix("Bearer ")
        for request in hub.requests
        if request.query.get("search") == [words]
    }


@pytest.fixture
def users() -> dict[str, User]:
    return {token: User("ada") for token in (KEPT, GIVEN, FILED)}


@pytest.mark.slow
def test_a_locked_keyring_ends_no_search_and_the_variable_goes_first(
    tmp_path: Path, users: dict[str, User], desk_guide: Path
) -> None:
    with LoopbackHub({REPO: {"small-F16.gguf": desk_guide}}, users=users) as hub:
        told = session(LOCKED, hub, tmp_path)
        for name in ("open", "locked", "variable", "file"):
            assert told[name]["code"] == 0, told[name]
            assert told[name]["last"]["result"]["error"] is None
        assert tokens(hub, "first") == {KEPT}
        assert tokens(hub, "second") == {""}
        assert tokens(hub, "third") == {GIVEN}
        assert tokens(hub, "fourth") == {FILED}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at threads as Linux shows them")
def test_a_keyring_that_does_not_answer_is_waited_for_once_and_not_long(
    tmp_path: Path, users: dict[str, User], desk_guide: Path
) -> None:
    with LoopbackHub({REPO: {"small-F16.gguf": desk_guide}}, users=users) as hub:
        hub.add("maker/gated", {"gated-F16.gguf": desk_guide}, gated="manual")
        told = session(SILENT, hub, tmp_path)
        assert told["found"] == [None, None]
        assert told["waited"] < 1.9
        assert told["problem"]["code"] == "keyring_locked"
        # With a token in the variable the keyring is not asked at all.
        assert told["variable"]["last"]["result"]["error"] is None
        assert tokens(hub, "third") == {GIVEN}
        # What is refused without a token says why there is none.
        error = told["silent"]["last"]["error"]
        assert error["code"] == "token_missing"
        assert "keyring does not answer" in error["hint"]
        assert told["ctrl_c"]["code"] == 130
        assert told["ctrl_c"]["seconds"] < 3
        # An answer that comes late counts from then on.
        assert told["late"] == [KEPT, None]
