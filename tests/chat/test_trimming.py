"""A conversation longer than the context, against the real engine with a short one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.chat.request import build_turns
from slmdesk.chat.rules import AnswerRules
from slmdesk.chat.turns import TurnEnded, TurnOptions
from slmdesk.inference.answers import Started
from slmdesk.inference.asks import Ask, Sampling

from .conftest import end_service, use_home

CONTEXT = 512
LONG = "Tell me about quants, memory, context and models. " * 5
SHORT_ANSWER = TurnOptions(Sampling(temperature=0.0), max_tokens=16)


@pytest.fixture
def short_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    use_home(monkeypatch, tmp_path, ENGINE_CONTEXT_LENGTH=str(CONTEXT))
    yield tmp_path
    asyncio.run(end_service(tmp_path))


async def talk(application: Application, conversation_id: int, text: str) -> tuple[Started, TurnEnded]:
    started: Started | None = None
    async with aclosing(application.chats.send(conversation_id, text, SHORT_ANSWER)) as events:
        async for event in events:
            if isinstance(event, Started):
                started = event
            if isinstance(event, TurnEnded):
                assert event.message.error is None, event.message.error
                assert started is not None
                return started, event
    raise AssertionError("the turn did not end")


async def long_conversation() -> None:
    application = Application.build()
    chats = application.chats
    try:
        conversation = await chats.create(system_prompt="Be short.")
        trimmed: list[int] = []
        for turn in range(14):
            started, ended = await talk(application, conversation.id, f"{turn}: {LONG}")
            assert started.prompt_tokens + SHORT_ANSWER.max_tokens <= CONTEXT
            assert ended.message.stats["trimmed_turns"] == started.trimmed_turns
            assert ended.message.stats["context_length"] == CONTEXT
            trimmed.append(started.trimmed_turns)
        assert trimmed[0] == 0
        assert trimmed == sorted(trimmed)
        assert trimmed[-1] > 0
        # Left out in steps, so that the turns between them find their prompt's beginning in the cache.
        assert len(set(trimmed)) < len(trimmed) - 2
        # Nothing is lost: it is only not sent.
        assert len((await chats.load(conversation.id)).path()) == 28

        # A conversation nobody measured yet is found too long by asking.
        copy = await chats.import_json(
            (await chats.export(conversation.id, "json")).replace('"stats"', '"was"')
        )
        started, _ = await talk(application, copy.id, LONG)
        assert started.trimmed_turns > 0

        # Both ends are kept where that is wanted: the prompt is that without the middle, to the token.
        await chats.set_rules(copy.id, AnswerRules("keep_ends"))
        path = (await chats.load(copy.id)).path()
        started, ended = await talk(application, copy.id, LONG)
        assert started.trimmed_turns > 0
        assert ended.message.stats["overflow"] == "keep_ends"
        asked = (await chats.load(copy.id)).path()[:-1]
        assert asked[:-1] == path
        turns = build_turns("Be short.", asked, started.trimmed_turns, keep_first=True)
        assert turns[1].text == f"0: {LONG}"
        client = await application.connector.connect()
        assert started.prompt_tokens == await client.count(Ask(model=ended.message.model, turns=tuple(turns)))

        # Or nothing is left out, and that is said.
        await chats.set_rules(copy.id, AnswerRules("refuse"))
        async with aclosing(chats.send(copy.id, LONG, SHORT_ANSWER)) as events:
            last = [event async for event in events][-1]
        assert isinstance(last, TurnEnded)
        assert last.message.error is not None
        assert last.message.error["code"] == "context_exceeded"

        # One message longer than the whole context cannot be helped, and is said plainly.
        lone = await chats.create()
        async with aclosing(chats.send(lone.id, LONG * 20, SHORT_ANSWER)) as events:
            last = [event async for event in events][-1]
        assert isinstance(last, TurnEnded)
        assert last.message.state == "failed"
        assert last.message.error is not None
        assert last.message.error["code"] == "context_exceeded"
        assert last.message.error["hint"]
    finally:
        await application.close()


def test_the_oldest_turns_are_left_out(short_home: Path) -> None:
    asyncio.run(long_conversation())
