"""The whole program in a window: places, shortcuts, palette, settings, errors, geometry."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QLabel, QScrollArea, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.setting_table import SETTINGS
from slmdesk.engines.safe_steps import ModelFile, safe_steps_in
from slmdesk.gui.app import Desk
from slmdesk.gui.error_panels import MOST
from slmdesk.gui.rail import RailButton
from slmdesk.gui.settings.model_select import ModelSelect
from slmdesk.gui.settings.settings_page import SettingsPage
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import SearchField, TextArea
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch
from slmdesk.gui.widgets.values import NumberField

from .conftest import Play, until

NOISE = "This plugin does not support propagateSizeHints()\n"
CTRL = Qt.KeyboardModifier.ControlModifier


def press(desk: Desk, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """A key, to whatever has the focus in the window."""
    QTest.keyClick(QApplication.focusWidget() or desk.window, key, modifier)


def stored(paths: Paths) -> dict[str, dict[str, object]]:
    return tomllib.loads(paths.settings_file.read_text("utf-8")) if paths.settings_file.exists() else {}


def settings_page(desk: Desk) -> SettingsPage:
    desk.window.go_to("settings")
    page = desk.window.page("settings")
    assert isinstance(page, SettingsPage)
    return page


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


def test_the_settings_page_has_every_setting_with_help_default_and_name(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        assert set(page.rows) == {setting.key for setting in SETTINGS}
        for row in page.rows.values():
            assert row.control.accessibleName() == row.setting.title
            assert row.setting.help in row.text.text()
        assert isinstance(page.rows["network.offline"].control, Switch)
        assert isinstance(page.rows["appearance.theme"].control, SegmentedSwitch)
        assert isinstance(page.rows["chat.system_prompt"].control, TextArea)
        restart = [row for row in page.rows.values() if row.setting.restart]
        assert restart
        assert all("next start" in row.text.text() for row in restart)

    play(scene)


def test_search_leaves_only_what_was_meant(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        page.filter("reduce motion")
        visible = [key for key, row in page.rows.items() if row.isVisible()]
        assert visible == ["appearance.reduced_motion"]
        page.filter("no such thing at all")
        assert not any(row.isVisible() for row in page.rows.values())
        page.filter("")
        assert all(row.isVisible() for row in page.rows.values())

    play(scene)


def test_a_change_is_written_at_once_and_undo_restores(play: Play, home: Path) -> None:
    paths = Paths.resolve()

    async def scene(desk: Desk) -> None:
        window = desk.window
        page = settings_page(desk)
        number = page.rows["engine.parallel"].control
        assert isinstance(number, NumberField)
        number.setValue(7)
        await until(lambda: window.message == "Answers at once changed to 7.", "the toast")
        assert stored(paths)["engine"]["parallel"] == 7
        press(desk, Qt.Key.Key_Z, CTRL)
        await until(lambda: "engine" not in stored(paths), "the default to be back")
        await until(lambda: number.value() == 4, "the control to show it")
        assert window.message == ""

        switch = page.rows["appearance.reduced_motion"].control
        QTest.mouseClick(switch, Qt.MouseButton.LeftButton)
        await until(lambda: stored(paths).get("appearance") == {"reduced_motion": True}, "the change")
        await until(lambda: not desk.theme.animated, "the change to count")
        reset = next(
            each
            for each in page.rows["appearance.reduced_motion"].findChildren(Button)
            if each.text() == "Reset"
        )
        QTest.mouseClick(reset, Qt.MouseButton.LeftButton)
        await until(lambda: window.message == "Reduce motion is back to its default.", "the reset")
        assert "appearance" not in stored(paths)
        assert window.undo()
        await until(lambda: stored(paths).get("appearance") == {"reduced_motion": True}, "the undone reset")

    play(scene)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("server", "service.port"),
        ("api", "service.host"),
        ("password", "network.proxy"),
        ("vram", "engine.gpu_layers"),
    ],
)
def test_people_find_a_setting_by_their_own_word_for_it(play: Play, words: str, key: str) -> None:
    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        page.filter(words)
        assert not page.rows[key].isHidden()
        assert not all(not row.isHidden() for row in page.rows.values())

    play(scene)


def test_a_number_beyond_the_limits_is_refused_whole(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.go_to("settings")
        row = settings_page(desk).rows["service.port"]
        field = row.control
        assert isinstance(field, NumberField)
        field.setFocus()
        field.selectAll()
        QTest.keyClicks(field, "70000")
        assert field.lineEdit().text() == "70000"
        QTest.keyClick(field, Qt.Key.Key_Return)
        await until(lambda: "70000 is not taken" in row.foot_words, "the refusal")
        assert "0 to 65535" in row.foot_words
        assert field.value() == 0
        assert desk.live.get("service.port") == 0
        field.selectAll()
        QTest.keyClicks(field, "7000")
        QTest.keyClick(field, Qt.Key.Key_Return)
        await until(lambda: desk.live.get("service.port") == 7000, "the port")
        await until(
            lambda: row.foot_words == "Default: Automatic" or "automatic" in row.foot_words, "no refusal"
        )
        temperature = settings_page(desk).rows["chat.temperature"]
        decimal = temperature.control
        decimal.setFocus()
        decimal.selectAll()
        QTest.keyClicks(decimal, "30")
        QTest.keyClick(decimal, Qt.Key.Key_Return)
        await until(lambda: "30 is not taken" in temperature.foot_words, "the refusal")
        assert desk.live.get("chat.temperature") == 0.8

    play(scene)


def test_why_a_value_is_refused_is_said_whole_and_without_the_name_of_a_key(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.resize(900, 600)
        desk.window.go_to("settings")
        for key, wrong in (("network.proxy", "foo bar"), ("network.ca_file", "/nope.pem")):
            row = settings_page(desk).rows[key]
            row.edited.emit(wrong)
            await until(lambda row=row: not row.foot_words.startswith("Default"), "the refusal")  # type: ignore[misc]
            assert key not in row.foot_words
            assert row.foot_words[0].isupper()
            label = next(each for each in row.findChildren(QLabel) if each.text() == row.foot_words)
            await until(
                lambda label=label: (
                    label.isVisible() and label.height() >= label.heightForWidth(label.width())
                ),  # type: ignore[misc]
                "the words in full",
            )
            assert label.width() <= row.width()

    play(scene)


def test_tab_goes_from_the_header_into_the_page(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        desk.window.go_to("settings")
        page = settings_page(desk)
        page.find_here()
        for _ in range(3):
            QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
            if page.isAncestorOf(QApplication.focusWidget()):
                break
        assert page.isAncestorOf(QApplication.focusWidget())

    play(scene)


def test_enter_presses_the_button_with_the_focus(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.go_to("library")
        page = desk.window.page("library")
        button = next(each for each in page.findChildren(Button) if each.text() == "Find more models")
        button.setFocus()
        QTest.keyClick(button, Qt.Key.Key_Return)
        assert desk.window.current == "catalog"

    play(scene)


def test_the_model_for_new_conversations_is_chosen_from_those_that_are_there(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.go_to("settings")
        row = settings_page(desk).rows["chat.model"]
        control = row.control
        assert isinstance(control, ModelSelect)
        assert control.currentText() == "Automatic"
        assert row.foot_words == "Default: automatic"
        await until(lambda: control.count() > 1, "the models")
        at = control.findText("Desk Guide F16")
        assert at > 0
        control.setCurrentIndex(at)
        control.activated.emit(at)
        await until(lambda: desk.live.get("chat.model") == "slmdesk/desk-guide:F16", "the setting")
        await asyncio.to_thread(desk.live.settings.set, "chat.model", "gone/model")
        await until(lambda: control.value == "gone/model", "a model that is not there to be shown as it is")

    play(scene)


def test_a_prompt_is_stored_when_the_focus_leaves(play: Play, home: Path) -> None:
    paths = Paths.resolve()

    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        area = page.rows["chat.system_prompt"].control
        area.setFocus()
        QTest.keyClicks(area, "Answer in one line.")
        assert stored(paths) == {}
        page.rows["engine.parallel"].control.setFocus()
        await until(lambda: stored(paths) == {"chat": {"system_prompt": "Answer in one line."}}, "the prompt")

    play(scene)


def test_safe_steps_are_shown_forgotten_and_put_back(play: Play, home: Path, tmp_path: Path) -> None:
    steps = safe_steps_in(Paths.resolve().data)
    why = SlmDeskError("engine_crashed", "It stopped.")
    steps.remember_machine("no_gpu", why)
    steps.remember_model("maker/small", ModelFile.of(tmp_path), "no_flash_attention", why)

    async def scene(desk: Desk) -> None:
        page = settings_page(desk)
        card = page.safe_steps
        assert "None taken" in card.rows[0].title.text()  # until the file was read
        await until(lambda: len(card.rows) == 2, "both steps")
        titles = [row.title.text() for row in card.rows]
        assert titles == ["Every model runs without the GPU", "maker/small runs without flash attention"]
        [again] = card.rows[1].findChildren(Button)
        assert "maker/small" in again.accessibleName()
        QTest.mouseClick(again, Qt.MouseButton.LeftButton)
        await until(lambda: [entry.key for entry in steps.remembered()] == ["machine"], "the way back")
        await until(lambda: desk.window.message != "", "the toast")
        assert desk.window.undo()
        await until(lambda: len(steps.remembered()) == 2, "the step to be back")
        page.filter("graphics card of a friend")
        assert not card.isVisible()
        page.filter("gpu every")
        assert card.isVisible()

    play(scene)


def test_folders_are_added_and_taken_off(play: Play, home: Path, tmp_path: Path) -> None:
    paths = Paths.resolve()
    first, second = tmp_path / "one", tmp_path / "two"

    async def scene(desk: Desk) -> None:
        row = settings_page(desk).rows["library.folders"]
        for folder in (first, second, second):
            row.control.add_folder(folder)  # type: ignore[attr-defined]
            await until(lambda folder=folder: str(folder) in str(stored(paths)), "the folder")
        assert stored(paths)["library"]["folders"] == os.pathsep.join([str(first), str(second)])
        await until(lambda: len(row.control.findChildren(Button)) == 3, "both folders in the list")
        take = next(each for each in row.control.findChildren(Button) if str(first) in each.accessibleName())
        QTest.mouseClick(take, Qt.MouseButton.LeftButton)
        await until(lambda: stored(paths)["library"]["folders"] == str(second), "the other to stay")

    play(scene)


def test_what_the_environment_sets_is_locked(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMDESK_CHAT_TEMPERATURE", "0.3")
    monkeypatch.setenv("SLMDESK_NETWORK_OFFLINE", "true")

    async def scene(desk: Desk) -> None:
        row = settings_page(desk).rows["chat.temperature"]
        assert not row.control.isEnabled()
        words = " ".join(label.text() for label in row.findChildren(QWidget) if hasattr(label, "set_tone"))
        assert "Set by the environment (SLMDESK_CHAT_TEMPERATURE)" in words
        network = next(each for each in desk.window.strip.findChildren(Button) if each.text() == "Offline")
        assert not network.isEnabled()
        titles = [action.title for action in desk.window.actions_known.matching("work")]
        assert "Work online" not in titles

    play(scene)


def test_the_offline_switch_writes_the_setting_and_can_be_undone(play: Play, home: Path) -> None:
    paths = Paths.resolve()

    async def scene(desk: Desk) -> None:
        button = next(each for each in desk.window.strip.findChildren(Button) if each.text() == "Online")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        await until(lambda: button.text() == "Offline", "the strip to say so")
        assert stored(paths) == {"network": {"offline": True}}
        await until(lambda: desk.window.message == "Work offline is on now.", "the toast")
        assert desk.window.undo()
        await until(lambda: button.text() == "Online", "the undone change")

    play(scene)


def test_a_settings_file_nobody_can_read_is_told_at_the_top(play: Play, paths: Paths) -> None:
    paths.settings_file.write_text("[chat]\ntemperature = 99\n", "utf-8")

    async def scene(desk: Desk) -> None:
        assert any("temperature" in str(error) for error in desk.window.errors_shown)

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
