"""The library on real files: copies of the built-in model, split, renamed, damaged and gone."""

import asyncio
import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.paths import Paths
from slmdesk.formats import gguf
from slmdesk.library.library import BUILT_IN, Library
from tests.hub.companions import KINDS, write_companions
from tests.library.small import by_id, fresh, make, refused, split


async def test_a_fresh_machine_has_the_built_in_model(library: Library, desk_guide: Path) -> None:
    (model,) = await library.models()
    assert (model.id, model.name, model.publisher, model.built_in) == (
        BUILT_IN,
        "Desk Guide",
        "slmdesk",
        True,
    )
    (file,) = model.files
    assert file.id == "slmdesk/desk-guide:F16"
    assert file.path == desk_guide
    assert file.size_bytes == desk_guide.stat().st_size
    header = gguf.read_header(desk_guide)
    assert (file.quant, file.architecture, file.parameters) == ("F16", "llama", header.parameters)
    assert file.context_length == header.context_length
    assert file.problem is None
    assert library.problems == []


@pytest.mark.parametrize(
    "ref",
    ["slmdesk/desk-guide", "slmdesk/desk-guide:F16", "SLMDesk/Desk-Guide:f16", "desk guide", " desk-guide "],
)
async def test_the_built_in_model_by_its_names(library: Library, desk_guide: Path, ref: str) -> None:
    assert (await library.resolve(ref)).path == desk_guide
    assert (await library.resolve(str(desk_guide))).id == "slmdesk/desk-guide:F16"


@pytest.mark.parametrize(
    ("sums", "state"),
    [
        ("", "unverified"),
        ("{digest}  desk-guide-F16.gguf\n", "verified"),
        ("0000  desk-guide-F16.gguf\n", "unverified"),
    ],
)
async def test_checksum_of_the_built_in_model(
    paths: Paths, tmp_path: Path, desk_guide: Path, sums: str, state: str
) -> None:
    resources = tmp_path / "resources"
    (resources / "desk-guide").mkdir(parents=True)
    copy = Path(shutil.copy(desk_guide, resources / "desk-guide"))
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    if sums:
        (resources / "desk-guide" / "SHA256SUMS").write_text(f"1234  other\n{sums.format(digest=digest)}")
    library = fresh(replace(paths, resources=resources))
    (model,) = await library.models()
    assert model.files[0].state == state


async def test_missing_built_in_model_is_a_problem_not_a_failure(paths: Paths, tmp_path: Path) -> None:
    library = fresh(replace(paths, resources=tmp_path))
    assert await library.models() == []
    assert [problem.code for problem in library.problems] == ["built_in_missing"]
    assert (await refused(library, BUILT_IN)).code == "model_not_found"


async def test_ids_and_facts(models: Path, library: Library) -> None:
    make(models / "Qwen" / "Qwen3-0.6B-GGUF" / "Qwen3-0.6B-Q4_K_M.gguf", 15)
    make(models / "Qwen" / "Qwen3-0.6B-GGUF" / "Qwen3-0.6B-Q8_0.gguf", 7)
    make(models / "Qwen" / "Qwen3-0.6B-GGUF" / "sub" / "Qwen3-0.6B-BF16.gguf", 32)
    make(models / "some-folder" / "m.gguf", 2)
    make(models / "loose-model.Q5_K_M.gguf", 17)
    listed = await library.models()
    assert [model.id for model in listed] == [
        BUILT_IN,
        "local/loose-model",
        "local/some-folder",
        "Qwen/Qwen3-0.6B-GGUF",
    ]
    files = by_id(listed)
    assert set(files) - {"slmdesk/desk-guide:F16"} == {
        "Qwen/Qwen3-0.6B-GGUF:Q4_K_M",
        "Qwen/Qwen3-0.6B-GGUF:Q8_0",
        "Qwen/Qwen3-0.6B-GGUF:BF16",
        "local/some-folder:Q4_0",
        "local/loose-model:Q5_K_M",
    }
    file = files["local/some-folder:Q4_0"]
    assert (file.parameters, file.context_length, file.state, file.problem) == (256, 512, "unverified", None)
    for file_id, known in files.items():
        assert await library.resolve(file_id) == known


async def test_a_second_file_of_a_quant_keeps_an_id_of_its_own(models: Path, library: Library) -> None:
    folder = models / "p" / "m"
    for name in ("a-Q4_K_M.gguf", "b-UD-Q4_K_XL.gguf", "c.gguf"):
        make(folder / name, 15)
    files = by_id(await library.models())
    assert {file_id: file.path.name for file_id, file in files.items() if file_id.startswith("p/")} == {
        "p/m:Q4_K_M": "a-Q4_K_M.gguf",
        "p/m:UD-Q4_K_XL": "b-UD-Q4_K_XL.gguf",
        "p/m:c": "c.gguf",
    }
    for ref in ("p/m:c", "p/m/c.gguf"):
        assert (await library.resolve(ref)).path.name == "c.gguf"
    assert (await library.resolve("p/m/a-q4_k_m.gguf")).path.name == "a-Q4_K_M.gguf"


async def test_what_is_no_model_is_not_listed(models: Path, library: Library) -> None:
    make(models / "p" / "m" / "model.gguf", 15)
    make(models / "p" / "m" / "mmproj-model.gguf", architecture="clip")
    make(models / "p" / "m" / "lora.gguf", kind="adapter")
    make(models / "p" / "m" / "imatrix.gguf", kind="imatrix")
    make(models / "p" / ".cache" / "hidden.gguf")
    make(models / "p" / "m" / ".hidden.gguf")
    (models / "p" / "m" / "model.gguf.part").write_bytes(b"GGUF")
    (models / "p" / "m" / "readme.md").write_text("x")
    assert [file.path.name for file in by_id(await library.models()).values()] == [
        "desk-guide-F16.gguf",
        "model.gguf",
    ]


async def test_a_model_for_something_else_says_what_it_is_and_is_not_damaged(
    models: Path, library: Library, tmp_path: Path
) -> None:
    make(models / "p" / "e" / "e-F16.gguf", 1, architecture="bert")
    file = by_id(await library.models())["p/e:F16"]
    assert file.state == "unverified"
    assert file.problem is not None
    assert file.problem.code == "model_not_chat"
    assert "embedding" in file.problem.message
    adapter = make(tmp_path / "elsewhere" / "lora.gguf", kind="adapter")
    there = await library.resolve(str(adapter))
    assert there.state == "unverified"
    assert there.problem is not None
    assert "LoRA" in there.problem.message


async def test_what_goes_with_a_model_is_named_where_it_lies_alone(
    models: Path, library: Library, tmp_path: Path
) -> None:
    """And beside its model no id means it, though it is first in the folder and has the model's quant."""
    for name, path in write_companions(tmp_path / "made").items():
        for place in ("alone", "with"):
            target = models / "p" / f"{place}-{path.parent.name}-{path.stem}" / f"A-{path.name}"
            target.parent.mkdir(parents=True)
            target.write_bytes(path.read_bytes())
        make(target.parent / "model.gguf", 1)
        assert name in KINDS
    listed = [model for model in await library.models() if model.publisher == "p"]
    for model in listed:
        if model.name.startswith("alone"):
            (file,) = model.files
            assert (file.state, file.id) == ("unverified", f"{model.id}:F16")
            assert file.problem is not None
            assert file.problem.code == "model_not_chat"
        else:
            assert (await library.resolve(f"{model.id}:F16")).path.name == "model.gguf"
            assert (await library.resolve(model.id)).path.name == "model.gguf"
    assert len(listed) == 2 * len(KINDS)


async def test_split_model_is_one_file(models: Path, library: Library) -> None:
    parts = split(models / "p" / "big", "big-Q4_K_M", 3)
    files = by_id(await library.models())
    file = files["p/big:Q4_K_M"]
    assert (file.path, file.parts, file.problem) == (parts[0], tuple(parts), None)
    assert file.size_bytes == sum(part.stat().st_size for part in parts)
    assert file.parameters == 3 * 64
    for part in parts:
        assert (await library.resolve(str(part))).id == "p/big:Q4_K_M"


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_split_model_with_a_part_missing(models: Path, library: Library, gone: int) -> None:
    split(models / "p" / "big", "big-Q4_K_M", 3)[gone].unlink()
    (file,) = (file for file in by_id(await library.models()).values() if file.id.startswith("p/"))
    assert file.state == "partial"
    assert file.problem is not None
    assert file.problem.code == "model_parts_missing"
    assert f"missing: {gone + 1}." in file.problem.message


async def test_damaged_files_are_listed_with_what_is_wrong(
    models: Path, library: Library, desk_guide: Path
) -> None:
    folder = models / "p" / "m"
    folder.mkdir(parents=True)
    content = desk_guide.read_bytes()
    (folder / "cut-Q8_0.gguf").write_bytes(content[:-1000])
    (folder / "empty.gguf").write_bytes(b"")
    (folder / "page-Q4_0.gguf").write_bytes(b"<!doctype html>")
    make(folder / "good.gguf", 15)
    files = by_id(await library.models())
    codes = {file.path.name: file.problem.code for file in files.values() if file.problem}
    assert codes == {
        "cut-Q8_0.gguf": "gguf_truncated",
        "empty.gguf": "not_gguf",
        "page-Q4_0.gguf": "not_gguf",
    }
    assert {file.state for file in files.values() if file.problem} == {"damaged"}
    # The model's id means the one that works; a damaged one is found by its own id.
    assert (await library.resolve("p/m")).path.name == "good.gguf"
    assert (await library.resolve("p/m:Q8_0")).problem is not None


async def test_a_file_is_read_again_only_when_it_changes(
    models: Path, library: Library, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(models / "p" / "m" / "m.gguf", 15)
    read: list[str] = []
    real = gguf.read_header

    def counting(path: Path, **how: Any) -> gguf.GgufHeader:
        read.append(path.name)
        return real(path, **how)

    monkeypatch.setattr(gguf, "read_header", counting)
    await library.models()
    await library.models()
    assert sorted(read) == ["desk-guide-F16.gguf", "m.gguf"]
    await fresh(paths).models()  # the next program finds it in the index
    assert len(read) == 2
    make(path, 7)
    os.utime(path, ns=(1, 1))
    assert "p/m:Q8_0" in by_id(await library.models())
    assert len(read) == 3


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"version": 1, "files": {"/x": {"size": "big"}}}', '{"version": 1, "files": 3}']
)
async def test_damaged_index_is_made_anew(models: Path, library: Library, paths: Paths, content: str) -> None:
    make(models / "p" / "m" / "m.gguf", 15)
    (paths.data / "library.json").write_text(content)
    assert "p/m:Q4_K_M" in by_id(await library.models())
    assert "m.gguf" in (paths.data / "library.json").read_text()


async def test_missing_folder_keeps_its_list(paths: Paths, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make(disk / "p" / "m" / "m.gguf", 15)
    split(disk / "p" / "big", "big", 2)
    both = f"{paths.models}{os.pathsep}{disk}"
    before = by_id(await fresh(paths, both).models())
    disk.rename(tmp_path / "unplugged")
    library = fresh(paths, both)
    after = by_id(await library.models())
    assert set(after) == set(before)
    file = after["p/m:Q4_K_M"]
    assert file.problem is not None
    assert file.problem.code == "folder_missing"
    assert (file.size_bytes, file.parameters) == (before["p/m:Q4_K_M"].size_bytes, 256)
    assert [problem.code for problem in library.problems] == ["folder_missing"]
    assert (await library.resolve(BUILT_IN)).problem is None
    (tmp_path / "unplugged").rename(disk)
    assert by_id(await library.models()) == before
    assert library.problems == []


async def test_deleted_files_are_forgotten(models: Path, library: Library, paths: Paths) -> None:
    path = make(models / "p" / "m" / "m.gguf", 15)
    await library.models()
    path.unlink()
    assert list(by_id(await library.models())) == ["slmdesk/desk-guide:F16"]
    assert "m.gguf" not in (paths.data / "library.json").read_text()
    assert (await refused(library, "p/m")).code == "model_not_found"


async def test_several_folders_make_one_list(paths: Paths, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    make(one / "p" / "m" / "m-Q4_K_M.gguf", 15)
    make(two / "p" / "m" / "m-Q8_0.gguf", 7)
    library = fresh(paths, os.pathsep.join([str(one), str(two), str(one / "p")]))
    assert library.folders == [one, two, one / "p"]
    listed = await library.models()
    assert [model.id for model in listed] == [BUILT_IN, "p/m"]
    assert [file.id for file in listed[1].files] == ["p/m:Q4_K_M", "p/m:Q8_0"]
    assert fresh(paths).folders == [paths.models]


async def test_of_several_quants_the_usual_one_is_taken(models: Path, library: Library) -> None:
    for name, file_type in (("F16", 1), ("Q8_0", 7), ("Q2_K", 10)):
        make(models / "p" / "m" / f"m-{name}.gguf", file_type)
    assert (await library.resolve("p/m")).quant == "Q8_0"
    make(models / "p" / "m" / "m-Q4_K_M.gguf", 15)
    await library.models()
    assert (await library.resolve("m")).quant == "Q4_K_M"


async def test_names_that_mean_nothing_or_too_much(models: Path, library: Library) -> None:
    make(models / "p" / "twin" / "m-Q4_0.gguf", 2)
    make(models / "q" / "twin" / "m-Q4_0.gguf", 2)
    error = await refused(library, "twin")
    assert error.code == "model_ambiguous"
    assert "p/twin, q/twin" in error.hint
    error = await refused(library, "p/twin:Q8_0")
    assert error.code == "model_not_found"
    assert "p/twin:Q4_0" in error.hint
    assert "p/twin" in (await refused(library, "p/twn")).hint
    assert "slmdesk/desk-guide" in (await refused(library, "desk-gide")).hint
    for ref in ("", "zzzzzz", "a\0b", "x" * 5000, "../..", ":Q4_0", "p/"):
        assert (await refused(library, ref)).code == "model_not_found"


async def test_paths(paths: Paths, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = make(tmp_path / "elsewhere" / "m-Q8_0.gguf", 7)
    file = await library.resolve(str(outside))
    assert (file.id, file.path, file.quant, file.problem) == (str(outside), outside, "Q8_0", None)
    monkeypatch.chdir(outside.parent)
    assert (await library.resolve("m-Q8_0.gguf")).id == str(outside)
    assert (await library.resolve(f".{os.sep}m-Q8_0.gguf")).id == str(outside)
    assert (await library.resolve(str(outside.parent))).path == outside
    wrong = tmp_path / "elsewhere" / "text.gguf"
    wrong.write_text("hello")
    problem = (await library.resolve(str(wrong))).problem
    assert problem is not None
    assert problem.code == "not_gguf"
    error = await refused(library, str(tmp_path / "none.gguf"))
    assert (error.code, "none.gguf" in error.message) == ("model_not_found", True)
    error = await refused(library, str(paths.data))
    assert error.code == "model_not_found"
    parts = split(tmp_path / "parts", "big", 2)
    assert (await library.resolve(str(parts[0]))).parts == tuple(parts)


async def test_a_file_that_came_just_now_is_found(models: Path, library: Library) -> None:
    assert (await refused(library, "p/new")).code == "model_not_found"
    make(models / "p" / "new" / "m.gguf", 15)
    assert (await library.resolve("p/new")).quant == "Q4_K_M"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
async def test_links_that_go_in_circles(models: Path, library: Library) -> None:
    path = make(models / "p" / "m" / "m.gguf", 15)
    (path.parent / "loop").symlink_to(models)
    (models / "p" / "m" / "gone.gguf").symlink_to(models / "nowhere")
    (models / "p" / "linked").symlink_to(make(models.parent / "aside" / "n.gguf", 7).parent)
    assert set(by_id(await library.models())) == {"slmdesk/desk-guide:F16", "p/m:Q4_K_M", "p/linked:Q8_0"}


async def test_many_callers_at_once(models: Path, library: Library) -> None:
    for number in range(20):
        make(models / "p" / f"m{number}" / "m.gguf", 15)
    listings = await asyncio.gather(*(library.models() for _ in range(5)))
    found = await asyncio.gather(*(library.resolve(f"p/m{number}") for number in range(20)))
    assert all(len(listing) == 21 for listing in listings)
    assert [file.id for file in found] == [f"p/m{number}:Q4_K_M" for number in range(20)]


async def test_many_new_files_are_read_as_one_by_one(models: Path, library: Library) -> None:
    """Enough of them for the way that reads ahead; among them damaged ones and one that is read anew."""
    for number in range(120):
        path = make(models / "p" / f"m{number}" / "m.gguf", (15, 7, 2)[number % 3])
        if number % 40 == 7:
            path.write_bytes(path.read_bytes()[: 100 + number])
    files = by_id(await library.models())
    assert len(files) == 121
    for number in range(120):
        quant = ("Q4_K_M", "Q8_0", "Q4_0")[number % 3]
        damaged = number % 40 == 7
        (file,) = [
            file for file_id, file in files.items() if file_id.startswith((f"p/m{number}:", f"p/m{number}/"))
        ]
        assert (file.problem is not None) == damaged
        assert damaged or file.quant == quant
    changed = make(models / "p" / "m5" / "m.gguf", 15)
    os.utime(changed, ns=(1, 1))
    assert by_id(await library.models())["p/m5:Q4_K_M"].problem is None
