"""The Library page with real files: states, checks, imports, removals with Undo, leftovers, equal files."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from slmdesk.gui.app import Desk
from slmdesk.gui.dropping import Dropping
from slmdesk.gui.library.library_list import worst_state
from slmdesk.gui.library.library_page import LibraryPage
from slmdesk.gui.widgets.buttons import Button
from slmdesk.library import sidecar
from slmdesk.library.records import LibraryModel
from slmdesk.library.sidecar import Origin
from tests.gui.conftest import Play, until


def library(desk: Desk) -> LibraryPage:
    desk.window.go_to("library")
    page = desk.window.page("library")
    assert isinstance(page, LibraryPage)
    return page


def put(desk: Desk, model: str, file: str, source: Path) -> Path:
    """Place a file into the first models folder."""
    target = desk.window.application.paths.models / model / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target


def press(widget: QWidget, beginning: str) -> None:
    button = next(
        each
        for each in widget.findChildren(Button)
        if each.isVisibleTo(widget) and each.text().startswith(beginning)
    )
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def listed(page: LibraryPage, model_id: str) -> LibraryModel | None:
    return page.models.model(page.models.index(page.models.row_of(model_id)))


async def shown(page: LibraryPage, model_id: str) -> LibraryModel:
    await until(lambda: listed(page, model_id) is not None, model_id)
    model = listed(page, model_id)
    assert model is not None
    page.open_model(model_id)
    return model


def test_a_model_is_deleted_and_comes_back(with_jobs: Play, desk_guide: Path) -> None:
    async def scene(desk: Desk) -> None:
        file = put(desk, "a/one", "one-Q8_0.gguf", desk_guide)
        page = library(desk)
        await shown(page, "a/one")
        press(page.detail, "Delete")
        await until(lambda: listed(page, "a/one") is None, "the model to go")
        assert not file.exists()
        assert desk.window.message.startswith("Deleted one")
        assert desk.window.undo()
        await until(lambda: listed(page, "a/one") is not None, "the model to come back")
        await until(lambda: page.detail.model is not None and page.detail.model.id == "a/one", "its page")
        assert file.read_bytes() == desk_guide.read_bytes()
        built_in = await shown(page, "slmdesk/desk-guide")
        assert worst_state(built_in) == "built_in"
        assert not any(
            each.text() == "Delete" and each.isVisible() for each in page.detail.findChildren(Button)
        )

    with_jobs(scene)


def test_a_check_finds_what_is_damaged(with_jobs: Play, desk_guide: Path) -> None:
    async def scene(desk: Desk) -> None:
        file = put(desk, "a/one", "one-Q8_0.gguf", desk_guide)
        sidecar.record(
            file.parent, {file.name: Origin(size=file.stat().st_size, sha256="0" * 64, source="hub")}
        )
        page = library(desk)
        model = await shown(page, "a/one")
        assert worst_state(model) == "unverified"
        press(page.detail, "Verify")
        await until(lambda: desk.window.message == "1 file is damaged.", "the finding")
        await until(
            lambda: (m := listed(page, "a/one")) is not None and worst_state(m) == "damaged", "its state"
        )

    with_jobs(scene)


def test_files_dropped_on_the_window_are_imported_where_they_lie(
    with_jobs: Play, desk_guide: Path, tmp_path: Path
) -> None:
    there = tmp_path / "downloads" / "my-model-Q4_0.gguf"
    there.parent.mkdir()
    shutil.copy(desk_guide, there)

    async def scene(desk: Desk) -> None:
        dropped = QMimeData()
        dropped.setUrls([QUrl.fromLocalFile(str(there))])
        both = Qt.DropAction.CopyAction | Qt.DropAction.MoveAction
        what = (both, dropped, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
        with warnings.catch_warnings():  # Qt's next constructor is not in the oldest release that is taken
            warnings.simplefilter("ignore", DeprecationWarning)
            entering = QDragEnterEvent(QPoint(200, 200), *what)
        entering.setDropAction(Qt.DropAction.MoveAction)
        QApplication.sendEvent(desk.window, entering)
        assert entering.isAccepted()
        assert entering.dropAction() == Qt.DropAction.CopyAction, "a source that hears Move deletes its file"
        landing = desk.window.findChild(Dropping).landing
        assert landing.isVisible()
        assert str(desk.window.application.paths.models) in landing.words
        event = QDropEvent(QPointF(200, 200), *what)
        event.setDropAction(Qt.DropAction.MoveAction)
        QApplication.sendEvent(desk.window, event)
        assert event.dropAction() == Qt.DropAction.CopyAction
        assert not landing.isVisible()
        page = library(desk)
        await until(lambda: bool(page.imports.chosen()), "what was found")
        press(page.imports, "Import 1 model")
        await until(lambda: desk.window.message == "my-model imported.", "the import")
        await until(lambda: page.models.count == 2, "the model in the list")
        await until(
            lambda: page.detail.model is not None and page.detail.model.name == "my-model", "it shown"
        )
        new = next(model for model in page.models.shown if not model.built_in)
        assert new.files[0].in_place
        assert new.files[0].path == there

    with_jobs(scene)


def test_a_missing_folder_is_said_and_leftovers_go(with_jobs: Play, tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        application = desk.window.application
        models = application.paths.models
        gone = tmp_path / "usb"
        application.settings.set("library.folders", os.pathsep.join([str(models), str(gone)]))
        left = models / "a" / "one" / ".slmdesk-partial" / "abc.part"
        left.parent.mkdir(parents=True)
        left.write_bytes(bytes(1000))
        os.utime(left, (1e9, 1e9))
        page = library(desk)
        await until(lambda: set(page.notices.keys) == {"missing", "orphans"}, "both notices")
        press(page.notices, "Remove")
        await until(lambda: not left.exists(), "the leftover to go")
        await until(lambda: page.notices.keys == ["missing"], "its notice to go")

    with_jobs(scene)


def test_equal_files_are_merged(with_jobs: Play, desk_guide: Path) -> None:
    async def scene(desk: Desk) -> None:
        one = put(desk, "a/one", "one-Q8_0.gguf", desk_guide)
        two = put(desk, "b/two", "two-Q8_0.gguf", desk_guide)
        page = library(desk)
        await until(lambda: page.models.count == 3, "the models")
        page.controller.find_equal()
        await until(lambda: "equal" in page.notices.keys, "the finding")
        press(page.notices, "Merge")
        await until(lambda: one.stat().st_ino == two.stat().st_ino, "one file with two names")
        await until(lambda: desk.window.message.startswith("Merged; 10 MB"), "what it freed")

    with_jobs(scene)


def test_the_search_finds_by_part_of_a_name(with_jobs: Play, desk_guide: Path) -> None:
    async def scene(desk: Desk) -> None:
        put(desk, "maker/alpha-model", "alpha-Q8_0.gguf", desk_guide)
        page = library(desk)
        await until(lambda: page.models.count == 2, "the models")
        page.search.setText("make alph")
        assert [model.id for model in page.models.shown] == ["maker/alpha-model"]
        page.search.setText("nothing")
        assert page._none.isVisible()

    with_jobs(scene)


def test_an_open_library_notices_what_the_command_line_does(
    with_jobs: Play, desk_guide: Path, tmp_path: Path
) -> None:
    there = tmp_path / "elsewhere" / "my-model-Q4_0.gguf"
    there.parent.mkdir()
    shutil.copy(desk_guide, there)

    async def run(*words: str) -> None:
        child = await asyncio.create_subprocess_exec(sys.executable, "-m", "slmdesk", *words, "--json")
        assert await child.wait() == 0

    async def scene(desk: Desk) -> None:
        page = library(desk)
        await until(lambda: page.models.count == 1, "the built-in model")
        await run("import", str(there), "--copy")
        await until(lambda: page.models.count == 2, "the imported model")
        new = next(model for model in page.models.shown if not model.built_in)
        await run("rm", new.files[0].id)
        await until(lambda: page.models.count == 1, "the removal")

    with_jobs(scene)


def test_a_model_is_loaded_seen_and_ejected(with_jobs: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = library(desk)
        await until(lambda: page.models.count >= 1, "the built-in model")
        page.open_model("slmdesk/desk-guide")
        assert not said(page.detail, "In memory: ")
        press(page.detail, "Load")
        await until(lambda: said(page.detail, "In memory: "), "the model in memory")
        await until(lambda: "since" in said(page.detail, "In memory: "), "the end of the load")
        words = said(page.detail, "In memory: ")
        assert " MB, since just now, with a context of 2,048 tokens" in words
        assert desk.window.loaded.get("slmdesk/desk-guide:F16") is not None
        press(page.detail, "Eject")
        await until(lambda: not said(page.detail, "In memory: "), "the model to go")
        assert desk.window.message.endswith("is no longer in memory.")
        assert desk.window.loaded.models == ()

    with_jobs(scene)


def said(widget: QWidget, beginning: str) -> str:
    """What a label says whose name begins so; "" where there is none."""
    names = (label.accessibleName() for label in widget.findChildren(QLabel))
    return next((name for name in names if name.startswith(beginning)), "")


def test_a_fresh_library_shows_the_starter_as_checked(starter: Path, with_jobs: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = library(desk)
        await until(lambda: page.models.count == 2, "both models")

        def state() -> str:
            model = next(model for model in page.models.shown if not model.built_in)
            return str(worst_state(model))

        await until(lambda: state() == "starter", "the check of the starter")

    with_jobs(scene)


def test_a_models_page_begins_at_its_top_and_says_what_a_check_was_worth(
    with_jobs: Play, desk_guide: Path
) -> None:
    async def scene(desk: Desk) -> None:
        now = time.time()
        one = put(desk, "a/one", "one-Q8_0.gguf", desk_guide)
        size, modified = one.stat().st_size, one.stat().st_mtime_ns
        taken = Origin("unverified", size, "1" * 64, published=False, checked_at=now, modified_ns=modified)
        sidecar.record(one.parent, {one.name: taken})
        two = put(desk, "b/two", "two-Q8_0.gguf", desk_guide)
        compared = Origin(
            "verified", size, "2" * 64, source="hub", checked_at=now, modified_ns=modified - 10**10
        )
        sidecar.record(two.parent, {two.name: compared})
        page = library(desk)
        desk.window.resize(900, 600)
        await shown(page, "a/one")
        await until(lambda: said(page.detail, "Checked: "), "the facts")
        assert "no checksum of a publisher" in said(page.detail, "Checked: ")
        bar = page.detail._scroll.verticalScrollBar()
        await until(lambda: page.detail.panel.built and bar.maximum() > 100, "the whole page")
        bar.setValue(bar.maximum())
        await shown(page, "b/two")
        assert bar.value() == 0
        assert "changed since" in said(page.detail, "Checked: ")

    with_jobs(scene)
