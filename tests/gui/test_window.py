"""The whole program in a window: places, shortcuts, palette, settings, errors, geometry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QLabel, QScrollArea, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.gui.app import Desk
from slmdesk.gui.error_panels import MOST
from slmdesk.gui.rail import RailButton
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.fields import SearchField

from .conftest import CTRL, Play, press, until

NOISE = "This plugin does not support propagateSizeHints()\n"


def test_places_change_by_shortcut_and_by_click(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        assert window.current == "chat"
        press(desk, Qt.Key.Key_4, CTRL)
        assert window.current == "downloads"
        press(desk, Qt.Key.Key_1, CTRL)
        assert window.current == "chat"
        press(desk, Qt.Key.Key_Comma, CTRL)
        assert window.current == "settings"
        chat = next(each for each in window.findChildren(RailButton) if each.text() == "Chat")
        QTest.mouseClick(chat, Qt.MouseButton.LeftButton)
        assert window.current == "chat"
        assert [each.isChecked() for each in window.findChildren(RailButton)].count(True) == 1
        window.go_to("about")
        assert not any(each.isChecked() for each in window.findChildren(RailButton))
        assert not window.errors_shown

    play(scene)


def test_the_rail_shows_icons_only_in_a_narrow_window(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        button = window.findChild(RailButton)
        assert isinstance(button, RailButton)
        for width, rail in ((MEASURE.narrow, MEASURE.rail), (MEASURE.narrow - 1, MEASURE.rail_narrow)):
            window.resize(width, MEASURE.minimum_height)
            await until(lambda rail=rail: button.parentWidget().width() == rail, "the rail to change")
        assert button.toolTip() == button.text()

    play(scene)


@pytest.mark.parametrize("size", [(720, 480), (900, 600)], ids=str)
def test_nothing_is_cut_off_or_scrolls_sideways(play: Play, size: tuple[int, int]) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        window.resize(*size)
        window.show_error(SlmDeskError("x", "A long message about what happened. " * 4, "Do this. " * 8))
        for page in ("chat", "catalog", "library", "downloads", "settings", "about"):
            window.go_to(page)
            await asyncio.sleep(0.1)
            assert (window.width(), window.height()) == size, f"{page} forces the window to grow"
            for area in window.findChildren(QAbstractScrollArea):
                if area.isVisible() and area.property("kind") != "code":
                    assert area.horizontalScrollBar().maximum() == 0, f"{page}: {area} scrolls sideways"
            for area in window.findChildren(QScrollArea):
                inner = area.widget()
                if area.isVisible() and inner is not None:
                    assert inner.width() <= area.viewport().width(), f"{page}: wider than its view"
            outside = [
                f"{page}: {type(each).__name__} {each.accessibleName()!r} {left}+{each.width()}"
                for each in window.findChildren(QWidget)
                if each.isVisible()
                and (left := each.mapTo(window, QPoint(0, 0)).x()) + each.width() > window.width()
            ]
            assert outside == []

    play(scene)


def test_the_palette_filters_and_runs(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        before = QApplication.focusWidget()
        press(desk, Qt.Key.Key_K, CTRL)
        palette = window.palette_of_actions()
        assert palette.isVisible()
        assert {"New chat", "Go to Settings", "Use dark colours", "Make text larger"} <= set(palette.titles)
        assert "Show all actions" not in palette.titles
        QTest.keyClicks(QApplication.focusWidget(), "udc")
        assert palette.titles[0] == "Use dark colours"
        press(desk, Qt.Key.Key_Return)
        assert not palette.isVisible()
        await until(lambda: desk.theme.dark, "the dark scheme")
        await until(lambda: window.message == "Theme changed to Dark.", "the toast")
        press(desk, Qt.Key.Key_K, CTRL)
        QTest.keyClicks(QApplication.focusWidget(), "zzz")
        assert palette.titles == []
        press(desk, Qt.Key.Key_Return)
        assert palette.isVisible(), "nothing found, nothing run"
        press(desk, Qt.Key.Key_Escape)
        assert not palette.isVisible()
        assert QApplication.focusWidget() is before, "the focus is back where it was"
        press(desk, Qt.Key.Key_K, CTRL)
        QTest.keyClicks(QApplication.focusWidget(), "go to")
        press(desk, Qt.Key.Key_Down)
        press(desk, Qt.Key.Key_Return)
        assert window.current == "catalog"

    play(scene)


def test_the_palette_knows_the_actions_of_places_never_visited(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        press(desk, Qt.Key.Key_K, CTRL)
        before = {one.id: one for one in window.actions_known.matching("")}
        press(desk, Qt.Key.Key_Escape)
        assert {"library.verify", "catalog.advise", "downloads.clear", "settings.find"} <= set(before)
        for spec in ("catalog", "library", "downloads", "quantize", "settings", "chat"):
            own = {one.id: one for one in window.page(spec).commands()}
            for early in [one for one in before.values() if one.id.partition(".")[0] == spec]:
                assert own[early.id].title == early.title
                assert own[early.id].shortcut == early.shortcut
            # What a place can do at any time, it can do before it was looked at.
            assert {key for key, one in own.items() if one.enabled is None} <= set(before)

    play(scene)


def test_the_palette_finds_conversations_and_models(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        chats = window.application.chats
        made = await chats.create()
        turn = chats.send(made.id, "Recipes with quinces")
        await anext(turn)
        await turn.aclose()
        press(desk, Qt.Key.Key_K, CTRL)
        palette = window.palette_of_actions()
        QTest.keyClicks(QApplication.focusWidget(), "quinc")
        await until(lambda: "Recipes with quinces" in palette.titles, "the conversation")
        press(desk, Qt.Key.Key_Up)  # from the first round to the last, which is what was found
        press(desk, Qt.Key.Key_Return)
        page = window.page("chat")
        await until(lambda: page.controller.current == made.id, "the conversation to be shown")
        press(desk, Qt.Key.Key_K, CTRL)
        QTest.keyClicks(QApplication.focusWidget(), "desk guide")
        await until(lambda: any(title.startswith("Chat with Desk Guide") for title in palette.titles), "it")

    play(scene)


def test_ctrl_f_searches_the_page_that_is_shown(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        for page in ("settings", "catalog", "library", "chat"):
            desk.window.go_to(page)
            await until(lambda page=page: desk.window.current == page, "the page")
            press(desk, Qt.Key.Key_F, CTRL)
            focused = QApplication.focusWidget()
            assert isinstance(focused, SearchField), page
            shown = desk.window.page(page)
            assert shown.isAncestorOf(focused) or focused in shown.header_widgets(), page
            assert desk.window.current == page

    play(scene)


def test_a_defect_in_a_slot_is_reported_and_the_window_lives(
    play: Play, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(desk: Desk) -> None:
        def broken() -> None:
            raise ZeroDivisionError("a defect")

        QTimer.singleShot(0, broken)
        await until(lambda: desk.window.errors_shown, "the report")
        assert isinstance(desk.window.errors_shown[0], ZeroDivisionError)

        async def broken_too() -> None:
            raise KeyError("another defect")

        desk.window.run(broken_too(), "a test")
        await until(lambda: len(desk.window.errors_shown) == 2, "the second report")
        asyncio.get_running_loop().call_soon(broken)
        press(desk, Qt.Key.Key_Comma, CTRL)
        assert desk.window.current == "settings"
        for number in range(5):
            desk.window.show_error(SlmDeskError("x", f"Number {number}.", ""))
        assert len(desk.window.errors_shown) == MOST
        await asyncio.sleep(0.1)

    play(scene)
    assert "ZeroDivisionError: a defect" in capsys.readouterr().err
    assert "another defect" in (Paths.resolve().logs / "window.log").read_text("utf-8")


def test_an_error_stays_on_its_page_and_goes_when_the_thing_works(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        works = False

        async def work() -> None:
            if not works:
                raise SlmDeskError("disk_full", "The disk is full.", "Make room on it.")

        window.run(work(), "trying")
        await until(
            lambda: [str(e) for e in window.errors_shown] == ["The disk is full. Make room on it."], "it"
        )
        assert window.notices.isVisible()
        window.go_to("catalog")
        assert window.errors_shown == []
        assert not window.notices.isVisible()
        window.go_to("chat")
        assert len(window.errors_shown) == 1
        window.show_error(ValueError("a defect"))
        window.go_to("catalog")
        assert [type(error) for error in window.errors_shown] == [ValueError]
        works = True
        window.run(work(), "trying")
        await until(lambda: len(window.notices._panels) == 1, "the panel to go")
        window.go_to("chat")
        assert [type(error) for error in window.errors_shown] == [ValueError]

    play(scene)


def test_size_and_place_are_remembered(play: Play) -> None:
    async def leave(desk: Desk) -> None:
        desk.window.resize(750, 607)
        desk.window.go_to("settings")

    async def return_(desk: Desk) -> None:
        assert (desk.window.width(), desk.window.height()) == (750, 607)
        assert desk.window.current == "settings"

    play(leave)
    play(return_)


def test_text_grows_at_once(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        before = QApplication.font().pixelSize()
        press(desk, Qt.Key.Key_Equal, CTRL)
        await until(lambda: QApplication.font().pixelSize() == before + 1, "larger text")
        press(desk, Qt.Key.Key_Minus, CTRL)
        await until(lambda: QApplication.font().pixelSize() == before, "smaller text")

    play(scene)


def test_twelve_presses_make_text_as_large_as_it_gets_and_only_what_is_shown_is_styled_at_once(
    play: Play,
) -> None:
    async def scene(desk: Desk) -> None:
        window = desk.window
        for each in ("catalog", "library", "downloads", "quantize", "settings", "chat"):
            window.go_to(each)
            await asyncio.sleep(0)
        window.activateWindow()
        await until(window.isActiveWindow, "an active window")  # shortcuts work in no other
        for _ in range(12):
            press(desk, Qt.Key.Key_Equal, CTRL)
        await until(lambda: desk.live.get("appearance.text_size") == 20, "the largest text")
        await until(lambda: desk.theme.type.body == 20, "larger text")
        shown, hidden = window.page("chat"), window.page("settings")
        assert shown.styleSheet() != hidden.styleSheet()
        assert "font-size: 20px" in shown.styleSheet()
        label = next(label for label in hidden.findChildren(QLabel) if label.property("role") == "small")
        before = label.font().pixelSize()
        window.go_to("settings")
        assert hidden.styleSheet() == shown.styleSheet()
        assert label.font().pixelSize() > before

    play(scene)


def test_a_second_start_raises_the_first_window(play: Play) -> None:
    """The second start is a process of its own, with the program's own entry."""

    async def scene(desk: Desk) -> None:
        window = desk.window
        window.showMinimized()
        await until(window.isMinimized, "the window to be minimised")
        code = "import sys; from slmdesk.gui.app import run; sys.exit(run(['slmdesk']))"
        second = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (second.returncode, second.stderr.replace(NOISE, "")) == (0, "")
        await until(lambda: not window.isMinimized(), "the window to come up")

    play(scene)


def test_a_window_that_died_leaves_nothing_in_the_way(play: Play, paths: Paths) -> None:
    """The lock and the socket of a window that was killed do not keep the next from starting."""
    code = (
        "import os; from PySide6.QtCore import QCoreApplication; from pathlib import Path\n"
        "from slmdesk.gui.single import SingleInstance\n"
        "app = QCoreApplication([])\n"
        f"single = SingleInstance(Path({str(paths.runtime)!r})); assert single.first(); single.listen()\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 9

    async def scene(desk: Desk) -> None:
        assert desk.window.application.paths == paths

    play(scene)
