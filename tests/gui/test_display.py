"""A window on a real X server: what happens when that goes away, and how popups look where nobody composes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slmdesk.core.paths import HOME_VARIABLE

PATIENCE_S = 120

pytestmark = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb here")


@contextmanager
def display() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A screen of its own: its name, and the server."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=(writing,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as told:
            number = told.readline().strip()
        assert number, "Xvfb has no display"
        yield f":{number}", server
    finally:
        server.kill()
        server.wait()


def environment(name: str, home: Path) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if key not in {"WAYLAND_DISPLAY", "QT_QPA_PLATFORM"}
    }
    return {**kept, "DISPLAY": name, "QT_QPA_PLATFORM": "xcb", HOME_VARIABLE: str(home)}


def test_a_display_that_goes_away_is_said_in_a_sentence(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with display() as (name, server):
        window = subprocess.Popen(
            [sys.executable, "-m", "slmdesk"],
            env=environment(name, home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + PATIENCE_S
        log = home / "logs" / "window.log"
        while not log.exists():
            assert window.poll() is None, window.communicate()[1]
            assert time.monotonic() < end, "the window did not start"
            time.sleep(0.05)
        server.kill()
        _, said = window.communicate(timeout=PATIENCE_S)
    assert window.returncode == 1
    assert "The display that the window was on is gone." in said
    assert "Traceback" not in said


COMPOSED = """
from PySide6.QtWidgets import QApplication
from slmdesk.gui.theme import Theme
from slmdesk.gui.widgets.menu import Menu
app = QApplication([])
menu = Menu(Theme(app, choice="light", reduced_motion=True))
menu.add("Copy", lambda: None)
menu.popup(menu.pos())
app.processEvents()
shape = menu.mask()
print(shape.isEmpty(), shape.contains(menu.rect().topLeft()), shape.contains(menu.rect().center()))
"""


def test_menus_are_cut_to_their_round_shape_where_nobody_composes(tmp_path: Path) -> None:
    with display() as (name, _server):
        done = subprocess.run(
            [sys.executable, "-c", COMPOSED],
            env=environment(name, tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    assert done.stdout.split() == ["False", "False", "True"], done.stderr
