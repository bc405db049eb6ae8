"""The page of a first start: when it comes, what it finds, and where it leads."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from slmdesk.catalog.advise import Advice
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.gpus import Gpu
from slmdesk.core.paths import Paths
from slmdesk.core.state import StateFile
from slmdesk.gui.app import Desk
from slmdesk.gui.first_run import marker, words
from slmdesk.gui.first_run.first_run_controller import FOLDERS
from slmdesk.gui.first_run.first_run_page import FirstRunPage
from slmdesk.gui.single import SingleInstance
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.library.new_folder import room_in, try_folder
from tests.hub import LoopbackHub

from .conftest import Play, until


async def welcome(desk: Desk) -> FirstRunPage:
    """The page, with its recommendation."""
    desk.window.go_to(marker.PAGE)
    page = desk.window.page(marker.PAGE)
    assert isinstance(page, FirstRunPage)
    await until(lambda: page.controller.known and "free of" in page.folder._room.text(), "the page to fill")
    return page


def first(paths: Paths) -> bool:
    return marker.is_first_start(paths, StateFile(paths.state_file))


def test_only_a_start_without_any_trace_of_work_is_a_first_one(home: Path) -> None:
    paths = Paths.resolve()
    paths.ensure()
    assert first(paths)
    paths.database.write_bytes(b"")
    assert not first(paths), "somebody talked in the terminal before"
    paths.database.unlink()
    state = StateFile(paths.state_file)
    state.set("window.geometry", "x")
    assert not first(paths), "a window was closed here before"
    marker.keep_open(state)
    assert first(paths), "the page was left without a choice"
    marker.keep_done(state)
    marker.keep_open(state)
    assert not first(paths)
    paths.state_file.write_text("{ damaged", "utf-8")
    assert not first(paths)


def test_the_window_begins_with_the_page_and_remembers_that_it_was_left(
    qapp: QApplication, home: Path
) -> None:
    paths = Paths.resolve()
    paths.ensure()

    def start(leave: str) -> str:
        single = SingleInstance(paths.runtime, qapp)
        assert single.first()
        desk = Desk(qapp, paths, single, welcome=first(paths))
        began = desk.window.current
        if leave:
            desk.window.attached.connect(lambda: desk.window.go_to(leave))
        desk.window.attached.connect(desk.window.close)
        try:
            assert desk.run() == 0
        finally:
            single.release()
            for each in (desk.window, desk.theme, desk, single):
                each.deleteLater()
        return began

    assert start("") == marker.PAGE
    assert start("chat") == marker.PAGE, "closed without a choice: it comes once more"
    assert start("") == "chat"


def test_the_page_begins_with_the_starter_where_it_is_there(starter: Path, play: Play) -> None:
    assert starter.is_file()

    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        row = page.built_in
        assert (row.title.text(), row.start.text()) == ("SmolLM2-135M-Instruct", "Start with this model")
        assert "Desk Guide, which is here too" in row.text.text()
        row.start.click()
        assert desk.window.current == "chat"

    play(scene)


def test_the_page_is_done_with_the_keyboard_alone(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        names = []
        for _ in range(4):
            QTest.keyClick(QApplication.focusWidget() or desk.window, Qt.Key.Key_Tab)
            focused = QApplication.focusWidget()
            assert isinstance(focused, Button)
            names.append(focused.accessibleName() or focused.text())
        assert page.controller.advice is not None
        assert names == [
            "Change the models folder",
            f"Download {page.controller.advice.model.name} and chat",
            "Start with the built-in model",
            "Look at other models",
        ]
        page.built_in.start.setFocus(Qt.FocusReason.TabFocusReason)
        QTest.keyClick(page.built_in.start, Qt.Key.Key_Space)
        assert desk.window.current == "chat"
        assert desk.window.state.get(marker.KEY) == "done"

    play(scene)


def test_it_says_what_the_machine_has_and_recommends_what_fits(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        await until(lambda: "looking" not in page.machine.text.text(), "the machine")
        assert "of memory" in page.machine.text.text()
        advice = page.controller.advice
        assert advice is not None
        assert not advice.model.gated
        assert page.model.title.text() == advice.model.name
        assert advice.fit.verdict != "too_big"
        assert "GB" in page.model.pill.text or "MB" in page.model.pill.text
        # A full disk leaves the built-in model, as the one thing to do.
        page.controller.free = 1000
        page.controller.recommend()
        assert page.controller.advice is None
        assert page.model.download.isHidden()
        assert page.built_in.start.property("kind") == "primary"

    play(scene)


def test_a_folder_is_taken_and_the_change_undone(play: Play, tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        application = desk.window.application
        assert page.folder.path == str(application.paths.models)
        wanted = tmp_path / "elsewhere" / "models"
        await page.controller.take_folder(wanted)
        assert application.library.folders == [wanted]
        assert page.folder.path == str(wanted)
        assert list(wanted.iterdir()) == [], "the trial leaves something behind"
        assert desk.window.undo()
        await until(lambda: application.library.folders == [application.paths.models], "the undo")
        await until(lambda: page.folder.path == str(application.paths.models), "the undo to show")

    play(scene)


def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(play: Play, tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("x")

    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        before = page.folder.path
        await page.controller.take_folder(file)
        assert str(file) in page.folder.problem
        assert page.folder.path == before
        assert desk.window.settings.get(FOLDERS) == ""
        assert not desk.window.errors_shown
        await page.controller.take_folder(tmp_path / f"a{os.pathsep}b")
        assert "separates folders" in page.folder.problem
        await page.controller.take_folder(tmp_path / "good")
        assert page.folder.problem == ""

    play(scene)


@pytest.mark.skipif(sys.platform == "win32", reason="access bits")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.access(closed, os.W_OK):
            pytest.skip("this user may write anywhere")
        with pytest.raises(SlmDeskError) as refused:
            try_folder(closed)
        assert refused.value.code == "folder_unwritable"
    finally:
        closed.chmod(stat.S_IRWXU)
    assert try_folder(closed).total > 0
    assert room_in(tmp_path / "not" / "there").total > 0


def test_without_a_network_the_download_says_so_and_the_built_in_model_still_starts(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        QTest.mouseClick(page.model.download, Qt.MouseButton.LeftButton)
        await until(lambda: page.findChildren(ErrorPanel), "the error")
        assert not desk.window.errors_shown
        assert desk.window.current == marker.PAGE
        assert page.model.download.isEnabled()
        QTest.mouseClick(page.built_in.start, Qt.MouseButton.LeftButton)
        assert desk.window.current == "chat"

    play(scene)


def test_the_recommended_model_is_downloaded_and_chatted_with(
    with_jobs: Play, hub: LoopbackHub, desk_guide: Path
) -> None:
    async def scene(desk: Desk) -> None:
        page = await welcome(desk)
        advice = page.controller.advice
        assert advice is not None
        hub.add(advice.repo, {f"model-{advice.quant}.gguf": desk_guide})
        QTest.mouseClick(page.model.download, Qt.MouseButton.LeftButton)
        await until(lambda: desk.window.current == "chat", "the chat")
        assert advice.model.name in desk.window.message
        await until(lambda: any(job.state == "done" for job in desk.window.jobs.jobs), "the download")
        assert [job.title for job in desk.window.jobs.jobs] == [f"{advice.model.name} {advice.quant}"]
        name = advice.repo.partition("/")[2]
        chat = desk.window.page("chat")
        await until(lambda: name in chat.controller.model, "the chat with it")

    with_jobs(scene)


def test_words_of_the_machine() -> None:
    gpu = Gpu("Some Card", 12_000_000_000, 0, "cuda")
    line = words.machine(16_000_000_000, 9_500_000_000, 8, (gpu,))
    assert line == "16.0 GB of memory, 9.5 GB of it free · 8 cores · Some Card, 12.0 GB"
    assert words.machine(0, 0, 1, None) == "1 core · looking for graphics…"
    assert words.machine(0, 0, 0, ()) == "no graphics processor to compute with"


def test_nothing_gated_and_nothing_larger_than_the_disk_is_recommended() -> None:
    class Model:
        def __init__(self, gated: bool) -> None:
            self.gated = gated

    class One:
        def __init__(self, size: int, gated: bool = False) -> None:
            self.weights_bytes, self.model = size, Model(gated)

    gated, large, small = One(1, gated=True), One(100), One(10)
    found: list[Advice] = [gated, large, small]  # type: ignore[list-item]
    assert words.recommended(found, 1000) is large
    assert words.recommended(found, 50) is small
    assert words.recommended(found, 5) is None
