"""GGUF files with random bytes changed in their tables: an answer or a decoded error, never a dead service."""

from __future__ import annotations

import os
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from slmdesk.application import Application
from slmdesk.chat.turns import TurnEnded
from slmdesk.formats.gguf import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.chat.tree import Message
    from slmdesk.core.paths import Paths

# Codes that would mean that nobody understood the failure.
UNDECODED = {"unknown", "internal", "internal_error"}


def damage(source: bytes, table_end: int, rng: random.Random) -> bytes:
    """Change one to eight bytes before the tensor data."""
    data = bytearray(source)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(table_end)] = rng.randrange(256)
    return bytes(data)


async def ask(application: Application, model: Path) -> Message:
    conversation = await application.chats.create()
    await application.chats.set_model(conversation.id, str(model))
    async with aclosing(application.chats.send(conversation.id, "What is GGUF?")) as events:
        async for event in events:
            if isinstance(event, TurnEnded):
                return event.message
    raise AssertionError("a turn without an end")


async def open_damaged(paths: Paths, desk_guide: Path, folder: Path, rounds: int) -> None:
    rng = random.Random(7)
    source = desk_guide.read_bytes()
    table_end = read_header(desk_guide).data_offset
    service_pid = None
    outcomes: dict[str, int] = {}
    application = Application.build({**os.environ, "SLMDESK_CHAT_MAX_TOKENS": "8"})
    try:
        for number in range(rounds):
            model = folder / f"damaged-{number}.gguf"
            model.write_bytes(damage(source, table_end, rng))
            message = await ask(application, model)
            model.unlink()
            if message.error is None:
                outcome = "answered"
            else:
                outcome = message.error["code"]
                assert outcome not in UNDECODED, message.error
                assert message.error["message"]
                assert message.error["hint"]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            client = await application.connector.attached()
            assert client is not None, "the service is gone"
            pid = (await client.health())["pid"]
            service_pid = service_pid or pid
            assert pid == service_pid, "the service died and was started again"
    finally:
        await application.close()
    print(outcomes)
    assert sum(outcomes.values()) == rounds
    if rounds >= 50:  # most changes hit the vocabulary; only many rounds are sure to find other ends
        assert len(outcomes) > 1


async def test_a_few_damaged_files(served: Paths, desk_guide: Path, tmp_path: Path) -> None:
    await open_damaged(served, desk_guide, tmp_path, 8)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_two_hundred_damaged_files(served: Paths, desk_guide: Path, tmp_path: Path) -> None:
    await open_damaged(served, desk_guide, tmp_path, 200)
