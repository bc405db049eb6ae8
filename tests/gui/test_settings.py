"""The Settings page as a person uses it."""

from __future__ import annotations

import asyncio
import os
import tomllib
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.setting_table import SETTINGS
from slmdesk.engines.safe_steps import ModelFile, safe_steps_in
from slmdesk.gui.app import Desk
from slmdesk.gui.settings.model_select import ModelSelect
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import TextArea
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch
from slmdesk.gui.widgets.values import NumberField

from .conftest import CTRL, Play, press, settings_page, until


def stored(paths: Paths) -> dict[str, dict[str, object]]:
    return tomllib.loads(paths.settings_file.read_text("utf-8")) if paths.settings_file.exists() else {}


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
