"""The starter in the library: used where it lies, checked once, and in nobody's way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import STARTER_VARIABLE, Paths
from slmdesk.core.settings import Settings
from slmdesk.library import shipped
from slmdesk.library.duplicates import Duplicates
from slmdesk.library.library import BUILT_IN, STARTER, Library
from slmdesk.library.moving import listing
from slmdesk.library.trash import Trash
from slmdesk.library.verify import Verifier

Make = Callable[..., Path]


@pytest.fixture
def library(starter: Path, paths: Path) -> Library:
    """A library that sees the starter."""
    assert starter.is_file()
    found = Paths.resolve()
    return Library(found, Settings(found.settings_file, {}))


async def test_it_is_shown_in_place_and_checked_once(
    library: Library, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await library.model(STARTER)
    (file,) = model.files
    assert (model.id, model.starter, model.built_in) == ("HuggingFaceTB/SmolLM2-135M-Instruct", True, False)
    assert (file.id, file.path, file.quant) == (f"{STARTER}:Q4_1", starter, "Q4_1")
    assert (file.parameters, file.context_length, file.licence) == (134_515_008, 8192, "apache-2.0")
    assert file.state == "unverified"  # nothing was read that would keep the start waiting
    assert await library.check_starter()
    assert (await library.resolve(STARTER)).state == "verified"

    def never(*_: object) -> None:
        raise AssertionError

    later = Library(Paths.resolve(), Settings(Paths.resolve().settings_file, {}))
    monkeypatch.setattr(shipped.hashlib, "file_digest", never)
    assert not await later.check_starter()
    assert (await later.resolve(STARTER)).state == "verified"


async def test_a_damaged_one_is_found_and_desk_guide_takes_its_place(
    smollm2: Path, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(smollm2, copy)
    monkeypatch.setenv(STARTER_VARIABLE, str(copy))
    library = Library(Paths.resolve(), Settings(paths.settings_file, {}))
    (check,) = await Verifier(library).verify(await library.files(STARTER))
    assert (check.state, check.published, check.sha256) == ("verified", True, shipped.STARTER_SHA256)
    assert (
        await library.resolve(STARTER)
    ).state == "verified"  # what a person had checked is remembered, too
    assert library.usual_model == STARTER
    with copy.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert await library.check_starter()
    damaged = await library.resolve(STARTER)
    assert (damaged.state, damaged.problem and damaged.problem.code) == ("damaged", "hash_wrong")
    assert library.usual_model == BUILT_IN
    (check,) = await Verifier(library).verify(await library.files(STARTER))
    assert check.state == "damaged"


async def test_new_chats_begin_with_it_unless_a_person_chose(
    library: Library, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library.usual_model == STARTER
    monkeypatch.setenv(STARTER_VARIABLE, "")
    without = Library(Paths.resolve(), Settings(paths.settings_file, {}))
    assert without.usual_model == BUILT_IN
    assert [model.id for model in await without.models()] == [BUILT_IN]
    chosen = Settings(paths.settings_file, {"SLMDESK_CHAT_MODEL": "a/b"})
    assert Library(paths, chosen).usual_model == "a/b"


async def test_files_of_ones_own_stand_beside_it(library: Library, paths: Paths, make: Make) -> None:
    folder = paths.models / STARTER
    own = [make(folder / "own-Q8_0.gguf", 7), make(folder / "own-Q4_1.gguf", 3, value=2.0)]
    listed = await library.models()
    assert [model.id for model in listed] == [BUILT_IN, STARTER]
    ids = {file.id: file.shipped for file in listed[1].files}
    assert ids == {f"{STARTER}:Q4_1": "starter", f"{STARTER}:Q8_0": "", f"{STARTER}:own-Q4_1": ""}
    assert (await library.resolve(f"{STARTER}/own-Q4_1.gguf")).path == own[1]
    trash = Trash(library)
    removed = await trash.remove(await library.files(STARTER))  # everything that can be
    assert removed.file_ids == (f"{STARTER}:own-Q4_1", f"{STARTER}:Q8_0")
    assert not any(path.exists() for path in own)
    assert [file.shipped for file in (await library.model(STARTER)).files] == ["starter"]


async def test_nothing_of_ours_touches_it(library: Library, paths: Paths, starter: Path) -> None:
    folder = paths.models / "p" / "m"
    folder.mkdir(parents=True)
    shutil.copy(starter, folder / "same-Q4_1.gguf")
    assert await Duplicates(library).find() == []
    assert starter not in [paths.models / entry.relative for entry in listing(paths.models)]
    with pytest.raises(SlmDeskError) as caught:
        await Trash(library).remove(await library.files(STARTER))
    assert (caught.value.code, "starter" in caught.value.message) == ("built_in_stays", True)
    assert starter.is_file()


async def test_an_unplugged_models_folder_keeps_nobody_waiting(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_list", lambda: pytest.fail("the folders were looked at"))
    assert (await library.resolve(library.usual_model)).id == f"{STARTER}:Q4_1"
