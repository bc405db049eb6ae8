"""Editors and shells begin files with a byte-order mark: what people may write by hand is read all the same."""

from __future__ import annotations

import codecs
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from slmdesk.core.settings import Settings
from slmdesk.core.state import StateFile
from slmdesk.library.verify import _beside
from slmdesk.toolchains.toolchains import Network
from slmdesk.toolchains.uv import environment


def marked(path: Path, text: str) -> Path:
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    return path


def test_the_settings_and_the_windows_state(tmp_path: Path) -> None:
    settings = Settings(marked(tmp_path / "settings.toml", "[chat]\ntop_k = 7\n"), {})
    assert (settings.get("chat.top_k"), settings.problems) == (7, [])
    settings.set("chat.top_p", 0.5)
    again = Settings(tmp_path / "settings.toml", {})
    assert (again.get("chat.top_k"), again.get("chat.top_p")) == (7, 0.5)
    assert StateFile(marked(tmp_path / "state.json", json.dumps({"tab": "chat"}))).get("tab") == "chat"


def test_hashes_and_pips_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    marked(tmp_path / "SHA256SUMS", f"{digest}  a.gguf\n")
    assert _beside(tmp_path / "a.gguf").sha256 == digest
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    config = marked(tmp_path / "pip.conf", "[global]\nindex-url = https://mirror.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert environment(Network(), None)["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"


def test_a_question_that_came_through_a_pipe(home: Path) -> None:
    del home
    command = [sys.executable, "-m", "slmdesk", "chat", "--json"]
    done = subprocess.run(command, input=codecs.BOM_UTF8, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"There is nothing to ask." in done.stdout
