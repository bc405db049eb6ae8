"""A real window without a screen."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from slmdesk.core.paths import Paths
from slmdesk.gui.app import Desk
from slmdesk.gui.settings.settings_page import SettingsPage
from slmdesk.gui.single import SingleInstance
from slmdesk.gui.theme import Theme
from tests.hub import LoopbackHub, User

PATIENCE_S = 60.0
REPO = "maker/small-model-GGUF"
TOKEN = "hf_plantedSecretToken0123456789"
Scene = Callable[[Desk], Coroutine[Any, Any, None]]
Play = Callable[[Scene], None]


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds; fails the test when it does not in time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    return ["slmdesk", "-style", "fusion"]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a hub of the internet: the address is one where nobody listens, unless a test gives another."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def no_widget_stays(qapp: QApplication) -> Iterator[None]:
    """What a test showed is gone before the next one, here and now: Qt and Python must not meet over it later."""
    gc.disable()  # it must not run in another thread, as in the program
    yield
    for widget in QApplication.topLevelWidgets():
        widget.hide()
        widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # modules and the application stay; walking them again after each test takes longer than the test
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.enable()


@pytest.fixture
def fresh_theme(qapp: QApplication) -> Theme:
    """A theme of this test's own, light and still."""
    return Theme(qapp, choice="light", reduced_motion=True)


@pytest.fixture
def play(qapp: QApplication, home: Path) -> Iterator[Play]:
    """Runs the whole program in this process, in a home of its own, with a scene for the person's part.

    The scene begins when everything is there; the window is closed after it as a person closes it. What the
    scene raises fails the test.
    """
    del home

    def run(scene: Scene) -> None:
        paths = Paths.resolve()
        paths.ensure()
        single = SingleInstance(paths.runtime, qapp)
        assert single.first()
        desk = Desk(qapp, paths, single)
        raised: list[BaseException] = []

        async def act() -> None:
            try:
                await scene(desk)
            except BaseException as error:  # noqa: BLE001 - pytest's own failures are among them
                raised.append(error)
            finally:
                desk.window.close()
                if desk.closing.question is not None:
                    desk.window.close()  # jobs of the scene may be under way

        begun: list[asyncio.Task[None]] = []
        desk.window.attached.connect(lambda: begun.append(asyncio.get_running_loop().create_task(act())))
        try:
            assert desk.run() == 0
        finally:
            single.release()
            # What is left over would be styled anew with every later change of the theme.
            for each in (desk.window, desk.theme, desk, single):
                each.deleteLater()
            qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        if raised:
            raise raised[0]

    yield run
    assert sys.excepthook is sys.__excepthook__


@pytest.fixture
def hub(desk_guide: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """`maker/small-model-GGUF` with real GGUF files and a card; HF_ENDPOINT names the hub."""
    card = (
        b"# Small\n\nA **small** model.\n\n<script>alert(1)</script><img src='https://example.org/spy.png'>\n"
    )
    files: dict[str, bytes | Path] = {
        "small-model-Q4_K_M.gguf": desk_guide,
        "small-model-F16.gguf": desk_guide,
        "README.md": card,
    }
    with LoopbackHub({REPO: files}, users={TOKEN: User("ada")}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        yield hub


@pytest.fixture
def with_jobs(play: Play) -> Play:
    """Plays a scene, and ends the process that does the jobs and the service afterwards."""

    def run(scene: Scene) -> None:
        async def act(desk: Desk) -> None:
            try:
                await scene(desk)
            finally:
                # What the window still does could start that process once more.
                await desk.window._tasks.end()
                await asyncio.sleep(0.3)
                assert await desk.window.application.jobs.end_runner()
                client = await desk.window.application.connector.attached()
                if client is not None:
                    await client.shutdown()

        play(act)

    return run


CTRL = Qt.KeyboardModifier.ControlModifier


def press(desk: Desk, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """A key, to whatever has the focus in the window."""
    QTest.keyClick(QApplication.focusWidget() or desk.window, key, modifier)


def settings_page(desk: Desk) -> SettingsPage:
    """The page, shown."""
    desk.window.go_to("settings")
    page = desk.window.page("settings")
    assert isinstance(page, SettingsPage)
    return page
