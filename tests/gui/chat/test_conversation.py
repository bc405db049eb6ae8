"""One conversation as a person has it: ask, read, stop, ask again, edit, and an engine that dies."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QListView, QPushButton

from slmdesk.chat.chats import NEW_CHAT
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.markdown.blocks import plain_text
from slmdesk.gui.chat.markdown.parse import parse
from slmdesk.gui.chat.model_picker import ModelPicker
from slmdesk.gui.chat.notes import CutOff, Ended, Waiting
from slmdesk.gui.chat.text_input import TextInput
from slmdesk.gui.widgets.panels import ErrorPanel

from .conftest import Desk, Play, until


def test_a_question_is_answered_as_it_streams(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        assert desk.page.pane.empty
        arrived: list[str] = []
        midway: list[bool] = []

        def arrives(text: str) -> None:
            arrived.append(text)
            midway.append(bool(desk.controller.running))

        desk.hear_text(arrives)
        await desk.ask("What is Q4_K_M?")
        await until(lambda: len(desk.items) == 2, "the answer's row")
        assert desk.items[1].live
        await desk.answered()
        assert midway
        assert all(midway), "text came before the end"
        answer = desk.items[-1].message
        assert answer.state == "complete"
        assert "".join(arrived) == answer.text
        assert desk.shown_text() == plain_text(parse(answer.text))
        assert len(answer.text.split()) > 3
        assert [item.name for item in desk.items] == ["You", "Desk Guide F16"]
        assert "tokens/s" in desk.composer.speed_words
        assert " of 2,048 tokens" in desk.composer.meter.words
        assert desk.page.list.model.conversations == [desk.controller.current]

    play(scene)


def test_a_chat_with_another_model_leaves_the_open_conversation_its_own(play: Play, tmp_path: Path) -> None:
    other = tmp_path / "other-F16.gguf"

    async def scene(desk: Desk) -> None:
        shutil.copyfile(desk.application.paths.builtin_model, other)
        await desk.ask("Hello")
        await desk.answered()
        before = desk.controller.current
        desk.window.visit.chat_with(str(other))
        await until(lambda: desk.composer.model_button.text().strip() == other.name, "the model's name")
        assert desk.controller.current == NEW_CHAT
        await desk.ask("What is a token?")
        await until(lambda: len(desk.items) == 2, "its messages")
        await desk.answered()
        chats = desk.application.chats
        assert (await chats.load(desk.controller.current)).conversation.model == str(other)
        assert (await chats.load(before)).conversation.model != str(other)
        assert len((await chats.load(before)).messages) == 2
        assert desk.items[-1].name == other.name
        desk.application.settings.reset("chat.model")

    play(scene)


def test_stop_keeps_what_was_written_and_offers_to_go_on(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        begun = await desk.mid_answer("What is Q4_K_M?")
        assert desk.composer.streaming
        QTest.keyClick(desk.composer.field, Qt.Key.Key_Escape)
        await desk.answered()
        answer = desk.items[-1].message
        assert answer.state == "stopped"
        assert answer.text == "".join(begun)
        note = desk.view(-1).note
        assert isinstance(note, Ended)
        assert note.words == "Stopped"
        assert [button.text() for button in note.findChildren(QPushButton)] == ["Continue"]
        count = len(desk.items)
        note.findChildren(QPushButton)[0].click()
        await until(lambda: desk.controller.running, "the answer to go on")
        desk.composer.stop.emit()
        await desk.answered()
        assert len(desk.items) == count
        assert desk.items[-1].message.text.startswith(answer.text)

    play(scene)


def test_regenerating_makes_a_version_beside_the_first(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("Hello")
        await desk.answered()
        first = desk.items[-1].id
        assert desk.view(-1).branch_words == ""
        desk.controller.regenerate(desk.items[-1].id)
        await until(lambda: desk.items[-1].id != first, "the second version")
        await desk.answered()
        assert desk.view(-1).branch_words == "2/2"
        back = next(
            b for b in desk.view(-1).findChildren(QPushButton) if b.accessibleName() == "Earlier version"
        )
        back.click()
        await until(lambda: desk.items[-1].id == first, "the first version")
        assert desk.view(-1).branch_words == "1/2"

    play(scene)


def test_another_model_answers_beside_the_first(play: Play, endless_model: Path) -> None:
    async def scene(desk: Desk) -> None:
        desk.application.settings.set("chat.max_tokens", 8)
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        first = desk.items[-1].message
        desk.controller.regenerate_with(first.id, desk.composer.model_button)
        picker = desk.page.findChild(ModelPicker)
        assert picker is not None
        await until(picker.isVisible, "the list of models")
        picker.chosen.emit(str(endless_model))  # as a click on a row does
        picker.hide()
        await until(lambda: desk.items[-1].id != first.id, "another answer")
        await desk.answered()
        second = desk.items[-1]
        assert (second.message.model, second.branches) == (str(endless_model), 2)
        assert desk.controller.model == first.model
        # A choice in the list is for the conversation again.
        desk.page.choose_model()
        picker.chosen.emit(str(endless_model))
        picker.hide()
        await until(lambda: desk.controller.model == str(endless_model), "the model")
        assert desk.items[-1].id == second.id
        desk.application.settings.reset("chat.max_tokens")

    play(scene)


def test_editing_a_message_asks_anew_and_keeps_the_old(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("Hello")
        await desk.answered()
        QTest.keyClick(desk.composer.field, Qt.Key.Key_Up)
        view = desk.view(0)
        assert view.editing
        editor = view.findChild(type(desk.composer.field))
        assert editor is not None
        assert editor.toPlainText() == "Hello"
        editor.put("What is a quant?")
        QTest.keyClick(editor, Qt.Key.Key_Return)
        await until(lambda: desk.items[0].message.text == "What is a quant?", "the new question")
        await desk.answered()
        assert desk.view(0).branch_words == "2/2"
        assert len(desk.items) == 2
        tree = await desk.application.chats.load(desk.controller.current)
        assert {message.text for message in tree.messages.values() if message.role == "user"} == {
            "Hello",
            "What is a quant?",
        }

    play(scene)


def test_a_question_of_several_lines_is_edited_in_a_field_that_shows_them_all(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("What is a quant, and which of them suits a machine with little memory? " * 3)
        await desk.answered()
        QTest.keyClick(desk.composer.field, Qt.Key.Key_Up)
        editor = desk.view(0).findChild(type(desk.composer.field))
        assert editor is not None

        def lines() -> int:
            return round(editor.document().documentLayout().documentSize().height())

        await until(lambda: lines() > 1, "the width of the message")
        await until(lambda: editor.height() >= lines() * editor.fontMetrics().lineSpacing(), "room for all")
        assert editor.geometry().bottom() < editor.parentWidget().height()

    play(scene)


def test_an_engine_killed_in_mid_answer(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        begun = await killed_in_mid_answer(desk, own_engines)
        answer = desk.items[-1].message
        assert answer.text == "".join(begun)
        assert desk.shown_text() == plain_text(parse(answer.text))
        note = desk.view(-1).note
        assert isinstance(note, CutOff)
        assert [button.text() for button in note.findChildren(QPushButton)] == ["Continue", "Try again"]
        before = len(desk.items)
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        assert desk.items[-1].message.state == "complete"
        assert len(desk.items) == before + 2

    play(scene)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_native_code_that_fails_in_mid_answer_costs_a_quiet_line(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await asyncio.to_thread(desk.application.settings.set, "chat.max_tokens", 300)
        await desk.endless()
        begun: list[str] = []
        doomed: list[psutil.Process] = []

        def hurt(text: str) -> None:
            begun.append(text)
            if len(begun) == 1:
                for process in doomed:
                    process.send_signal(signal.SIGSEGV)

        no_more = desk.hear_text(hurt)
        try:
            for _ in range(20):  # an answer may be written before the signal reaches the engine
                doomed[:] = []
                await desk.ask("Hello")  # so that there is an engine
                await desk.answered()
                doomed[:] = await own_engines(desk)
                begun.clear()
                await desk.ask("Tell me more")
                await desk.answered()
                if "engine_change" in desk.items[-1].message.stats:
                    break
                client = await desk.application.connector.attached()
                assert client is not None
                await client.unload("slmdesk/desk-guide")
        finally:
            no_more()
            await asyncio.to_thread(desk.application.settings.reset, "chat.max_tokens")
        message = desk.items[-1].message
        assert message.state == "complete"
        assert message.text == "".join(begun)
        assert message.error is None
        words = desk.view(-1).changed_words
        assert "The engine failed on this machine and went on without" in words
        assert words == message.stats["engine_change"]
        assert not isinstance(desk.view(-1).note, CutOff)
        assert [process for process in await own_engines(desk) if process not in doomed]
        [entry] = desk.application.safe_steps.remembered()
        assert entry.step == "no_extra_buffers"
        desk.application.safe_steps.forget_all()
        # It is there again when the conversation is opened another time, and not below other answers.
        first = desk.controller.current
        desk.controller.new_chat()
        await until(lambda: desk.controller.current != first)
        desk.controller.open(first)
        await until(lambda: desk.controller.current == first)
        await until(lambda: len(desk.items) >= 4, "the messages")
        assert desk.view(-1).changed_words == words
        assert desk.view(1).changed_words == ""

    play(scene)


async def own_service(desk: Desk) -> list[psutil.Process]:
    """The service of this home."""
    client = await desk.application.connector.attached()
    assert client is not None
    return [psutil.Process(int((await client.health())["pid"]))]


async def killed_in_mid_answer(
    desk: Desk, victims: Callable[[Desk], Awaitable[list[psutil.Process]]]
) -> list[str]:
    """Ask, and kill at the answer's first words; its pieces, once it was cut off.

    The whole answer may be under way before the kill; then the question is asked again.
    """
    begun: list[str] = []
    doomed: list[psutil.Process] = []

    def kill(text: str) -> None:
        begun.append(text)
        for process in doomed:
            if process.is_running():
                process.kill()

    no_more = desk.hear_text(kill)
    try:
        for _ in range(20):
            doomed.clear()
            await desk.ask("Hello")  # so that they run
            await desk.answered()
            doomed.extend(await victims(desk))
            assert doomed
            begun.clear()
            await desk.ask("Which quant should I choose?")
            await desk.answered()
            if desk.items[-1].message.state == "interrupted":
                return begun
            assert desk.items[-1].message.state == "complete"
    finally:
        no_more()
    pytest.fail("twenty answers were whole before the kill")


async def own_engines(desk: Desk) -> list[psutil.Process]:
    """The engines of this home's service."""
    client = await desk.application.connector.attached()
    assert client is not None
    health = await client.health()
    service = psutil.Process(int(health["pid"]))
    found = []
    for process in service.children(recursive=True):
        with suppress(psutil.Error):  # one that ends just now
            if "engine" in process.cmdline():
                found.append(process)
    return found


def test_waiting_is_said_in_place(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        client = await desk.application.connector.attached()
        if client is not None:
            await client.unload("slmdesk/desk-guide")
        seen: set[str] = set()

        def look() -> None:
            if desk.items and desk.items[-1].answer:
                view = desk.messages.view_of(desk.items[-1].id)
                if view is not None and isinstance(view.note, Waiting):
                    seen.add(view.note.words)

        desk.overhear("show_item", lambda _item: look())
        desk.overhear("show_changed", look)
        await desk.ask("Hello")
        await desk.answered()
        assert any(words.startswith("Loading Desk Guide F16… ") and words.endswith(" %") for words in seen), (
            seen
        )

    play(scene)


def test_two_conversations_are_answered_at_once(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("What is Q4_K_M?")
        first = desk.controller.current
        desk.page.new_chat()
        await until(lambda: desk.controller.current == 0, "a new chat")
        assert desk.page.pane.empty
        await desk.ask("How much memory does a model need?")
        second = desk.controller.current
        await until(lambda: not desk.controller.running, "both answers")
        assert first != second
        for conversation in (first, second):
            desk.controller.open(conversation)
            await until(lambda conversation=conversation: desk.controller.current == conversation)
            await desk.answered()
            assert [item.message.state for item in desk.items] == ["complete", "complete"]
            assert desk.shown_text()

    play(scene)


def test_a_service_killed_in_mid_answer(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        begun = await killed_in_mid_answer(desk, own_service)
        answer = desk.items[-1].message
        assert answer.text == "".join(begun)
        said: set[str] = set()
        desk.overhear("show_changed", lambda: said.add(desk.items[-1].status))
        again = next(b for b in desk.view(-1).findChildren(QPushButton) if b.text() == "Try again")
        again.click()
        await until(lambda: desk.controller.running, "the second try")
        await desk.answered()
        assert "Reconnecting…" in said
        assert desk.items[-1].message.state == "complete"
        assert desk.view(-1).branch_words == "2/2"

    play(scene)


def test_a_model_that_is_not_there_is_said_with_a_way_out(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await asyncio.to_thread(desk.application.settings.set, "chat.model", "nobody/nothing")
        try:
            await desk.ask("Hello")
            await desk.answered()
            assert desk.items[-1].message.state == "failed"
            panel = desk.view(-1).note
            assert isinstance(panel, ErrorPanel)
            assert isinstance(panel.error, SlmDeskError)
            assert panel.error.code == "model_not_found"
            choose = next(b for b in panel.findChildren(QPushButton) if b.text() == "Choose another model")
            choose.click()
            picker = desk.page.findChild(ModelPicker)
            assert picker is not None
            await until(picker.isVisible, "the list of models")
            assert [entry.title for entry in picker.entries] == ["Desk Guide F16"]
            QTest.keyClick(picker.findChild(QListView), Qt.Key.Key_Return)
            assert not picker.isVisible()
            await until(lambda: desk.controller.model == "slmdesk/desk-guide:F16", "the other model")
        finally:
            await asyncio.to_thread(desk.application.settings.reset, "chat.model")
        desk.controller.regenerate(desk.items[-1].id)
        await until(lambda: desk.controller.running, "the second try")
        await desk.answered()
        assert desk.items[-1].message.state == "complete"

    play(scene)


def test_esc_ends_what_is_nearest(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.mid_answer("What is Q4_K_M?")
        search = desk.page.list.search
        search.setFocus()
        QTest.keyClicks(search, "abc")
        QTest.keyClick(search, Qt.Key.Key_Escape)
        assert search.text() == ""
        assert desk.composer.streaming
        desk.messages.focus_last()
        QTest.keyClick(desk.view(-1), Qt.Key.Key_Escape)
        await desk.answered()
        assert desk.items[-1].message.state in {"stopped", "complete"}
        desk.page.pane.edit_last()
        editing = next(
            view for item in desk.items if (view := desk.messages.view_of(item.id)) and view.editing
        )
        QTest.keyClick(editing.findChild(TextInput), Qt.Key.Key_Escape)
        assert not editing.editing

    play(scene)
