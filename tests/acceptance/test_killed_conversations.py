"""Conversations cut by SIGKILL of the engine or the service: nothing typed and nothing finished is lost."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import pytest

from slmdesk.application import Application
from slmdesk.chat.turns import MessageStored, TurnEnded
from slmdesk.core.state import StateFile

if TYPE_CHECKING:
    from slmdesk.chat.tree import Message
    from slmdesk.core.paths import Paths

QUESTION = "What is Q4_K_M?"


@dataclass
class Record:
    """What the test itself saw, to be found again in the database."""

    typed: dict[int, str] = field(default_factory=dict)  # conversation -> text
    seen: dict[int, str] = field(default_factory=dict)  # answer -> text that arrived
    finished: dict[int, str] = field(default_factory=dict)  # answer -> whole text


def victims(paths: Paths) -> tuple[psutil.Process | None, list[psutil.Process]]:
    """The service's process and those of its engines."""
    pid = StateFile(paths.service_state).get("pid")
    if not isinstance(pid, int):
        return None, []
    try:
        service = psutil.Process(pid)
        return service, service.children(recursive=True)
    except psutil.NoSuchProcess:
        return None, []


async def converse(application: Application, record: Record) -> Message:
    conversation = await application.chats.create()
    record.typed[conversation.id] = QUESTION
    ended: Message | None = None
    written = 0
    async with aclosing(application.chats.send(conversation.id, QUESTION)) as events:
        async for event in events:
            if isinstance(event, MessageStored):
                written = event.message.id
            elif isinstance(event, str):
                record.seen[written] = record.seen.get(written, "") + event
            elif isinstance(event, TurnEnded):
                ended = event.message
    assert ended is not None
    if ended.state == "complete":
        record.finished[ended.id] = ended.text
    return ended


async def kill_soon(paths: Paths, rng: random.Random) -> None:
    await asyncio.sleep(rng.uniform(0.0, 0.6))
    service, engines = victims(paths)
    target = rng.choice([*engines, *([service] if service else [])] or [None])
    if target is not None:
        with suppress(psutil.NoSuchProcess):
            target.kill()


async def cut_conversations(paths: Paths, rounds: int) -> None:
    rng = random.Random(20)
    record = Record()
    application = Application.build(dict(os.environ))
    cut = 0
    try:
        for _ in range(rounds):
            async with asyncio.timeout(60):
                ended, _ = await asyncio.gather(converse(application, record), kill_soon(paths, rng))
            if ended.state != "complete":
                cut += 1
                assert ended.state in ("interrupted", "failed"), ended
                assert ended.error is not None
                assert ended.error["code"] != "unknown"
                assert ended.error["message"]
                # The next message works, in the same program, without anything done by hand.
                async with asyncio.timeout(60):
                    after = await converse(application, record)
                if after.state != "complete":  # the service may have to say that it failed twice in a row
                    assert after.error is not None
                    await asyncio.sleep(1)
        async with asyncio.timeout(90):
            last = await converse(application, record)
            while last.state != "complete":
                await asyncio.sleep(5)
                last = await converse(application, record)
    finally:
        await application.close()
    assert cut > 0, "no conversation was cut: the test kills too late"

    connection = sqlite3.connect(paths.database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()

    again = Application.build(dict(os.environ))
    try:
        for conversation_id, text in record.typed.items():
            path = (await again.chats.load(conversation_id)).path()
            assert path[0].text == text
            assert path[1].state != "streaming"
            if path[1].id in record.finished:
                assert path[1].text == record.finished[path[1].id]
                assert path[1].state == "complete"
            else:
                assert path[1].text == record.seen.get(path[1].id, "")
    finally:
        await again.close()


async def test_a_few_conversations_cut_by_sigkill(served: Paths) -> None:
    await cut_conversations(served, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_fifty_conversations_cut_by_sigkill(served: Paths) -> None:
    await cut_conversations(served, 50)
