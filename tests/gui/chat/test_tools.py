"""Tools in the window: chosen in a menu, asked about in a card, approved by a button, kept in the conversation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from slmdesk.chat.tree import Message
from slmdesk.chat.turns import TurnOptions
from slmdesk.gui.chat.call_card import CallCard
from slmdesk.gui.chat.items import CallItem, MessageItem
from slmdesk.gui.chat.message_view import MessageView
from slmdesk.gui.chat.typesetter import Typesetter
from slmdesk.inference.asks import Sampling, ToolChoice

from .conftest import Deeds, Desk, Play, until

HELD = TurnOptions(Sampling(temperature=0.0), max_tokens=40, tool_choice=ToolChoice("required", "calculator"))


async def asked(desk: Desk, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> CallCard:
    """A new chat with the calculator, whose first answer has to call it, up to the question whether it may."""
    chats = desk.application.chats
    monkeypatch.setattr(chats, "send", partial(chats.send, options=HELD))
    desk.controller.ask(str(smollm2))  # for this one chat: other tests have the usual model
    await until(lambda: desk.controller.model == str(smollm2), "the model")
    desk.composer.tools_button.click()
    await until(lambda: desk.page.tools.menu is not None, "the menu")
    menu = desk.page.tools.menu
    assert menu is not None
    [calculator] = [action for action in menu.actions() if action.text() == "Calculator"]
    calculator.trigger()
    menu.close()
    assert desk.composer.tools_button.text() == "Calculator"
    await desk.ask("What is 17 * 23?")
    await until(lambda: len(desk.items) > 1 and desk.items[1].asking and desk.view(1).calls.cards, "the card")
    return desk.view(1).calls.cards[0]


def test_a_call_is_approved_in_its_card_and_kept(
    play: Play, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(desk: Desk) -> None:
        card = await asked(desk, smollm2, monkeypatch)
        assert card.words == "May the model call calculator?"
        assert card.opened
        assert card.body is not None
        assert '"expression": "17 * 23"' in card.body.words()
        assert [button.text() for button in card.buttons] == ["Call it", "Always", "Refuse"]
        # Esc stops from anywhere, the composer has the focus, and Tab leads to the buttons.
        assert all(button.focusPolicy() & Qt.FocusPolicy.TabFocus for button in card.buttons)
        assert all(button.accessibleName() for button in card.buttons)
        card.buttons[0].setFocus()
        QTest.keyClick(card.buttons[0], Qt.Key.Key_Space)
        await desk.answered()
        assert desk.items[0].name == "You"
        assert [item.goes_on for item in desk.items] == [False, False, True]
        assert "391" in desk.shown_text()
        card = desk.view(1).calls.cards[0]
        assert card.words == "Called calculator: 17 * 23"
        assert not card.opened
        current = desk.controller.current
        desk.page.new_chat()
        await until(lambda: desk.controller.current != current and not desk.items, "a new chat")
        assert desk.composer.tools_button.text() == "Tools"
        desk.page.open(current)
        await until(lambda: len(desk.items) == 3, "the conversation")
        assert desk.composer.tools_button.text() == "Calculator"
        card = desk.view(1).calls.cards[0]
        card.toggle()
        assert card.body is not None
        assert "391" in card.body.words()

    play(scene)


def test_a_refusal_and_a_stop(play: Play, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(desk: Desk) -> None:
        await asked(desk, smollm2, monkeypatch)
        actions = {action.id: action for action in desk.page.commands()}
        assert actions["chat.call"].available
        actions["chat.refuse"].run()
        await desk.answered()
        assert not actions["chat.refuse"].available
        assert desk.view(1).calls.cards[0].words == "You refused calculator: 17 * 23"
        await desk.ask("And 18 * 23?")
        await until(
            lambda: len(desk.items) > 4 and desk.items[4].asking and desk.view(4).calls.cards, "the card"
        )
        QTest.keyClick(desk.composer.field, Qt.Key.Key_Escape)
        await until(lambda: not desk.controller.running, "the end")
        assert desk.view(4).calls.cards[0].words.startswith("Stopped: calculator")
        assert not desk.view(4).calls.cards[0].buttons
        note = desk.view(4).note
        assert note is not None
        assert note.accessibleName() == "It stopped at its tools"
        desk.controller.continue_from(desk.items[4].id)
        await until(lambda: len(desk.items) == 6, "it goes on")
        await desk.answered()
        assert desk.items[5].goes_on

    play(scene)


def test_the_limit_is_shown(typesetter: Typesetter) -> None:
    answer = Message(1, 1, None, "assistant", "So be it.", "complete", "m", 0.0, stats={"tool_steps": 8})
    view = MessageView(typesetter, MessageItem(answer, "m"), Deeds())
    assert view.note is not None
    assert "8 times in a row" in view.note.accessibleName()
    view.release()
    view.deleteLater()


def test_a_card_shows_what_it_is_given(typesetter: Typesetter) -> None:
    """Whatever a model or a server writes: it is text, cut where it is long."""
    deeds = Deeds()
    item = CallItem("c", "search", '{"query": "<b>x</b>", "n": 3}', "notes", "asked")
    card = CallCard(typesetter, item, deeds)
    size = card.lay(600)
    assert size.width() == 600
    assert "search of notes" in card.words
    for button, decision in zip(card.buttons, ("once", "always", "refuse"), strict=True):
        button.click()
        assert deeds.done[-1] == ("decide", "c", decision)
    card.show_call(CallItem("c", "search", "{broken", "notes", "failed", "y" * 100_000, 2.5, 7))
    assert card.words == "Failed: search of notes, 2.5 s"
    folded = card.lay(600).height()
    card.toggle()
    assert card.body is not None
    words = card.body.words()
    assert "{broken" in words
    assert "7 characters left out" in words
    assert len(words) < 30_000
    assert card.lay(600).height() > folded
    card.release()
    card.deleteLater()
