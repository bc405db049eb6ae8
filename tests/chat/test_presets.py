"""Instructions and ways of answering, kept by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slmdesk.chat.presets import ANSWER_VALUES, AnswerPreset, ChatPresets, InstructionPreset
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.model_settings import ModelSettings
from slmdesk.schema import MIGRATIONS


@pytest.fixture
def presets(tmp_path: Path) -> Iterator[ChatPresets]:
    database = Database(tmp_path / "chats.sqlite3", MIGRATIONS)
    yield ChatPresets(database)
    database.close()


async def test_instructions_are_kept_by_name(presets: ChatPresets) -> None:
    assert await presets.instructions() == []
    assert await presets.keep_instructions("tutor", "Explain it.") is None
    await presets.keep_instructions(" Brief \n one ", "Be brief.")
    assert await presets.instructions() == [
        InstructionPreset("Brief one", "Be brief."),
        InstructionPreset("tutor", "Explain it."),
    ]
    # One of the same name takes its place, and the way back is known.
    assert await presets.keep_instructions("tutor", "Ask back.") == InstructionPreset("tutor", "Explain it.")
    await presets.remove_instructions("Brief one")
    await presets.remove_instructions("nobody's")
    assert await presets.instructions() == [InstructionPreset("tutor", "Ask back.")]
    assert await presets.answers() == []


async def test_ways_of_answering_hold_what_belongs_to_answers_alone(presets: ChatPresets) -> None:
    values = ModelSettings(temperature=0.2, stop=("END",), context_length=4096, system_prompt="Be brief.")
    await presets.keep_answers("Exact", values)
    [kept] = await presets.answers()
    assert kept == AnswerPreset("Exact", ModelSettings(temperature=0.2, stop=("END",)))
    changes = kept.changes
    assert set(changes) == set(ANSWER_VALUES)
    assert (changes["temperature"], changes["top_k"]) == (0.2, None)
    await presets.remove_answers("Exact")
    assert await presets.answers() == []


async def test_what_is_no_preset_is_refused(presets: ChatPresets) -> None:
    for work in (
        presets.keep_instructions("  ", "Be brief."),
        presets.keep_instructions("x" * 81, "Be brief."),
        presets.keep_instructions("empty", " "),
        presets.keep_answers("nothing", ModelSettings(context_length=4096)),
    ):
        with pytest.raises(SlmDeskError) as caught:
            await work
        assert caught.value.code == "preset_invalid"
    assert await presets.instructions() == await presets.answers() == []
