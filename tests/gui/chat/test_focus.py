"""Where the focus is after each thing a person does in a chat, and that Esc stops an answer from anywhere."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from slmdesk.gui.chat.model_picker import ModelPicker
from slmdesk.gui.rail import Rail

from .conftest import Desk, Play, until


def press(button: QWidget) -> None:
    """As the mouse does it: the focus goes where Qt puts it."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=button.rect().center())


def button_of(desk: Desk, number: int, name: str) -> QPushButton:
    desk.view(number).setFocus(Qt.FocusReason.OtherFocusReason)
    return next(b for b in desk.view(number).findChildren(QPushButton) if b.accessibleName() == name)


def typing(desk: Desk) -> bool:
    return QApplication.focusWidget() is desk.composer.field


def test_the_focus_is_back_in_the_composer_after_each_choice(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        press(desk.page.pane.first_start.questions[0])
        await until(lambda: desk.controller.running, "the example to be asked")
        assert typing(desk)
        QTest.keyClicks(desk.composer.field, "next")
        await desk.answered()
        assert typing(desk)
        assert desk.composer.text == "next"

        first = desk.items[-1].id
        press(button_of(desk, -1, "Regenerate"))
        await until(lambda: desk.items[-1].id != first, "the second version")
        assert typing(desk)
        await desk.answered()
        assert typing(desk)
        press(button_of(desk, -1, "Earlier version"))
        await until(lambda: desk.items[-1].id == first, "the first version")
        assert typing(desk)
        assert desk.composer.text == "next"

        desk.page.choose_model()
        picker = desk.page.findChild(ModelPicker)
        assert picker is not None
        await until(picker.isVisible, "the list of models")
        QTest.keyClick(picker.focusWidget(), Qt.Key.Key_Escape)
        await until(lambda: typing(desk), "the focus")
        assert desk.composer.text == "next"

    play(scene)


def test_what_is_typed_beside_an_example_belongs_to_the_conversation_it_began(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.composer.field.put("half a thought")
        await until(lambda: desk.composer.take_draft() is None, "the draft to rest")
        press(desk.page.pane.first_start.questions[1])
        await until(lambda: desk.controller.running, "the example to be asked")
        await desk.answered()
        begun = desk.controller.current
        desk.page.new_chat()
        await until(lambda: desk.controller.current != begun, "a new chat")
        assert desk.composer.text == ""
        desk.page.open(begun)
        await until(lambda: desk.controller.current == begun, "the first conversation")
        assert desk.composer.text == "half a thought"

    play(scene)


def test_esc_stops_an_answer_wherever_the_focus_is(play: Play, endless_model: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        rail = desk.window.findChild(Rail)
        assert rail is not None
        button = rail.findChildren(QPushButton)
        pages: list[QWidget | None] = [desk.page.list, desk.page._menu_button, None]
        pages += button[:1] or [rail]
        desk.controller.new_chat_with(str(endless_model))
        await until(lambda: desk.composer.model_button.text().strip() == endless_model.name, "the model")
        for page in pages:
            await desk.mid_answer("What is Q4_K_M?")
            if page is None:
                focused = QApplication.focusWidget()
                assert focused is not None
                focused.clearFocus()
            else:
                page.setFocus(Qt.FocusReason.MouseFocusReason)
            target = QApplication.focusWidget() or desk.window
            QTest.keyClick(target, Qt.Key.Key_Escape)
            await desk.answered()
            assert desk.items[-1].message.state == "stopped", page
            desk.page.pane.focus()
        desk.application.settings.reset("chat.model")

    play(scene)


def test_the_figures_below_belong_to_the_answer_that_is_shown(play: Play, endless_model: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        assert desk.composer.speed_words
        desk.controller.choose_model(str(endless_model))
        await until(lambda: desk.composer.model_button.text().strip() == endless_model.name, "the model")
        await desk.mid_answer("And now?")
        assert desk.composer.speed_words == "", "the speed of the answer before"
        desk.controller.stop()
        await desk.answered()
        assert desk.items[-1].message.state == "stopped"
        assert desk.composer.speed_words, "a stopped answer has a speed too"
        assert desk.controller.last_stats["usage"]["completion_tokens"] > 0
        stopped = desk.items[-1].id
        desk.controller.regenerate(stopped)
        await until(lambda: desk.items[-1].id != stopped, "another version")
        assert desk.composer.speed_words == ""
        desk.controller.stop()
        await desk.answered()
        desk.application.settings.reset("chat.model")

    play(scene)


def test_the_button_at_the_top_names_the_model_and_where_it_runs(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        button = desk.page.model_button
        assert button.isVisible()
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        client = await desk.application.connector.connect()
        desk.window.loaded.take((await client.status()).loaded)
        assert button.words.endswith("on the processor")
        assert button.words.startswith("Desk Guide")
        press(button)
        picker = desk.page.findChild(ModelPicker)
        assert picker is not None
        await until(picker.isVisible, "the list of models")
        assert picker.y() > button.mapToGlobal(button.rect().center()).y()
        QTest.keyClick(picker.focusWidget(), Qt.Key.Key_Escape)
        await until(lambda: not picker.isVisible(), "a closed list")

    play(scene)


def test_what_was_asked_and_what_was_answered_have_marks_of_their_own(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        mine, models = desk.view(0).speaker, desk.view(1).speaker
        assert (mine.name, mine.mark.model) == ("You", False)
        assert models.mark.model
        assert mine.mark.isVisible()
        assert mine.mark.grab().toImage() != models.mark.grab().toImage()

    play(scene)


def test_letters_typed_on_a_message_go_into_the_composer(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        await desk.ask("Hello")
        await desk.answered()
        press(desk.view(-1))
        assert not typing(desk)
        QTest.keyClicks(QApplication.focusWidget(), "W")
        assert typing(desk)
        QTest.keyClicks(QApplication.focusWidget(), "hy?")
        assert desk.composer.text == "Why?"
        press(desk.view(-1))
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
        assert not typing(desk), "a shortcut is no text"
        assert desk.composer.text == "Why?"

    play(scene)


def test_giving_up_an_edit_leads_back_to_the_composer(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.activateWindow()
        await until(desk.window.isActiveWindow, "an active window")
        await desk.ask("Hello")
        await desk.answered()
        QTest.keyClick(desk.composer.field, Qt.Key.Key_Up)
        assert desk.view(0).editing
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Escape)
        assert not desk.view(0).editing
        assert typing(desk)

    play(scene)


def test_what_can_be_done_with_the_last_answer_is_in_sight(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        def offered(number: int) -> bool:
            buttons = desk.view(number).findChildren(QPushButton)
            return any(b.accessibleName() == "Regenerate" and b.isVisible() for b in buttons)

        await desk.ask("Hello")
        await desk.answered()
        assert typing(desk)
        assert offered(1)
        await desk.ask("And again")
        await desk.answered()
        await until(lambda: offered(3), "the last answer's actions")
        assert not offered(1)

    play(scene)
