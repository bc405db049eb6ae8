"""The list of messages: what gets a widget, what the view follows, how the keyboard moves through it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from slmdesk.chat.growing import GrowingAnswer
from slmdesk.chat.tree import Message
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.figures import figures_line, figures_table
from slmdesk.gui.chat.follow import SLACK, Follow
from slmdesk.gui.chat.items import MessageItem
from slmdesk.gui.chat.markdown.parse import parse
from slmdesk.gui.chat.message_list import MessageList
from slmdesk.gui.chat.message_view import MessageView
from slmdesk.gui.chat.notes import CutOff, Ended
from slmdesk.gui.chat.text_input import TextInput
from slmdesk.gui.chat.typesetter import Typesetter
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.panels import ErrorPanel

from .conftest import Deeds

ANSWER = "## An answer\n\nWith **several** paragraphs.\n\n- one\n- two\n\n```py\nx = 1\n```\n\nAnd an end."


def item(number: int, text: str | None = None, *, state: str = "complete", **rest: object) -> MessageItem:
    answer = number % 2 == 0
    if text is None:
        text = ANSWER if answer else f"Question {number}"
    message = Message(
        number,
        1,
        number - 1 or None,
        "assistant" if answer else "user",
        text,
        state,
        "m" if answer else "",
        0.0,
        error=rest.pop("error", None),
        stats=rest.pop("stats", {}),
    )  # type: ignore[arg-type]
    return MessageItem(message, "Model" if answer else "You", **rest)  # type: ignore[arg-type]


Make = Callable[[int], MessageList]


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
def messages(typesetter: Typesetter, deeds: Deeds, qtbot: QtBot) -> Make:
    def make(count: int) -> MessageList:
        made = MessageList(typesetter, deeds)
        qtbot.addWidget(made)
        made.resize(900, 600)
        made.show()
        made.show_items([item(number) for number in range(1, count + 1)])
        qtbot.waitUntil(lambda: typesetter.idle)
        qtbot.wait(20)
        return made

    return make


def at_end(messages: MessageList) -> bool:
    bar = messages.verticalScrollBar()
    return bar.value() == bar.maximum() and bar.maximum() > 0


def test_following_ends_when_the_reader_scrolls_up_and_begins_again_at_the_end() -> None:
    follow = Follow()
    follow.read(1000 - SLACK - 1, 1000)
    assert not follow.following
    assert follow.away(1000 - SLACK - 1, 1000)
    follow.read(1000 - SLACK, 1000)
    assert follow.following
    assert not follow.away(0, 1000)
    follow.read(0, 1000)
    follow.jump()
    assert follow.following


def test_five_hundred_messages_have_few_widgets_and_open_at_their_end(messages: Make, qtbot: QtBot) -> None:
    shown = messages(500)
    assert at_end(shown)
    assert 2 <= shown.widgets <= 12
    assert shown.view_of(500) is not None
    assert shown.view_of(1) is None
    shown.verticalScrollBar().setValue(0)
    qtbot.waitUntil(lambda: shown.view_of(1) is not None)
    qtbot.waitUntil(lambda: shown.view_of(500) is None)
    qtbot.waitUntil(lambda: shown.widgets <= 12)


def test_what_the_reader_sees_stays_when_messages_above_get_their_true_height(
    messages: Make, qtbot: QtBot, typesetter: Typesetter
) -> None:
    shown = messages(200)
    bar = shown.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    qtbot.waitUntil(lambda: typesetter.idle)
    qtbot.wait(30)
    for _ in range(40):
        before = first_in_view(shown)
        bar.setValue(bar.value() - 40)
        qtbot.waitUntil(lambda: typesetter.idle)
        qtbot.wait(5)
        after = page_of(shown, before[0])
        assert abs(after - (before[1] + 40)) <= 1


def first_in_view(shown: MessageList) -> tuple[int, int]:
    """The first message whose top is in the view, and where it stands in it."""
    value = shown.verticalScrollBar().value()
    row = next(row for row in shown._rows if row.top >= value)
    return row.item.id, row.top - value


def page_of(shown: MessageList, message_id: int) -> int:
    row = next(row for row in shown._rows if row.item.id == message_id)
    return int(row.top - shown.verticalScrollBar().value())


def test_the_view_follows_a_stream_unless_the_reader_scrolled_up(
    messages: Make, qtbot: QtBot, typesetter: Typesetter
) -> None:
    shown = messages(9)
    grown = GrowingAnswer()
    live = item(10, "", state="streaming").as_live(grown, "")
    shown.show_items([*shown.items, live], keep=True)
    for _ in range(30):
        grown.take("A line of the answer.\n\n")
        shown.show_more(10)
        qtbot.wait(3)
    qtbot.waitUntil(lambda: typesetter.idle)
    qtbot.waitUntil(lambda: at_end(shown))
    assert not shown.latest_offered

    QTest.keyClick(shown, Qt.Key.Key_Home)
    assert shown.latest_offered
    for _ in range(10):
        grown.take("More of it.\n\n")
        shown.show_more(10)
    qtbot.waitUntil(lambda: typesetter.idle)
    qtbot.wait(20)
    assert shown.verticalScrollBar().value() == 0
    latest = next(button for button in shown.findChildren(QPushButton) if button.text() == "Latest")
    latest.click()
    assert at_end(shown)
    assert not shown.latest_offered
    view = shown.view_of(10)
    assert view is not None
    assert view.body.blocks == parse("A line of the answer.\n\n" * 30 + "More of it.\n\n" * 10)


def test_the_column_is_as_wide_as_is_readable_and_never_wider_than_the_window(
    messages: Make, qtbot: QtBot
) -> None:
    shown = messages(6)
    for width in (1600, 700, 400):
        shown.resize(width, 600)
        qtbot.wait(20)
        view = shown.view_of(6)
        assert view is not None
        assert view.body.width() == min(MEASURE.reading, width - 48)
        assert shown.horizontalScrollBar().maximum() == 0


def test_arrows_walk_through_messages_and_the_focus_shows_what_can_be_done(
    messages: Make, qtbot: QtBot
) -> None:
    shown = messages(40)
    shown.focus_last()
    view = focused(shown)
    assert view.item.id == 40
    names = [button.accessibleName() for button in view.findChildren(QPushButton) if button.isVisible()]
    assert {"Copy", "Regenerate"} <= set(names)
    for expected in range(39, 19, -1):
        QTest.keyClick(view, Qt.Key.Key_Up)
        view = focused(shown)
        assert view.item.id == expected
        assert view.visibleRegion().boundingRect().height() > 20
    names = [
        button.accessibleName() for button in focused(shown).findChildren(QPushButton) if button.isVisible()
    ]
    assert "Regenerate" in names or "Edit" in names


def focused(shown: MessageList) -> MessageView:
    widget: QWidget | None = shown.window().focusWidget()
    assert isinstance(widget, MessageView)
    return widget


def test_how_an_answer_ended_is_said(messages: Make, deeds: Deeds) -> None:
    shown = messages(0)
    error = SlmDeskError("engine_killed", "The engine was ended.", "Try again.").to_json()
    shown.show_items(
        [
            item(2, "half", state="stopped"),
            item(4, "half", state="interrupted", error=error, last=True),
            item(6, "", state="failed", error=error),
            item(8, "long", stats={"reason": "length"}, last=True),
            item(10, "whole"),
        ]
    )
    notes = [view.note for number in (2, 4, 6, 8, 10) if (view := shown.view_of(number)) is not None]
    assert isinstance(notes[0], Ended)
    assert notes[0].words == "Stopped"
    assert isinstance(notes[1], CutOff)
    assert notes[1].words == "The engine was ended. Try again."
    assert isinstance(notes[2], ErrorPanel)
    assert isinstance(notes[3], Ended)
    assert "most tokens" in notes[3].words
    assert notes[4] is None
    for button in notes[1].findChildren(QPushButton):
        button.click()
    assert deeds.done == [("continue", 4), ("regenerate", 4)]


def test_a_huge_message_of_the_person_is_folded(messages: Make) -> None:
    shown = messages(0)
    text = "\n".join(f"line {number}" for number in range(5000))
    shown.show_items([item(1, text)])
    view = shown.view_of(1)
    assert view is not None
    assert len(view.body.blocks) == 40
    more = next(button for button in view.findChildren(QPushButton) if button.text().startswith("Show"))
    assert more.text() == "Show 4,961 more lines"
    more.click()
    assert len(view.body.blocks) == 5000


def test_an_edit_box_survives_scrolling_away(messages: Make, qtbot: QtBot) -> None:
    shown = messages(60)
    shown.edit(59)
    view = shown.view_of(59)
    assert view is not None
    assert view.editing
    shown.verticalScrollBar().setValue(0)
    qtbot.wait(30)
    assert shown.view_of(59) is view


TALL = "A paragraph that takes a line or two of the view, so that many of them are taller than it.\n\n" * 40


@pytest.mark.parametrize("before", [2, 8])
def test_an_edited_question_leaves_no_ghost_of_its_old_answer(
    messages: Make, qtbot: QtBot, typesetter: Typesetter, before: int
) -> None:
    shown = messages(0)
    shown._latest.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # so that the next in the tab order is a message
    old = [item(number, TALL if number % 2 == 0 else "") for number in range(1, before + 1)]
    shown.show_items(old)
    qtbot.waitUntil(lambda: typesetter.idle and at_end(shown) and shown._dirty_from is None)
    shown.edit(before - 1)
    asked = shown.view_of(before - 1)
    assert asked is not None
    field = asked.findChild(TextInput)
    assert field is not None
    qtbot.waitUntil(field.hasFocus)
    QTest.keyClick(field, Qt.Key.Key_Return)
    qtbot.wait(20)  # until the buttons of the message that lost the focus are gone
    new = [*old[:-2], item(101, "Another question", branch=1, branches=2)]
    shown.show_items(new, keep=True)
    shown.show_items([*new, item(102, TALL)], keep=True)
    qtbot.waitUntil(lambda: typesetter.idle)
    qtbot.wait(20)
    painted = {view for view in shown.findChildren(MessageView) if view.isVisible()}
    known = {row.view for row in shown._rows if row.view is not None}
    assert painted == known
    assert {view.item.id for view in painted} <= {one.id for one in new} | {102}


def test_the_focus_of_a_message_that_goes_is_handed_on(messages: Make, qtbot: QtBot) -> None:
    shown = messages(6)
    shown.focus_last()
    gone = focused(shown)
    left: list[bool] = []
    shown.left.connect(lambda: left.append(True))
    value = shown.verticalScrollBar().value()
    shown.show_items([item(number) for number in range(1, 6)], keep=True)
    assert left == [True]
    assert not isinstance(shown.window().focusWidget(), MessageView)
    assert shown.verticalScrollBar().value() <= value
    assert gone not in {row.view for row in shown._rows}


def test_an_answer_tells_its_figures(messages: Make, qtbot: QtBot) -> None:
    stats = {
        "reason": "length",
        "usage": {"prompt_tokens": 1200, "cached_tokens": 1000, "completion_tokens": 128},
        "timings": {"first_token_s": 0.31, "tokens_per_s": 42.4},
        "context_length": 8192,
        "trimmed_turns": 2,
        "reasoning_s": 2.5,
    }
    shown = messages(0)
    shown.show_items([item(1), item(2, stats=stats, last=True)])
    view = shown.view_of(2)
    assert view is not None
    line = next(label for label in view.findChildren(QLabel) if "tokens/s" in label.text())
    assert line.text() == "128 tokens · 42 tokens/s · first after 310 ms"
    assert line.accessibleDescription() == line.toolTip()
    assert line.toolTip().splitlines() == [
        "Model: Model",
        "Written: on this machine",
        "Answer: 128 tokens",
        "Speed: 42 tokens/s",
        "First token: after 310 ms",
        "Thought: for 2.5 s",
        "Prompt: 1,200 tokens, 1,000 of them known from before",
        "Context: 1,328 of 8,192 tokens",
        "Left out: 2 turns",
        "End: reached the most tokens it may have",
    ]
    shown.resize(300, 600)  # it gives way, and nothing stands outside
    qtbot.wait(20)
    assert line.mapTo(view, line.rect().topRight()).x() <= view.width()
    made_elsewhere = {**stats, "made_at": "at Office server"}
    assert ("Written", "at Office server") in figures_table(item(2, stats=made_elsewhere).message, "M")
    assert figures_line(item(2).message) == ""


def test_another_model_is_asked_for_by_button(messages: Make, deeds: Deeds) -> None:
    shown = messages(2)
    view = shown.view_of(2)
    assert view is not None
    view.setFocus()
    button = next(
        one
        for one in view.findChildren(QPushButton)
        if one.accessibleName() == "Regenerate with another model"
    )
    button.click()
    assert deeds.done == [("other", 2)]
