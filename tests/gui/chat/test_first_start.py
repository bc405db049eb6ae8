"""The empty chat: what it says of the model, and its three questions."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from slmdesk.gui.chat.first_start import GUIDE_QUESTIONS, OPEN_QUESTIONS, FirstStart
from slmdesk.gui.chat.model_entries import PickerEntry, find_entry
from slmdesk.gui.chat.names import short_name
from slmdesk.gui.theme import Theme

from .conftest import Desk, Play, until

GUIDE = PickerEntry("slmdesk/desk-guide:F16", "Desk Guide", "F16", 10_000_000, 5_000_000, built_in=True)
OTHER = PickerEntry("Qwen/Qwen3-4B:Q4_K_M", "Qwen3-4B", "Q4_K_M", 2_500_000_000, 4_020_000_000)


def test_the_built_in_model_says_plainly_what_it_is(theme: Theme, qtbot: QtBot) -> None:
    shown = FirstStart(theme)
    qtbot.addWidget(shown)
    shown.show_model(GUIDE, GUIDE.title)
    words = " ".join(label.text() for label in shown.findChildren(QLabel))
    assert "Desk Guide F16" in words
    assert "tiny model that ships with SLM Desk (5.0 M parameters)" in words
    assert "little else" in words
    assert [button.text() for button in shown.questions] == list(GUIDE_QUESTIONS)
    shown.show_model(OTHER, OTHER.title)
    words = " ".join(label.text() for label in shown.findChildren(QLabel))
    assert "4.0 B parameters, 2.5 GB." in words
    assert [button.text() for button in shown.questions] == list(OPEN_QUESTIONS)


def test_a_question_begins_a_conversation(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.page.pane.first_start.questions[0].click()
        await until(lambda: len(desk.items) == 2, "the conversation")
        await desk.answered()
        assert desk.items[0].message.text == GUIDE_QUESTIONS[0]
        assert desk.items[1].message.text
        assert not desk.page.pane.empty

    play(scene)


def test_words_for_sizes_and_names() -> None:
    def words(size: int, parameters: int) -> tuple[str, str]:
        entry = replace(OTHER, size_bytes=size, parameters=parameters)
        return entry.size, entry.counted

    assert words(2_500_000_000, 135_000_000) == ("2.5 GB", "135 M parameters")
    assert words(10_068_160, 4_700_000) == ("10 MB", "4.7 M parameters")
    assert words(0, 0) == ("", "")
    assert short_name("Qwen/Qwen3-4B:Q4_K_M") == "Qwen3-4B Q4_K_M"
    assert short_name("slmdesk/desk-guide") == "Desk Guide"
    assert short_name("C:\\models\\tiny.gguf") != ""
    assert short_name("a/b:Q8_0", {"a/b:Q8_0": "Bee Q8_0"}) == "Bee Q8_0"


def test_an_entry_is_found_by_file_or_by_model() -> None:
    assert find_entry([GUIDE, OTHER], "Qwen/Qwen3-4B:Q4_K_M") is OTHER
    assert find_entry([GUIDE, OTHER], "slmdesk/desk-guide") is GUIDE
    assert find_entry([GUIDE], "nobody/nothing") is None
    assert (
        PickerEntry("a/b:Q4", "b", "Q4", 1, 1, problem="Only 1 of 2 GB are here.").details
        == "Only 1 of 2 GB are here."
    )
