"""`slmdesk stop` with a real window, and a window that is opened with a model's file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings

from .conftest import Program


def test_nothing_runs(program: Program) -> None:
    assert program.run("stop", "--json").result == {"ended": []}


def test_the_service_ends(program: Program) -> None:
    assert program.run("chat", "-p", "What is a quant?", "--json").code == 0
    assert program.run("stop", "--json").result == {"ended": ["the service"]}
    assert program.run("stop", "--json").result == {"ended": []}


@pytest.mark.skipif(
    sys.platform == "win32", reason="a window without a screen has no handle to send WM_CLOSE to"
)
def test_a_window_with_a_file_chats_with_it_and_closes(
    program: Program, desk_guide: Path, tmp_path: Path
) -> None:
    model = tmp_path / "A model.gguf"
    shutil.copy(desk_guide, model)
    environment = program.environment({"QT_QPA_PLATFORM": "offscreen"})
    with subprocess.Popen(program.command(str(model)), env=environment) as window:
        file = Paths.resolve({"SLMDESK_HOME": str(program.home)}).settings_file
        deadline = time.monotonic() + 60
        chosen = ""
        while chosen != str(model) and window.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            settings = Settings(file, {})
            settings.load()
            chosen = str(settings.get("chat.model"))
        assert chosen == str(model)
        assert "the window" in program.run("stop", "--json").result["ended"]
        assert window.wait(timeout=30) == 0
