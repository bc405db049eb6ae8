"""Damaged models chosen in the window: each ends in an answer or in an error that is said, and the window lives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import read_header

from .conftest import Desk, Play, until

#: Codes that would mean that nobody understood the failure.
UNDECODED = {"unknown", "internal", "internal_error"}


def damaged(source: bytes, table_end: int, rng: random.Random) -> bytes:
    """One to eight bytes changed before the tensor data."""
    data = bytearray(source)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(table_end)] = rng.randrange(256)
    return bytes(data)


def open_damaged(play: Play, source: Path, folder: Path, rounds: int) -> dict[str, int]:
    rng = random.Random(11)
    data, table_end = source.read_bytes(), read_header(source).data_offset
    outcomes: dict[str, int] = {}

    async def scene(desk: Desk) -> None:
        desk.application.settings.set("chat.max_tokens", 8)
        await desk.ask("What is GGUF?")
        await desk.answered()
        client = await desk.application.connector.attached()
        assert client is not None
        service = (await client.health())["pid"]
        for number in range(rounds):
            model = folder / f"damaged-{number}.gguf"
            model.write_bytes(damaged(data, table_end, rng))
            desk.controller.choose_model(str(model))
            await until(lambda model=model: desk.controller.model == str(model), "the model to be chosen")
            before = len(desk.items)
            await desk.ask("What is GGUF?")
            await desk.answered()
            assert len(desk.items) == before + 2
            answer = desk.items[-1].message
            if answer.error is None:
                outcome = "answered"
            else:
                outcome = answer.error["code"]
                assert outcome not in UNDECODED, answer.error
                note = desk.view(-1).note
                assert note is not None, "nothing on the screen says what happened"
                assert answer.error["message"]
                assert answer.error["hint"]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            model.unlink()
            client = await desk.application.connector.attached()
            assert client is not None, "the service is gone"
            assert (await client.health())["pid"] == service, "the service died and was started again"
            if number % 20 == 19:
                desk.controller.new_chat()
                await until(lambda: not desk.items, "an empty conversation")
        # The window still works: a sound model answers.
        desk.controller.new_chat()
        await until(lambda: not desk.items, "an empty conversation")
        desk.controller.choose_model("slmdesk/desk-guide")
        await until(lambda: desk.controller.model == "slmdesk/desk-guide", "the built-in model to be chosen")
        await desk.ask("hello")
        await desk.answered()
        assert desk.items[-1].message.error is None
        assert desk.items[-1].message.text
        assert all(isinstance(error, SlmDeskError) for error in desk.errors)
        desk.application.settings.reset("chat.max_tokens")
        desk.application.settings.reset("chat.model")

    play(scene)
    return outcomes


def test_a_few_damaged_models_in_the_window(play: Play, desk_guide: Path, tmp_path: Path) -> None:
    outcomes = open_damaged(play, desk_guide, tmp_path, 5)
    assert sum(outcomes.values()) == 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_damaged_models_in_the_window(play: Play, desk_guide: Path, tmp_path: Path) -> None:
    outcomes = open_damaged(play, desk_guide, tmp_path, 200)
    print(outcomes)
    assert sum(outcomes.values()) == 200
    assert len(outcomes) > 1
