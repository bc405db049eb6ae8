"""A fresh window with the starter: general questions go to it, questions about the program to Desk Guide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QScrollArea
from pytestqt.qtbot import QtBot

from slmdesk.core.paths import HOME_VARIABLE
from slmdesk.gui.chat.first_start import GUIDE_QUESTIONS, STARTER_QUESTIONS, FirstStart
from slmdesk.gui.chat.model_entries import PickerEntry
from slmdesk.gui.chat.names import BUILT_IN, STARTER
from slmdesk.gui.theme import Theme
from slmdesk.gui.widgets.base import Label
from slmdesk.library.shipped import STARTER_INSTRUCTIONS

from .conftest import Desk, Play, until

ENTRY = PickerEntry(f"{STARTER}:Q4_1", "SmolLM2-135M-Instruct", "Q4_1", 98_362_432, 134_515_008, starter=True)


@pytest.fixture
def chat_home(starter: Path, tmp_path: Path, lasting_homes: set[str]) -> Iterator[Path]:
    """A home of its own: its service, too, is to know the starter."""
    assert starter.is_file()
    home = tmp_path / "home"
    lasting_homes.add(str(home))
    yield home
    ours = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and process.environ().get(HOME_VARIABLE) == str(home)
    ]
    for process in ours:
        process.terminate()
    psutil.wait_procs(ours, timeout=10)


def test_each_question_goes_to_the_model_that_knows(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        controller, first = desk.controller, desk.page.pane.first_start
        await until(lambda: controller.model_entry is not None, "the models")
        assert controller.model == STARTER
        await until(lambda: bool(first.guide_questions), "the questions for Desk Guide")
        assert [button.text() for button in first.questions] == list(STARTER_QUESTIONS)
        await until(
            lambda: any(entry.starter and entry.state == "verified" for entry in controller.entries),
            "the check of the starter",
        )
        first.guide_questions[0].click()
        await until(lambda: len(desk.items) == 2, "the conversation")
        await desk.answered()
        assert desk.items[0].message.text == GUIDE_QUESTIONS[0]
        assert desk.items[1].message.model.partition(":")[0] == BUILT_IN
        assert "Q4_K_M" in desk.items[1].message.text
        # Asking for help chooses nothing for later.
        assert desk.application.settings.get("chat.model") == ""
        desk.page.new_chat()
        await until(lambda: desk.page.pane.empty and controller.model == STARTER, "a chat with the starter")
        controller.send("What is the capital of France?")
        await until(lambda: len(desk.items) == 2, "the conversation")
        await desk.answered()
        assert desk.items[1].message.model.partition(":")[0] == STARTER
        assert "Paris" in desk.items[1].message.text
        assert controller.tree is not None
        assert controller.tree.conversation.system_prompt == STARTER_INSTRUCTIONS

    play(scene)


def test_help_is_a_chat_with_desk_guide(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        (action,) = [each for each in desk.page.commands() if each.id == "chat.guide"]
        assert (action.title, action.shortcut) == ("Ask about SLM Desk", "F1")
        action.run()
        await until(lambda: desk.controller.model == BUILT_IN and desk.page.pane.empty, "Desk Guide")
        first = desk.page.pane.first_start
        await until(lambda: first.questions[0].text() == GUIDE_QUESTIONS[0], "its questions")
        assert first.guide_questions == []
        await until(lambda: len(desk.controller.entries) == 2, "the models")
        told = {entry.title: entry.details for entry in desk.controller.entries}
        assert told["Desk Guide F16"].startswith("For questions about SLM Desk · Built in")
        assert told["SmolLM2-135M-Instruct Q4_1"].startswith("For general questions · Starter")

    play(scene)


@pytest.mark.parametrize(("size", "width", "height"), [(13, 664, 320), (20, 560, 420), (20, 664, 320)])
def test_nothing_of_the_first_start_is_cut(
    theme: Theme, qtbot: QtBot, size: int, width: int, height: int
) -> None:
    theme.set_text_size(size)
    try:
        first = FirstStart(theme)
        qtbot.addWidget(first)
        theme.dress(first)
        first.show_model(ENTRY, ENTRY.title, guide=True)
        first.resize(width, height)
        first.show()
        qtbot.waitExposed(first)
        area = first.findChild(QScrollArea)
        assert area is not None
        shown = [*first.questions, *first.guide_questions]
        assert len(shown) == 6
        qtbot.waitUntil(lambda: all(button.whole for button in shown))
        page = area.widget()
        for each in [*shown, *(label for label in first.findChildren(Label) if label.isVisible())]:
            assert page.rect().contains(QRect(each.mapTo(page, QPoint(0, 0)), each.size()))
        assert area.horizontalScrollBar().maximum() == 0
        # What lies below is reached by the keyboard too.
        shown[-1].setFocus()
        qtbot.waitUntil(shown[-1].hasFocus)
        area.ensureWidgetVisible(shown[-1])
        assert shown[-1].visibleRegion().boundingRect().height() >= shown[-1].height() - 1
        title = next(label for label in first.findChildren(Label) if label.property("role") == "title")
        assert title.height() >= title.heightForWidth(title.width())
    finally:
        theme.set_text_size(13)
