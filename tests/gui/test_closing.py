"""Closing the window while a download is under way: it is said what goes on, and each answer does what it says."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from slmdesk.core.jobs.job_store import Job
from slmdesk.gui.app import Desk
from tests.gui.conftest import Play, until
from tests.hub import LoopbackHub

BIG = "maker/big-model-GGUF"
FILE = "big-Q8_0.gguf"


@pytest.fixture
def slow_hub(hub: LoopbackHub) -> LoopbackHub:
    hub.add(BIG, {FILE: b"GGUF" + bytes(4_000_000)})
    hub.faults.slow(f"{BIG}/*", 400_000)
    return hub


def closes(desk: Desk) -> list[bool]:
    """Holds the window's end back until the scene has looked; grows when the window would close."""
    closed: list[bool] = []
    desk.closing._close = lambda: closed.append(True)
    return closed


async def begin(desk: Desk) -> Job:
    rooms = desk.window.application.downloads
    job = await rooms.start(await rooms.plan(BIG, [FILE]), "big Q8_0")
    await until(
        lambda: (seen := desk.window.jobs.get(job.id)) is not None and seen.done > 0, "the first bytes"
    )
    return job


def test_nothing_under_way_closes_at_once(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        closed = closes(desk)
        desk.window.close()
        assert desk.closing.question is None
        assert closed
        desk.closing._close = desk._close

    play(scene)


def test_staying_changes_nothing_and_pausing_pauses_before_it_closes(
    with_jobs: Play, slow_hub: LoopbackHub
) -> None:
    async def scene(desk: Desk) -> None:
        job, closed = await begin(desk), closes(desk)
        before = QApplication.focusWidget()
        desk.window.close()
        asked = desk.closing.question
        assert asked is not None
        assert asked.accessibleName() == "1 download under way"
        assert [button.text() for button in asked.buttons.values()] == [
            "Close, let it go on",
            "Pause and close",
            "Stay",
        ]
        assert asked.buttons["close"].hasFocus()
        QTest.keyClick(asked, Qt.Key.Key_Tab)
        assert any(button.hasFocus() for button in asked.buttons.values())
        QTest.keyClick(asked, Qt.Key.Key_Escape)
        assert desk.closing.question is None
        assert QApplication.focusWidget() is before
        assert not closed
        seen = desk.window.jobs.get(job.id)
        assert seen is not None
        assert seen.state == "running"

        desk.window.close()
        asked = desk.closing.question
        assert asked is not None
        asked.buttons["pause"].click()
        await until(lambda: closed, "the window to close")
        end = time.monotonic() + 30
        while (state := (await desk.window.application.jobs.get(job.id)).state) != "paused":
            assert time.monotonic() < end, state
            await asyncio.sleep(0.05)
        desk.closing._close = desk._close

    with_jobs(scene)


def test_closing_twice_lets_it_go_on(with_jobs: Play, slow_hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        job, closed = await begin(desk), closes(desk)
        desk.window.close()
        assert desk.closing.question is not None
        desk.window.close()
        assert closed
        desk.closing._close = desk._close
        assert (await desk.window.application.jobs.get(job.id)).state == "running"

    with_jobs(scene)


def test_the_question_holds_the_keys_and_enter_answers_it(with_jobs: Play, slow_hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        await begin(desk)
        closed = closes(desk)
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        desk.window.close()
        asked = desk.closing.question
        assert asked is not None
        shown = desk.window.current
        focused = QApplication.focusWidget()
        assert focused is asked.buttons["close"]
        QTest.keyClick(focused, Qt.Key.Key_4, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClick(focused, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        assert desk.window.current == shown
        desk.window.go_to("library")  # as another start of the program with a file does
        assert asked.buttons["close"].hasFocus()
        QTest.keyClick(asked.buttons["close"], Qt.Key.Key_Return)
        assert closed
        assert desk.closing.question is None
        desk.closing._close = desk._close

    with_jobs(scene)


def test_the_question_goes_with_the_last_job(
    with_jobs: Play, slow_hub: LoopbackHub, desk_guide: Path
) -> None:
    slow_hub.add(BIG, {FILE: desk_guide})
    slow_hub.faults.clear()
    slow_hub.faults.slow(f"{BIG}/*", 2_000_000)

    async def scene(desk: Desk) -> None:
        await begin(desk)
        closed = closes(desk)
        desk.window.close()
        assert desk.closing.question is not None
        slow_hub.faults.clear()
        await until(lambda: closed, "the window to close when nothing is under way any more")
        assert desk.closing.question is None
        desk.closing._close = desk._close

    with_jobs(scene)


def test_the_window_stays_where_a_job_fails_meanwhile(with_jobs: Play, slow_hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        job, closed = await begin(desk), closes(desk)
        desk.window.close()
        # Its bytes are no model, which shows when all of them are here.
        await until(
            lambda: (seen := desk.window.jobs.get(job.id)) is not None and seen.state == "failed",
            "the failure",
        )
        assert desk.closing.question is None
        assert not closed
        desk.closing._close = desk._close

    with_jobs(scene)
