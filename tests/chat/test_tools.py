"""Turns in which a model calls tools: a real model, held to a call first, real tools and a real server of tools."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.chat import store
from slmdesk.chat.calling import REFUSED, STOPPED, Decision
from slmdesk.chat.chats import Chats
from slmdesk.chat.request import build_turns
from slmdesk.chat.tree import Conversation, Message
from slmdesk.chat.turns import (
    CallChanged,
    MessageStored,
    StepEnded,
    ToolsMissing,
    TurnEnded,
    TurnEvent,
    TurnOptions,
)
from slmdesk.inference.answers import Started
from slmdesk.inference.asks import Reasoning, Sampling, Text, ToolCall, ToolChoice, ToolResult
from slmdesk.tools.selection import ToolSelection
from slmdesk.tools.server import NewServer

SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"
CALCULATOR = ToolSelection(("built-in/calculator",))


def held_to(tool: str, selection: ToolSelection = CALCULATOR) -> TurnOptions:
    """The first answer has to call this tool."""
    choice = ToolChoice("required", tool)
    return TurnOptions(Sampling(temperature=0.0), max_tokens=48, tools=selection, tool_choice=choice)


@pytest.fixture
async def chat(application: Application, smollm2: Path) -> AsyncIterator[Conversation]:
    """A conversation with SmolLM2, whose template knows no tools; nothing is allowed without asking."""
    yield await application.chats.create(str(smollm2), "")
    for key in await application.tools.always():
        await application.tools.allow(key, always=False)


async def decided(
    chats: Chats, conversation_id: int, events: AsyncIterator[TurnEvent], decision: Decision
) -> list[TurnEvent]:
    """All events of a turn whose calls are decided so."""
    seen: list[TurnEvent] = []
    async for event in events:
        seen.append(event)
        if isinstance(event, CallChanged) and event.call.state == "asked":
            assert chats.decide(conversation_id, event.call.id, decision)
            assert not chats.decide(conversation_id, event.call.id, decision)
    assert isinstance(seen[-1], TurnEnded)
    return seen


def states(events: list[TurnEvent]) -> list[str]:
    return [event.call.state for event in events if isinstance(event, CallChanged)]


async def test_a_call_is_asked_made_kept_and_its_result_goes_into_the_next_prompt(
    application: Application, chat: Conversation
) -> None:
    chats = application.chats
    events = await decided(
        chats, chat.id, chats.send(chat.id, "What is 17 * 23?", held_to("calculator")), "once"
    )
    stored = [event.message.role for event in events if isinstance(event, MessageStored)]
    assert stored == ["user", "assistant", "tool", "assistant"]
    assert states(events) == ["asked", "running", "done"]
    [step] = [event.message for event in events if isinstance(event, StepEnded)]
    [call] = step.calls
    assert (call.name, call.arguments) == ("calculator", '{"expression": "17 * 23"}')
    first, second = (event.prompt_tokens for event in events if isinstance(event, Started))
    assert second > first
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    # A model of 135 million parameters does not know this; it is told.
    assert "391" in ended.message.text

    again = Application.build()
    try:
        path = (await again.chats.load(chat.id)).path()
    finally:
        await again.close()
    assert [(message.role, message.state) for message in path] == [
        ("user", "complete"),
        ("assistant", "complete"),
        ("tool", "complete"),
        ("assistant", "complete"),
    ]
    assert path[2].parts == (ToolResult(call.id, "391"),)
    assert path[2].stats["calls"][0]["key"] == "built-in/calculator"
    turns = build_turns("", path)
    assert [turn.role for turn in turns] == ["user", "assistant", "tool", "assistant"]
    # What was not chosen for the turn is what the conversation has: nothing.
    plain = [event async for event in chats.send(chat.id, "Thanks.", TurnOptions(max_tokens=4))]
    assert not states(plain)


async def test_a_refusal_is_told_to_the_model_and_always_is_kept_until_it_is_taken_back(
    application: Application, chat: Conversation
) -> None:
    chats = application.chats
    question = held_to("calculator")
    refused = await decided(chats, chat.id, chats.send(chat.id, "What is 2 + 2?", question), "refuse")
    assert states(refused) == ["asked", "refused"]
    results = (await chats.load(chat.id)).path()[2]
    assert [part.text for part in results.parts if isinstance(part, ToolResult)] == [REFUSED]
    allowed = await decided(chats, chat.id, chats.send(chat.id, "And 3 + 3?", question), "always")
    assert states(allowed)[:2] == ["asked", "running"]  # what a small model makes of the sum is its own
    assert await application.tools.always() == ("built-in/calculator",)
    unasked = await decided(chats, chat.id, chats.send(chat.id, "And 4 + 4?", question), "refuse")
    assert states(unasked)[0] == "running"
    await application.tools.allow("built-in/calculator", always=False)
    asked = await decided(chats, chat.id, chats.send(chat.id, "And 5 + 5?", question), "refuse")
    assert states(asked) == ["asked", "refused"]


async def test_the_loop_ends_at_its_limit(
    application: Application, chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(application.tools), "most_calls", 1)
    chats = application.chats
    events = await decided(
        chats, chat.id, chats.send(chat.id, "What is 9 * 9?", held_to("calculator")), "once"
    )
    ended = events[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.message.stats["tool_steps"] == 1
    assert not ended.message.calls


async def test_stopped_where_a_person_is_asked(application: Application, chat: Conversation) -> None:
    chats = application.chats
    states_seen: list[str] = []
    async for event in chats.send(chat.id, "What is 5 * 5?", held_to("calculator")):
        if isinstance(event, CallChanged):
            states_seen.append(event.call.state)
            if event.call.state == "asked":
                stopping = asyncio.create_task(chats.stop(chat.id))
    await stopping
    assert isinstance(event, TurnEnded)
    assert (event.message.role, event.message.state) == ("tool", "stopped")
    assert states_seen == ["asked", "stopped"]
    assert not chats.answering
    path = (await chats.load(chat.id)).path()
    assert path[-1].parts == (ToolResult(path[1].calls[0].id, STOPPED, failed=True),)
    # It goes on from the results that are there, or from another message.
    answered = [e async for e in chats.regenerate(path[-1].id, TurnOptions(max_tokens=4))]
    assert isinstance(answered[-1], TurnEnded)
    assert answered[-1].message.role == "assistant"
    assert answered[-1].message.parent_id == path[-1].id


@pytest.mark.slow
async def test_a_server_is_called_and_stopped_in_the_middle_of_a_call(
    application: Application, chat: Conversation
) -> None:
    chats, tools = application.chats, application.tools
    server = NewServer.started("chat-tests", sys.executable, (str(SERVER), "stdio"))
    gone = NewServer.started("not-there", "/nowhere/no-such-program")
    await tools.add([server, gone], replace=True)
    chosen = ("chat-tests/add", "not-there")
    await chats.set_tools(chat.id, ToolSelection(chosen))
    assert (await chats.load(chat.id)).conversation.tools.names == chosen
    kept = TurnOptions(Sampling(temperature=0.0), max_tokens=48, tool_choice=ToolChoice("required", "add"))
    events = await decided(chats, chat.id, chats.send(chat.id, "What is 2 plus 3?", kept), "once")
    [missing] = [event.problem for event in events if isinstance(event, ToolsMissing)]
    assert missing.code == "tool_server_failed"
    assert states(events) == ["asked", "running", "done"]
    results = (await chats.load(chat.id)).path()[2]
    assert results.text.lstrip("-").isdigit()

    await tools.allow("chat-tests/sleep", always=True)
    sleeping = held_to("sleep", ToolSelection(("chat-tests/sleep",)))
    # A schema of one number: any number will do, as the limit of a call is longer than this test.
    async for event in chats.send(chat.id, "Sleep for 1000 seconds.", sleeping):
        if isinstance(event, CallChanged) and event.call.state == "running":
            stopping = asyncio.create_task(chats.stop(chat.id))
    await stopping
    assert isinstance(event, TurnEnded)
    assert event.message.state in {"stopped", "complete"}
    tree = await chats.load(chat.id)
    assert all(message.state != "streaming" for message in tree.messages.values())
    await tools.remove("chat-tests")
    await tools.remove("not-there")


async def test_an_answer_whose_calls_were_never_made_has_them_made(
    application: Application, chat: Conversation
) -> None:
    """The program ended between an answer and its calls."""
    chats = application.chats

    def add(connection: sqlite3.Connection) -> Message:
        asked = store.add_message(connection, chat.id, None, "user", "What is 6 * 7?")
        call = ToolCall("c1", "calculator", '{"expression": "6 * 7"}')
        return store.add_message(connection, chat.id, asked.id, "assistant", "", parts=(call,))

    answer = await application.database.run(add)
    options = TurnOptions(Sampling(temperature=0.0), max_tokens=24, tools=CALCULATOR)
    events = await decided(chats, chat.id, chats.continue_from(answer.id, options), "once")
    assert states(events) == ["asked", "running", "done"]
    path = (await chats.load(chat.id)).path()
    assert path[2].text == "42"
    assert path[-1].role == "assistant"


def message(number: int, role: str, *parts: object, text: str = "") -> Message:
    return Message(number, 1, number - 1 or None, role, text, "complete", "m", 0.0, parts=parts)  # type: ignore[arg-type]


def test_no_call_goes_to_a_model_without_its_result() -> None:
    one, two = ToolCall("1", "a", "{}"), ToolCall("2", "b", "{}")
    path = [
        message(1, "user", text="hello"),
        message(2, "assistant", Reasoning("old thoughts"), Text("Let me see."), one, two),
        message(3, "tool", ToolResult("1", "x")),
        message(4, "user", text="and?"),
        message(5, "assistant", Reasoning("why"), one),
        message(6, "user", text="well?"),
        message(7, "assistant", Reasoning("new thoughts"), two),
        message(8, "tool", ToolResult("2", "y")),
    ]
    turns = build_turns("", path)
    assert [turn.role for turn in turns] == [
        "user", "assistant", "tool", "user", "assistant", "tool", "user", "assistant", "tool",
    ]  # fmt: skip
    assert [part.text for part in turns[2].parts if isinstance(part, ToolResult)] == [
        "x",
        "This call was not made.",
    ]
    assert [part.failed for part in turns[5].parts if isinstance(part, ToolResult)] == [True]
    # Thoughts are of use while tools are called for the last question, and not sent back later.
    thoughts = [[part for part in turn.parts if isinstance(part, Reasoning)] for turn in turns]
    assert [bool(found) for found in thoughts] == [False] * 7 + [True, False]
