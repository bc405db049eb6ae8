"""What a model thought aloud: a card, folded at first, that is no part of the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from slmdesk.chat.growing import GrowingAnswer
from slmdesk.chat.tree import Conversation, ConversationTree, Message
from slmdesk.core import amounts
from slmdesk.gui.chat.items import MessageItem, items_of
from slmdesk.gui.chat.markdown.blocks import plain_text
from slmdesk.gui.chat.message_list import MessageList
from slmdesk.gui.chat.message_view import MessageView
from slmdesk.gui.chat.notes import Ended, Told
from slmdesk.gui.chat.thought import Thought
from slmdesk.gui.chat.typesetter import Typesetter
from slmdesk.inference.answers import ReasoningDelta
from slmdesk.inference.asks import Reasoning, Text

from .conftest import Deeds

THOUGHT = "\nIs it **Paris**?\n\nIt is.\n"
SAID = "The answer is Paris."


def answer(thought: str, text: str, *, state: str = "complete", **stats: object) -> MessageItem:
    parts = (Reasoning(thought), Text(text)) if thought else ()
    message = Message(2, 1, 1, "assistant", text, state, "m", 0.0, stats=stats, parts=parts)  # type: ignore[arg-type]
    return MessageItem(message, "Model", last=True)


Show = Callable[[MessageItem], MessageView]


@pytest.fixture
def messages(typesetter: Typesetter, qtbot: QtBot) -> MessageList:
    made = MessageList(typesetter, Deeds())
    qtbot.addWidget(made)
    made.resize(900, 600)
    made.show()
    return made


@pytest.fixture
def show(messages: MessageList, typesetter: Typesetter, qtbot: QtBot) -> Show:
    def shown(item: MessageItem) -> MessageView:
        messages.show_items([item], keep=True)
        qtbot.waitUntil(lambda: typesetter.idle and not messages._settle.isActive())
        view = messages.view_of(item.id)
        assert isinstance(view, MessageView)
        return view

    return shown


def card(view: MessageView) -> Thought:
    assert view.thought is not None
    return view.thought


def head(view: MessageView) -> QPushButton:
    found = card(view).findChild(QPushButton)
    assert found is not None
    return found


def said(view: MessageView) -> str:
    body = card(view).body
    return plain_text(body.blocks) if body is not None else ""


def test_reasoning_is_folded_and_the_answer_stands_alone(show: Show) -> None:
    view = show(answer(THOUGHT, SAID, reasoning_s=12.4))
    assert plain_text(view.body.blocks) == "The answer is Paris."
    assert card(view).words == "Thought for 12 s"
    assert not card(view).opened
    assert said(view) == ""
    assert "Is it" not in view.accessibleName()
    assert head(view).accessibleName() == "Thought for 12 s, folded"
    assert show(answer("", "Just an answer.")).thought is None


def test_it_unfolds_by_mouse_and_by_keyboard(show: Show, typesetter: Typesetter, qtbot: QtBot) -> None:
    view = show(answer(THOUGHT, SAID, reasoning_s=12.4))
    folded = view.height()
    QTest.mouseClick(head(view), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: typesetter.idle and view.height() > folded)
    assert said(view) == "Is it Paris?\nIt is."
    assert head(view).accessibleName().endswith("unfolded")
    body = card(view).body
    assert body is not None
    assert card(view).geometry().bottom() < view.body.geometry().top()
    for key in (Qt.Key.Key_Space, Qt.Key.Key_Return):
        opened = card(view).opened
        head(view).setFocus(Qt.FocusReason.TabFocusReason)
        QTest.keyClick(head(view), key)
        assert card(view).opened is not opened
    card(view).toggle()
    qtbot.waitUntil(lambda: view.height() == folded)
    assert not body.isVisible()


def test_it_streams_while_it_is_open(
    show: Show, messages: MessageList, typesetter: Typesetter, qtbot: QtBot
) -> None:
    grown = GrowingAnswer()
    grown.take(ReasoningDelta("\n"))
    view = show(answer("", "").as_live(grown, ""))
    assert card(view).words.startswith("Thinking…")
    assert view.note is None
    card(view).toggle()
    for thought in ("Is it", " Paris?", "\n"):
        grown.take(ReasoningDelta(thought))
        messages.show_more(2)
    qtbot.waitUntil(lambda: typesetter.idle)
    assert said(view) == "Is it Paris?"
    assert view.body.blocks == []
    for text in ("It is", " Paris."):
        grown.take(text)
        messages.show_more(2)
    qtbot.waitUntil(lambda: typesetter.idle)
    assert plain_text(view.body.blocks) == "It is Paris."
    assert not card(view).words.startswith("Thinking")
    messages.update_item(answer("\nIs it Paris?\n", "It is Paris.", reasoning_s=75.0))
    qtbot.waitUntil(lambda: typesetter.idle)
    assert (card(view).words, said(view)) == ("Thought for 1 min 15 s", "Is it Paris?")
    assert plain_text(view.body.blocks) == "It is Paris."


def test_reasoning_that_only_the_end_tells_leaves_the_text(
    show: Show, messages: MessageList, typesetter: Typesetter, qtbot: QtBot
) -> None:
    grown = GrowingAnswer()
    grown.take("Here is my thought process: Hm. Here is my response:\n\nParis.")
    view = show(answer("", "").as_live(grown, ""))
    assert view.thought is None
    messages.update_item(answer(" Hm. ", "Paris."))
    qtbot.waitUntil(lambda: typesetter.idle)
    assert plain_text(view.body.blocks) == "Paris."
    card(view).toggle()
    qtbot.waitUntil(lambda: typesetter.idle)
    assert said(view) == "Hm."


def test_it_is_not_copied_with_the_answer(show: Show) -> None:
    view = show(answer(THOUGHT, SAID))
    view.copy()
    assert QGuiApplication.clipboard().text() == "The answer is Paris."


def test_reasoning_without_an_end_can_still_be_read(show: Show, typesetter: Typesetter, qtbot: QtBot) -> None:
    view = show(answer("\nIs it Par", "", state="stopped", reasoning_s=3.0))
    assert view.body.blocks == []
    assert isinstance(view.note, Ended)
    assert card(view).geometry().bottom() < view.note.geometry().top()
    card(view).toggle()
    qtbot.waitUntil(lambda: typesetter.idle)
    assert said(view) == "Is it Par"


def test_an_empty_thought_is_no_card(show: Show) -> None:
    assert show(answer("\n\n", "Paris.")).thought is None


def test_what_was_opened_stays_open_when_its_widget_comes_back(
    show: Show, messages: MessageList, typesetter: Typesetter, qtbot: QtBot
) -> None:
    card(show(answer(THOUGHT, SAID))).toggle()
    messages.show_items([])
    view = show(answer(THOUGHT, SAID))
    qtbot.waitUntil(lambda: typesetter.idle)
    assert card(view).opened
    assert said(view) == "Is it Paris?\nIt is."


def test_durations() -> None:
    assert [amounts.took(s) for s in (1.2, 59.4, 60, 61, 3600)] == [
        "1 s",
        "59 s",
        "1 min",
        "1 min 1 s",
        "60 min",
    ]


def test_the_first_answer_says_that_there_was_no_chat_template(show: Show) -> None:
    def message(number: int, role: str, **rest: object) -> Message:
        return Message(number, 1, number - 1 or None, role, "text", "complete", "m", 0.0, **rest)  # type: ignore[arg-type]

    form = {"chat_form": "plain dialogue"}
    path = [
        message(1, "user"),
        message(2, "assistant", stats=form),
        message(3, "user"),
        message(4, "assistant", stats=form),
    ]
    items = items_of(ConversationTree(Conversation(1, "", "m", "", 0.0, 0.0, 4), path), {})
    assert [item.chat_form for item in items] == ["", "plain dialogue", "", ""]
    note = show(items[1]).note
    assert isinstance(note, Told)
    assert "no chat template" in note.words
