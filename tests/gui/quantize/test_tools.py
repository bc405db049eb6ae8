"""Single steps in the window: what will come out is told, one click does it, the library offers what fits a file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton

from slmdesk.gui.app import Desk
from slmdesk.gui.library.library_page import LibraryPage
from slmdesk.gui.quantize.quantize_page import QuantizePage
from slmdesk.gui.quantize.tool_forms import FORMS
from slmdesk.gui.quantize.tool_sheet import ToolSheet
from slmdesk.gui.theme.theme import Choice
from slmdesk.quantize.host import run_child
from slmdesk.quantize.protocol import RegroupSpec
from tests.gui.quantize.conftest import Act, until

pytestmark = pytest.mark.timeout(600)
SHOTS = os.environ.get("SLMDESK_TEST_SHOTS", "")


def opened(desk: Desk, tool: str = "") -> ToolSheet:
    desk.window.go_to("quantize")
    page = desk.window.page("quantize")
    assert isinstance(page, QuantizePage)
    page.open_tools(tool)
    assert page.sheets.tools is not None
    return page.sheets.tools


async def shoot(desk: Desk, name: str) -> None:
    """With a folder in SLMDESK_TEST_SHOTS: pictures in both themes and two sizes."""
    if not SHOTS:
        return
    themes: tuple[Choice, ...] = ("light", "dark")
    for theme in themes:
        desk.theme.set_choice(theme)
        for width, height in ((1280, 800), (900, 600)):
            desk.window.resize(width, height)
            await asyncio.sleep(0.2)
            desk.window.grab().save(f"{SHOTS}/{name}-{theme}-{width}.png")
    desk.theme.set_choice("light")


def click(sheet: ToolSheet) -> None:
    QTest.mouseClick(sheet.run, Qt.MouseButton.LeftButton)


def test_a_model_is_split_and_its_parts_merged_in_the_library(
    with_jobs: Callable[[Act], None], desk_guide: Path, home: Path
) -> None:
    async def scene(desk: Desk) -> None:
        sheet = opened(desk, "split")
        assert not sheet.run.isEnabled()  # no model was named
        sheet.fields.set_values({"source": "slmdesk/desk-guide", "most": "some"})
        await until(lambda: "is no size" in sheet.result.plan.text(), "what is wrong with the size")
        assert not sheet.run.isEnabled()
        sheet.fields.set_values({"most": "20 tensors"})
        await until(sheet.run.isEnabled, "the plan")
        assert sheet.result.plan.text() == "2 files, 10 MB, in …/local/desk-guide"
        await shoot(desk, "split")
        click(sheet)
        await until(lambda: bool(sheet.result.done_words), "the parts")
        assert sheet.result.done_words == "2 files, 10 MB."
        await shoot(desk, "split-done")
        folder = home / "models" / "local" / "desk-guide"
        assert len(list(folder.glob("*-of-00002.gguf"))) == 2

        desk.window.go_to("library")
        library = desk.window.page("library")
        assert isinstance(library, LibraryPage)
        await until(lambda: library.models.row_of("local/desk-guide") >= 0, "the parts in the list")
        library.open_model("local/desk-guide")
        await until(lambda: library.detail.chosen is not None, "the file")
        merge = next(b for b in library.detail.findChildren(QPushButton) if b.text() == "Merge parts")
        assert merge.isVisible()
        await shoot(desk, "library-parts")
        QTest.mouseClick(merge, Qt.MouseButton.LeftButton)
        assert sheet.isVisible()
        assert sheet.form.id == "join"
        assert sheet.fields.values["source"].endswith("-00001-of-00002.gguf")
        await until(sheet.run.isEnabled, "the plan")
        click(sheet)
        await until(lambda: bool(sheet.result.done_words), "the one file")
        made = folder / desk_guide.name
        assert hashlib.sha256(made.read_bytes()).digest() == hashlib.sha256(desk_guide.read_bytes()).digest()
        # What is there already is told before the click.
        sheet.choose("join", {"source": str(folder / f"{desk_guide.stem}-00001-of-00002.gguf")})
        await until(lambda: sheet.result.error is not None, "what is there already")
        assert sheet.result.error is not None
        assert sheet.result.error.code == "output_exists"
        assert not sheet.run.isEnabled()

    with_jobs(scene)


def test_a_matrix_is_made_and_looked_into(
    with_jobs: Callable[[Act], None], tmp_path: Path, home: Path
) -> None:
    from slmdesk.core.paths import resources_folder

    text = tmp_path / "short.txt"
    whole = (resources_folder() / "quantize" / "guide-calibration.txt").read_text("utf-8")
    text.write_text(whole[:9000], "utf-8")

    async def scene(desk: Desk) -> None:
        sheet = opened(desk, "imatrix")
        sheet.fields.set_values({"source": "slmdesk/desk-guide", "text": str(text)})
        await until(sheet.run.isEnabled, "the plan")
        click(sheet)
        await until(lambda: bool(sheet.result.done_words), "the matrix")
        path = home / "models" / "local" / "desk-guide" / "desk-guide.imatrix.gguf"
        assert path.is_file()
        assert "28 tensors" in sheet.result.done_words
        sheet.choose("imatrix show", {"source": str(path), "model": "slmdesk/desk-guide"})
        await until(sheet.run.isEnabled, "the button")
        click(sheet)
        await until(sheet.matrix.isVisible, "the table")
        assert "All weights in the layers" in sheet.matrix.facts.text()
        assert sheet.matrix.model.rowCount() == 28
        await shoot(desk, "matrix")
        sheet.choose("imatrix show", {"source": str(text)})
        await until(sheet.run.isEnabled, "the button")
        click(sheet)
        await until(lambda: sheet.result.error is not None, "the refusal")
        assert not sheet.matrix.isVisible()
        await shoot(desk, "matrix-refused")

    with_jobs(scene)


def test_every_tool_has_a_form_that_can_be_gone_through_by_keyboard(with_jobs: Callable[[Act], None]) -> None:
    async def scene(desk: Desk) -> None:
        sheet = opened(desk)
        for form in FORMS:
            sheet.choose(form.id)
            assert sheet.tools.value == form.id
            assert sheet.run.text() == form.verb
            assert not sheet.run.isEnabled()
            await shoot(desk, f"form-{form.id.replace(' ', '-')}")
            await until(sheet.fields.isVisible, "the form")
            seen = {sheet.tools.accessibleName()}
            widget = sheet.tools.nextInFocusChain()
            while widget is not sheet.run and len(seen) < 60:
                if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisibleTo(sheet):
                    seen.add(widget.accessibleName() or widget.metaObject().className())
                widget = widget.nextInFocusChain()
            assert {entry.label for entry in form.entries} <= seen, form.id
        QTest.keyClick(sheet, Qt.Key.Key_Escape)
        page = desk.window.page("quantize")
        assert isinstance(page, QuantizePage)
        assert not sheet.isVisible()

    with_jobs(scene)


def test_a_job_is_cancelled_from_its_row(with_jobs: Callable[[Act], None], home: Path) -> None:
    async def scene(desk: Desk) -> None:
        sheet = opened(desk, "imatrix")
        sheet.fields.set_values({"source": "slmdesk/desk-guide"})
        await until(sheet.run.isEnabled, "the plan")
        click(sheet)
        await until(sheet.result.row.isVisible, "the job's row")
        await until(
            lambda: sheet.result.job is not None and sheet.result.job.state == "running", "the job at work"
        )
        await shoot(desk, "running")
        sheet.result.row.cancel.emit()
        await until(lambda: sheet.result.job is not None and sheet.result.job.ended, "its end")
        assert not sheet.result.row.isVisible()
        assert not list((home / "models").rglob("*.imatrix.gguf"))

    with_jobs(scene)


@pytest.fixture
def parts(home: Path, desk_guide: Path, tmp_path: Path) -> Path:
    """A model in parts that lies in the library."""
    asyncio.run(run_child(RegroupSpec(str(desk_guide), str(tmp_path), "cut", max_tensors=20)))
    folder = home / "models" / "maker" / "cut"
    folder.mkdir(parents=True)
    for part in tmp_path.glob("cut-*.gguf"):
        shutil.move(part, folder)
    return folder


def test_the_library_offers_what_fits_the_file(
    with_jobs: Callable[[Act], None], parts: Path, desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = parts.parent / "whole" / "whole-F16.gguf"
    whole.parent.mkdir()
    shutil.copy(desk_guide, whole)
    monkeypatch.setattr("slmdesk.gui.library.file_step.LARGE", 1_000_000)

    async def scene(desk: Desk) -> None:
        desk.window.go_to("library")
        library = desk.window.page("library")
        assert isinstance(library, LibraryPage)
        for model, words in (("maker/cut", "Merge parts"), ("maker/whole", "Split")):
            await until(lambda model=model: library.models.row_of(model) >= 0, "the model")  # type: ignore[misc]
            library.open_model(model)
            await until(lambda: library.detail.chosen is not None, "the file")
            shown = [b.text() for b in library.detail.findChildren(QPushButton) if b.isVisible()]
            assert words in shown
            assert len({"Merge parts", "Split"} & set(shown)) == 1
        library.open_model("slmdesk/desk-guide")
        shown = [b.text() for b in library.detail.findChildren(QPushButton) if b.isVisible()]
        assert not {"Merge parts", "Split"} & set(shown)  # what came with the program stays as it is

    with_jobs(scene)
