"""`slmdesk search` as a real process against a hub on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add("pub/small-0.6B-GGUF", {"a-Q4_K_M.gguf": b"GGUF"}, likes=2, downloads=5)
        hub.add("pub/other-20B", {"model.safetensors": b"w"}, likes=1, licence="mit")
        yield hub


def search(home: Path, hub: LoopbackHub, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_ENDPOINT": hub.url, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    command = [sys.executable, "-m", "slmdesk", "search", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_finds_filters_and_tells(home: Path, hub: LoopbackHub) -> None:
    done = search(
        home, hub, "small", "--format", "gguf", "--fits", "--limit", "5", "--sort", "downloads", "--json"
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "done"
    models = last["result"]["models"]
    assert [model["id"] for model in models] == ["pub/small-0.6B-GGUF"]
    assert (models[0]["tier"], models[0]["parameters"], models[0]["fits"]) == ("micro", 600_000_000, True)
    plain = search(home, hub, "--license", "mit", "--sort", "likes")
    assert "pub/other-20B" in plain.stdout
    assert "small" not in plain.stdout


def test_without_a_hub_the_built_in_list_answers(home: Path, hub: LoopbackHub) -> None:
    hub.stop()
    done = search(home, hub, "phi-4-mini")
    assert done.returncode == 0
    assert "microsoft/Phi-4-mini-instruct" in done.stdout
    assert "cannot be reached" in done.stderr
    nothing = search(home, hub, "zzzyyyxxx", "--json")
    assert nothing.returncode == 1
    assert json.loads(nothing.stdout.splitlines()[-1])["error"]["code"] == "hub_unreachable"
    assert search(home, hub, "a", "--limit", "0").returncode == 2
