"""Removing models, bringing them back, and handing them to the system's trash."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.library import sidecar
from slmdesk.library.library import BUILT_IN, Library
from slmdesk.library.sidecar import Origin
from slmdesk.library.trash import Trash

Make = Callable[..., Path]
xdg = pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="looks into the trash of Unix desktops")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def model(models: Path, make: Make) -> Path:
    """A model of two quants, one with an origin, and a card."""
    folder = models / "p" / "m"
    path = make(folder / "m-Q4_K_M.gguf")
    make(folder / "m-Q8_0.gguf", 7)
    (folder / "README.md").write_text("card")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    time_ns = path.stat().st_mtime_ns
    origin = Origin(state="verified", sha256=digest, repo="p/m", modified_ns=time_ns, extra={"x": 1})
    sidecar.record(folder, {path.name: origin})
    return folder


async def test_a_whole_model_goes_and_comes_back_as_it_was(
    models: Path, model: Path, library: Library
) -> None:
    before = tree(models)
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m"), "p/m")
    assert not model.parent.exists()
    assert [one.id for one in await library.models()] == [BUILT_IN]
    assert removed.size_bytes == sum(len(data) for name, data in before.items() if "slmdesk.json" not in name)
    assert await trash.removed() == [removed]
    assert (await trash.undo(removed.key)).title == "p/m"
    after = tree(models)
    assert {name: json.loads(data) if name.endswith(".json") else data for name, data in after.items()} == {
        name: json.loads(data) if name.endswith(".json") else data for name, data in before.items()
    }
    assert {file.state for file in await library.files("p/m")} == {"verified", "unverified"}
    with pytest.raises(SlmDeskError) as caught:
        await trash.undo(removed.key)
    assert caught.value.code == "undo_gone"


async def test_one_quant_of_two(model: Path, library: Library) -> None:
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m:Q4_K_M"))
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "m-Q8_0.gguf"]
    await trash.undo(removed.key)
    assert (await library.resolve("p/m:Q4_K_M")).state == "verified"


async def test_a_model_used_in_place_is_only_forgotten(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    blob = make(tmp_path / "blob")
    sidecar.record(models / "o" / "m", {"m.gguf": Origin(path=str(blob))})
    trash = Trash(library)
    removed = await trash.remove(await library.files("o/m"))
    assert (removed.forgotten, removed.size_bytes) == (1, 0)
    assert blob.exists()
    assert not (models / "o").exists()
    await trash.undo(removed.key)
    assert (await library.resolve("o/m")).path == blob


async def test_what_is_not_removed(library: Library, make: Make, tmp_path: Path) -> None:
    trash = Trash(library)
    outside = make(tmp_path / "aside" / "m.gguf")
    for ref, code in ((BUILT_IN, "built_in_stays"), (str(outside), "outside_library")):
        with pytest.raises(SlmDeskError) as caught:
            await trash.remove(await library.files(ref))
        assert caught.value.code == code
    assert outside.exists()


async def test_undo_does_not_overwrite(model: Path, library: Library, make: Make) -> None:
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m"))
    other = make(model / "m-Q8_0.gguf", 7, value=9.0).read_bytes()
    with pytest.raises(SlmDeskError) as caught:
        await trash.undo(removed.key)
    assert caught.value.code == "file_exists"
    assert (model / "m-Q8_0.gguf").read_bytes() == other
    assert len(await trash.removed()) == 1


async def test_a_removal_that_fails_in_between_changes_nothing(
    models: Path, model: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(models)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "m-Q8_0.gguf" and ".slmdesk-trash" not in str(self):
            raise OSError(13, "in use")
        return rename(self, target)

    files = await library.files("p/m")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(SlmDeskError):
            await Trash(library).remove(files)
    after = tree(models)
    assert set(after) == set(before)
    assert await Trash(library).removed() == []
    assert (await library.resolve("p/m:Q4_K_M")).state == "verified"


async def test_models_in_two_folders_go_and_come_back_together(
    paths: Paths, make: Make, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    make(one / "p" / "m" / "m-Q4_K_M.gguf")
    make(two / "p" / "m" / "m-Q8_0.gguf", 7)
    folders = {"SLMDESK_LIBRARY_FOLDERS": os.pathsep.join([str(one), str(two)])}
    library = Library(paths, Settings(paths.settings_file, folders))
    before = tree(one), tree(two)
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m"))
    assert len(removed.folders) == 2
    assert [model.id for model in await library.models()] == [BUILT_IN]
    assert await trash.removed() == [removed]
    await trash.undo(removed.key)
    assert (tree(one), tree(two)) == before


@xdg
async def test_the_systems_trash_knows_where_it_lay(
    models: Path, model: Path, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import send2trash.plat_other as system

    trash_folder = tmp_path / "Trash"
    monkeypatch.setattr(system, "HOMETRASH_B", os.fsencode(trash_folder))
    monkeypatch.setattr("send2trash.send2trash", system.send2trash)
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m"), "p/m")
    assert await trash.hand_over() == []  # too young
    (gone,) = await trash.hand_over(older_s=0)
    assert gone == removed
    assert await trash.removed() == []
    assert sorted(path.name for path in (trash_folder / "files" / "m").iterdir()) == [
        "README.md",
        "m-Q4_K_M.gguf",
        "m-Q8_0.gguf",
    ]
    (info,) = (trash_folder / "info").iterdir()
    assert f"Path={model}" in info.read_text()
    assert list(models.iterdir()) == []


async def test_without_a_trash_it_stays_and_can_be_undone(
    model: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(path: str) -> None:
        raise OSError(1, "no trash on this disk")

    monkeypatch.setattr("send2trash.send2trash", none_here)
    trash = Trash(library)
    removed = await trash.remove(await library.files("p/m"), "p/m")
    with pytest.raises(SlmDeskError) as caught:
        await trash.hand_over(older_s=0)
    assert caught.value.code == "trash_unavailable"
    assert not model.exists()
    await trash.undo(removed.key)
    assert len(await library.files("p/m")) == 2
    removed = await trash.remove(await library.files("p/m"), "p/m")
    await trash.hand_over(older_s=0, forever=True)
    assert await trash.removed() == []


async def test_what_lies_beside_a_loose_model_stays(models: Path, library: Library, make: Make) -> None:
    """A person may name any folder a models folder, their documents too."""
    make(models / "loose-Q4_K_M.gguf")
    make(models / "Documents" / "other-Q8_0.gguf", 7)
    kept = [
        models / "taxes.pdf",
        models / "README.md",
        models / "Documents" / "letter.txt",
        models / "Documents" / "drafts" / "thesis.odt",
    ]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    trash = Trash(library)
    for ref in ("local/loose", "local/Documents"):
        await trash.remove(await library.files(ref))
    assert [path for path in kept if not path.exists()] == []


async def test_every_listed_id_means_its_own_file(paths: Paths, tmp_path: Path, make: Make) -> None:
    """Two files of one quant, equal names in two folders of a model, one model in two models folders, and names that
    differ in capitals only: each listed id is opened and removed as what it was listed for."""
    one, two = tmp_path / "one", tmp_path / "two"
    names = ("m-Q4_K_M.gguf", "second.gguf", "sub/second.gguf")
    places = [folder / "p" / "m" / name for folder in (one, two) for name in names]
    if sys.platform == "linux":
        places += [two / "P" / "M" / "x.gguf", two / "p" / "m" / "Second.gguf"]
    for number, path in enumerate(places):
        make(path, value=float(number))
    folders = {"SLMDESK_LIBRARY_FOLDERS": os.pathsep.join([str(one), str(two)])}
    library = Library(paths, Settings(paths.settings_file, folders))

    async def listed() -> dict[str, Path]:
        models = await library.models()
        return {file.id: file.path for model in models for file in model.files if not file.shipped}

    there = await listed()
    assert sorted(there.values()) == sorted(places)
    for file_id, path in there.items():
        assert (await library.resolve(file_id)).path == path
        assert [file.path for file in await library.files(file_id)] == [path]
    trash = Trash(library)
    for file_id, path in there.items():
        await trash.remove(await library.files(file_id))
        gone = [place for place in places if not place.exists()]
        assert gone == [path], file_id
        (removed,) = await trash.removed()
        await trash.undo(removed.key)
    assert await listed() == there
    with pytest.raises(SlmDeskError) as caught:
        await library.files("p/m/m-Q4_K_M.gguf")  # one of two of that name
    assert caught.value.code == "model_ambiguous"


@pytest.mark.skipif(sys.platform == "win32", reason="no file there has a colon in its name")
async def test_an_id_is_no_path_of_the_folder_one_stands_in(
    models: Path, library: Library, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    make(tmp_path / "here" / "p" / "m:Q4_K_M", 7)
    monkeypatch.chdir(tmp_path / "here")
    assert (await library.resolve("p/m:Q4_K_M")).path == path
