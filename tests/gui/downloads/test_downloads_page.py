"""The Downloads page with a real hub and the real process that downloads."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from slmdesk.core.jobs.job_store import Job
from slmdesk.gui.app import Desk
from slmdesk.gui.chat.chat_page import ChatPage
from slmdesk.gui.downloads.downloads_page import DownloadsPage
from slmdesk.gui.downloads.rows import ActiveRow, EndedRow
from slmdesk.gui.downloads.when_ready import wish_chat
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.menu import Menu
from tests.gui.conftest import REPO, Play, until
from tests.hub import LoopbackHub

BIG = "maker/big-model-GGUF"
FILE = "small-model-Q4_K_M.gguf"


def downloads(desk: Desk) -> DownloadsPage:
    desk.window.go_to("downloads")
    page = desk.window.page("downloads")
    assert isinstance(page, DownloadsPage)
    return page


def press(widget: QWidget, text: str) -> None:
    """Click the button with this text or name."""
    button = next(
        each
        for each in widget.findChildren(Button)
        if each.isVisibleTo(widget) and text in {each.text(), each.accessibleName()}
    )
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


async def begin(desk: Desk, repo: str, file: str, title: str) -> Job:
    rooms = desk.window.application.downloads
    return await rooms.start(await rooms.plan(repo, [file]), title)


def state(desk: Desk, job: Job) -> str:
    now = desk.window.jobs.get(job.id)
    return now.state if now else ""


def test_nothing_under_way_leads_to_the_catalog(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        assert page.rows == []
        press(page, "Find a model")
        assert desk.window.current == "catalog"

    with_jobs(scene)


def test_a_finished_download_offers_a_chat_with_it(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        job = await begin(desk, REPO, FILE, "small-model Q4_K_M")
        await until(lambda: state(desk, job) == "done", "the download")
        await until(lambda: desk.window.message == "small-model Q4_K_M is here.", "the toast")
        await until(lambda: any(isinstance(row, EndedRow) for row in page.rows), "its row")
        row = page.rows[0]
        assert isinstance(row, EndedRow)
        assert row.text.text() == "10 MB, verified · just now"
        press(row, "Chat: small-model Q4_K_M")
        await until(lambda: desk.window.current == "chat", "the chat")
        chat = desk.window.page("chat")
        assert isinstance(chat, ChatPage)
        await until(lambda: "small-model" in chat.pane.composer.model_button.text(), "the model's name")
        desk.window.go_to("downloads")
        press(page.rows[0], "Take small-model Q4_K_M off the list")
        await until(lambda: page.rows == [], "an empty list")

    with_jobs(scene)


def test_it_opens_in_a_chat_by_itself_when_asked_to(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        downloads(desk)
        job = await begin(desk, REPO, FILE, "small-model Q4_K_M")
        wish_chat(desk.window.state, job.id)
        await until(lambda: desk.window.current == "chat", "the chat")

    with_jobs(scene)


def test_pause_resume_and_cancel_by_hand(with_jobs: Play, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(BIG, {"big-Q8_0.gguf": b"GGUF" + bytes(4_000_000)})
    hub.faults.slow(f"{BIG}/*", 400_000)

    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        job = await begin(desk, BIG, "big-Q8_0.gguf", "big Q8_0")
        now = desk.window.jobs.get
        await until(lambda: (seen := now(job.id)) is not None and seen.done > 0, "the first bytes")
        await until(lambda: "1 download" in desk.window.strip.jobs.text(), "the strip's words")
        assert desk.window.strip.jobs.isVisible()
        row = page.rows[0]
        assert isinstance(row, ActiveRow)
        press(row, "Pause big Q8_0")
        await until(lambda: state(desk, job) == "paused", "the pause")
        await until(lambda: desk.window.strip.jobs.text() == "1 download paused", "the strip")
        press(row, "Resume big Q8_0")
        await until(lambda: state(desk, job) == "running", "the download to go on")
        press(row, "Cancel big Q8_0")
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, Menu)
        delete, keep = menu.actions()
        assert "that came" in delete.text()
        assert keep.text() == "Cancel and keep what came"
        delete.trigger()
        menu.close()
        await until(lambda: page.rows == [], "an empty list")
        models = desk.window.application.paths.models
        await until(lambda: not list(models.rglob("*.part")), "the partial file to go")
        await until(lambda: not desk.window.strip.jobs.isVisible(), "the strip to say nothing")

    with_jobs(scene)


def test_a_job_shows_what_it_keeps_and_takes_what_counts_today(
    with_jobs: Play, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add(BIG, {"big-Q8_0.gguf": b"GGUF" + bytes(4_000_000)})
    hub.faults.slow(f"{BIG}/*", 400_000)

    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        job = await begin(desk, BIG, "big-Q8_0.gguf", "big Q8_0")
        await until(lambda: state(desk, job) == "running", "the download")
        row = page.rows[0]
        assert isinstance(row, ActiveRow)
        assert not row._kept.isVisible()
        press(row, "Pause big Q8_0")
        await until(lambda: state(desk, job) == "paused", "the pause")
        desk.window.application.settings.set("downloads.transfer", "https")
        desk.window.go_to("catalog")
        page = downloads(desk)
        await until(row._kept.isVisible, "what it keeps")
        assert row._kept.text() == "It keeps what it was made with: way of transfer auto, today https."
        if folder := os.environ.get("SLMDESK_TEST_SHOTS"):
            desk.window.grab().save(f"{folder}/kept.png")
        press(row, "Use what counts today")
        await until(lambda: state(desk, job) in {"running", "queued"}, "the download to go on")
        await until(lambda: not row._kept.isVisible(), "nothing to be kept any more")
        now = desk.window.jobs.get(job.id)
        assert now is not None
        assert now.made_with["settings"]["downloads.transfer"] == "https"
        await desk.window.application.jobs.cancel(job.id)
        await until(lambda: page.rows == [], "an empty list")

    with_jobs(scene)


def test_the_queue_is_put_in_another_order(with_jobs: Play, hub: LoopbackHub) -> None:
    hub.add(BIG, {f"{name}-Q8_0.gguf": b"GGUF" + bytes(3_000_000) + name.encode() for name in "abc"})
    hub.faults.slow(f"{BIG}/*", 100_000)

    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        desk.window.application.settings.set("downloads.parallel", 1)
        jobs = [await begin(desk, BIG, f"{name}-Q8_0.gguf", name) for name in "abc"]
        await until(lambda: [row.job.title for row in page.rows] == ["a", "b", "c"], "three rows")
        await until(lambda: state(desk, jobs[0]) == "running", "the first one")
        page.controller.move(desk.window.jobs.get(jobs[2].id), "up")
        await until(lambda: [row.job.title for row in page.rows] == ["a", "c", "b"], "the new order")
        page.controller.hold_all()
        await until(lambda: all(state(desk, job) == "paused" for job in jobs), "all paused")
        for job in jobs:
            page.controller.cancel(desk.window.jobs.get(job.id))
        await until(lambda: page.rows == [], "an empty list")

    with_jobs(scene)


def test_what_failed_says_why_and_what_helps(with_jobs: Play, hub: LoopbackHub) -> None:
    hub.add(BIG, {"no-Q4_0.gguf": b"this is no model" * 4000})

    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        job = await begin(desk, BIG, "no-Q4_0.gguf", "no Q4_0")
        await until(lambda: state(desk, job) == "failed", "the failure")
        await until(lambda: any(isinstance(row, EndedRow) for row in page.rows), "its row")
        row = page.rows[0]
        assert isinstance(row, EndedRow)
        assert "GGUF" in row.text.text()
        assert desk.window.strip.jobs.text() == "1 download failed"
        press(row, "Choose another file: no Q4_0")
        assert desk.window.current == "catalog"

    with_jobs(scene)


def test_limits_are_set_where_they_are_needed(with_jobs: Play, hub: LoopbackHub) -> None:
    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        settings = desk.window.application.settings
        parallel, rate, _ = page.header_widgets()
        parallel.chosen.emit(4)  # type: ignore[attr-defined]
        rate.chosen.emit(5.0)  # type: ignore[attr-defined]
        await until(lambda: settings.get("downloads.parallel") == 4, "the setting")
        await until(lambda: settings.get("downloads.max_rate") == 5.0, "the limit")

    with_jobs(scene)


@pytest.mark.parametrize("count", [300])
def test_a_long_history_is_shown_piece_by_piece(with_jobs: Play, hub: LoopbackHub, count: int) -> None:
    async def scene(desk: Desk) -> None:
        store = desk.window.application.jobs.store
        for number in range(count):
            job = await store.create("download", {}, f"model {number}")
            await store.transition(job.id, "failed")
        page = downloads(desk)
        await until(lambda: len(page.rows) == 20, "the first rows")

        def more() -> list[Button]:
            return [each for each in page.findChildren(Button) if each.text() == "Show 20 more of 280"]

        await until(lambda: bool(more()), "the rest to be offered")
        QTest.mouseClick(more()[0], Qt.MouseButton.LeftButton)
        await until(lambda: len(page.rows) == 40, "more rows")

    with_jobs(scene)


def test_how_long_ago_a_job_ended_is_said_anew(
    with_jobs: Play, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(desk: Desk) -> None:
        page = downloads(desk)
        job = await begin(desk, REPO, FILE, "small Q4_K_M")
        await until(lambda: state(desk, job) == "done", "the download")
        await until(lambda: any(isinstance(row, EndedRow) for row in page.rows), "its row")
        row = next(row for row in page.rows if isinstance(row, EndedRow))
        assert row.text.text().endswith("just now")
        later = time.time() + 600
        monkeypatch.setattr(time, "time", lambda: later)
        page._clock.timeout.emit()
        assert row.text.text().endswith("10 min ago")
        monkeypatch.undo()

    with_jobs(scene)
