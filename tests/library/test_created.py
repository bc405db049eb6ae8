"""Models that stand for others: kept in the database, found by any process, removed and brought back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.inference.model_settings import ModelSettings
from slmdesk.library.created import CreatedModel, CreatedModels
from slmdesk.library.library import BUILT_IN, Library
from slmdesk.library.trash import Trash
from slmdesk.schema import MIGRATIONS


@pytest.fixture
def opened(paths: Paths) -> Iterator[list[CreatedModels]]:
    """What two processes have."""
    databases = [Database(paths.database, MIGRATIONS) for _ in range(2)]
    yield [CreatedModels(one, Library(paths, Settings(paths.settings_file, {}))) for one in databases]
    for database in databases:
        database.close()


PIRATE = CreatedModel(
    "Pirate",
    BUILT_IN,
    ModelSettings(temperature=0.1, stop=("Arr",), system_prompt="You are a pirate."),
    template="{{ .Prompt }}",
    messages=(("user", "Who are you?"), ("assistant", "A pirate.")),
    licence="MIT",
    unused=("mirostat",),
)


async def test_what_is_created_is_there_for_every_process(opened: list[CreatedModels], paths: Paths) -> None:
    one, other = opened
    assert await other.named("pirate") is None
    assert not paths.database.exists()  # looking makes no database
    made = await one.create(PIRATE)
    assert (made.name, made.base.partition(":")[0]) == ("Pirate:latest", BUILT_IN)
    for name in ("pirate", "PIRATE:latest", "Pirate"):
        assert await other.named(name) == made
    assert await other.named("pirate:other") is None
    assert (made.loaded_otherwise, CreatedModel("x", "y").loaded_otherwise) == (True, False)
    copied = await other.copy("pirate", "pirate:two")
    assert await one.models() == [made, copied]
    assert copied.settings == PIRATE.settings
    # The same name again: the newer one counts.
    newer = await other.create(CreatedModel("pirate", BUILT_IN))
    assert await one.named("pirate") == newer


async def test_a_removed_one_is_brought_back_once(opened: list[CreatedModels]) -> None:
    one, other = opened
    made = await one.create(PIRATE)
    assert await other.remove("pirate") == made
    assert await one.models() == []
    with pytest.raises(SlmDeskError, match="No model 'pirate'"):
        await one.remove("pirate")
    assert [model for _, model in await one.removed()] == [made]
    assert await one.bring_back("pirate") == made
    assert await other.models() == [made]
    with pytest.raises(SlmDeskError) as gone:
        await other.bring_back("pirate")
    assert gone.value.code == "undo_gone"


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b/c/d", "a.gguf", "/etc/x", "a:", "ä", "x" * 200])
async def test_names_that_none_can_have(opened: list[CreatedModels], name: str) -> None:
    with pytest.raises(SlmDeskError) as refused:
        await opened[0].copy(BUILT_IN, name)
    assert refused.value.code == "name_invalid"


async def test_no_name_hides_a_model_and_no_file_outside_gets_one(
    opened: list[CreatedModels], paths: Paths
) -> None:
    with pytest.raises(SlmDeskError) as taken:
        await opened[0].copy(BUILT_IN, f"{BUILT_IN}:latest")
    assert taken.value.code == "duplicate"
    outside = paths.data / "outside.gguf"
    guide = await Library(paths, Settings(paths.settings_file, {})).resolve(BUILT_IN)
    shutil.copyfile(guide.path, outside)
    with pytest.raises(SlmDeskError) as refused:
        await opened[0].copy(str(outside), "mine")
    assert refused.value.code == "outside_library"


async def test_the_trash_has_created_models_too(opened: list[CreatedModels], paths: Paths) -> None:
    one, other = opened
    trash = Trash(Library(paths, Settings(paths.settings_file, {})), one)
    await one.create(PIRATE)
    removed = await trash.remove_created("pirate")
    assert [(entry.key, entry.title) for entry in await trash.removed()] == [(removed.key, "Pirate:latest")]
    assert await trash.hand_over() == []  # no system's trash takes it
    await trash.undo(removed.key)
    assert await other.named("pirate") is not None
    assert await trash.removed() == []
    await trash.remove_created("pirate")
    assert [entry.title for entry in await trash.hand_over(removed.key)] == ["Pirate:latest"]
    with pytest.raises(SlmDeskError, match="Create it anew"):
        await trash.undo(removed.key)


async def test_a_database_that_cannot_be_read_hides_no_model(
    opened: list[CreatedModels], paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    paths.database.parent.mkdir(parents=True, exist_ok=True)
    paths.database.write_bytes(b"no database " * 500)
    with caplog.at_level("CRITICAL"):
        assert await opened[0].named("pirate") is None
        assert await opened[0].models() == []
        assert await opened[0].removed() == []
        with pytest.raises(SlmDeskError) as refused:
            await opened[0].create(PIRATE)
    assert refused.value.code == "database_damaged"
