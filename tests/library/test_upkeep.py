"""Equal files, orphaned parts, disk use, and a models folder that moves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_store import Job
from slmdesk.core.paths import Paths
from slmdesk.library import moving, sidecar, transfer
from slmdesk.library.background import ThreadProgress
from slmdesk.library.duplicates import Duplicates, Equal, duplicate_now
from slmdesk.library.library import Library
from slmdesk.library.orphans import Orphans
from slmdesk.library.sidecar import Origin
from slmdesk.library.usage import usage

Make = Callable[..., Path]
BIG = 3_000_000


@pytest.fixture
def put(models: Path, make: Make) -> Callable[..., Path]:
    """A model of three megabytes; `tail` is its last byte."""

    def made(name: str, tail: bytes = b"\0", middle: bytes = b"\0") -> Path:
        path = make(models / name)
        with path.open("r+b") as file:
            file.truncate(BIG - 1)
            file.seek(BIG - 1)
            file.write(tail)
            file.seek(BIG // 2)
            file.write(middle)
        return path

    return made


async def test_equal_files_become_one(library: Library, put: Callable[..., Path]) -> None:
    one, two = put("p/a/a.gguf"), put("p/b/b.gguf")
    put("p/c/c.gguf", b"\1")
    put("p/d/d.gguf", middle=b"\1")  # the same size, the same beginning and end
    os.utime(two, ns=(10**18, 10**18))
    time_ns = two.stat().st_mtime_ns
    sidecar.record(two.parent, {two.name: Origin(state="verified", sha256="x", modified_ns=time_ns)})
    duplicates = Duplicates(library)
    (found,) = await duplicates.find()
    assert {copy.path for copy in found.copies} == {one, two}
    assert found.frees == BIG
    (merged,) = await duplicates.merge(duplicate_now(Equal.from_json(found.to_json())))
    assert (merged.freed, merged.problems) == (BIG, ())
    assert one.samefile(two)
    assert await duplicates.find() == []
    assert (await library.resolve("p/b")).state == "verified"
    used = await usage(library)
    assert {model.id: (model.size_bytes, model.shared) for model in used.models if model.id[0] == "p"} == {
        "p/a": (BIG, BIG),
        "p/b": (BIG, BIG),
        "p/c": (BIG, 0),
        "p/d": (BIG, 0),
    }
    (volume,) = used.volumes
    assert volume.models == 3 * BIG
    assert 0 < volume.free < volume.total
    shipped = sum(model.elsewhere for model in used.models)
    assert used.total == volume.models + shipped, "equal files count once, those used elsewhere too"


async def test_the_disk_is_known_before_the_first_model(
    paths: Paths, library: Library, desk_guide: Path
) -> None:
    assert not paths.models.exists()
    used = await usage(library)
    (volume,) = used.volumes
    assert volume.folders == (paths.models,)
    assert 0 < volume.free < volume.total
    assert used.missing == ()
    assert used.total >= desk_guide.stat().st_size


async def test_files_that_changed_meanwhile_are_not_merged(
    library: Library, put: Callable[..., Path]
) -> None:
    put("p/a/a.gguf")
    two = put("p/b/b.gguf")
    duplicates = Duplicates(library)
    (found,) = await duplicates.find()
    put("p/b/b.gguf", middle=b"\2")
    before = two.read_bytes()
    (merged,) = await duplicates.merge(found)
    assert [problem.code for problem in merged.problems] == ["file_changed"]
    assert merged.freed == 0
    assert two.read_bytes() == before


async def test_orphans(models: Path, library: Library) -> None:
    def partial(name: str, age_s: float = 3600.0) -> Path:
        path = models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"123")
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    old = partial("p/old/x.gguf.incomplete")
    hidden = partial("p/old/.y.gguf.slmdesk-part")
    partial("p/young/x.gguf.part", 5)
    live = partial("p/live/.parts/x.incomplete")
    partial("p/old/x.gguf")
    partial(".slmdesk-trash/k/x.part")
    orphans = Orphans(library)
    running = Job("1", "download", "running", {"folder": str(models / "p" / "live")})
    ended = Job("2", "download", "done", {"folder": str(models / "p" / "old")})
    found = await orphans.find([running, ended])
    assert {orphan.path for orphan in found} == {old, hidden}
    os.utime(old)  # somebody took it up again
    freed, problems = await orphans.remove(found)
    assert (freed, problems) == (3, [])
    assert old.exists()
    assert not hidden.exists()
    assert live.exists()


def small_tree(source: Path, make: Make) -> dict[str, bytes]:
    make(source / "p" / "a" / "a.gguf")
    os.link(source / "p" / "a" / "a.gguf", source / "p" / "a" / "twin.gguf")
    sidecar.record(source / "p" / "a", {"a.gguf": Origin(state="verified")})
    (source / ".slmdesk-trash" / "k").mkdir(parents=True)
    (source / ".slmdesk-trash" / "k" / "removed.json").write_text("{}")
    if sys.platform != "win32":
        (source / "p" / "link.gguf").symlink_to("a/a.gguf")
    return contents(source)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_moves(tmp_path: Path, make: Make, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    before = small_tree(source, make)
    times = {path.name: path.stat().st_mtime_ns for path in source.rglob("*.gguf")}
    if not links:

        def refused(*_: object) -> None:
            raise OSError(18, "another disk")

        monkeypatch.setattr(os, "link", refused)
    moving.refuse_conflicts(source, target)
    assert moving.bring(source, target, ThreadProgress()) == len(before)
    assert contents(source) == before
    assert contents(target) == before
    # Something came meanwhile; going on brings that alone.
    (source / "late.txt").write_text("late")
    assert moving.bring(source, target, ThreadProgress()) == 1
    assert moving.remove_old(source, target, ThreadProgress()) == []
    assert not source.exists()
    assert contents(target) == before | {"late.txt": b"late"}
    assert {path.name: path.stat().st_mtime_ns for path in target.rglob("*.gguf")} == times


def test_a_move_that_is_given_up_leaves_the_old_place_alone(tmp_path: Path, make: Make) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    before = small_tree(source, make)
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    moving.bring(source, target, ThreadProgress())
    transfer.partial_of(target / "p" / "a" / "a.gguf").write_bytes(b"half")
    moving.take_back(source, target)
    assert contents(source) == before
    assert contents(target) == {"mine.txt": b"mine"}


def test_what_did_not_arrive_is_not_removed(tmp_path: Path, make: Make) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    small_tree(source, make)
    moving.bring(source, target, ThreadProgress())
    (target / "p" / "a" / "a.gguf").unlink()
    assert moving.remove_old(source, target, ThreadProgress()) == [source / "p" / "a" / "a.gguf"]
    assert (source / "p" / "a" / "a.gguf").exists()


def test_moves_that_make_no_sense(tmp_path: Path) -> None:
    source = tmp_path / "old"
    source.mkdir()
    (tmp_path / "file").write_text("")
    for target in (source / "below", source, tmp_path, tmp_path / "file"):
        with pytest.raises(SlmDeskError) as caught:
            moving.check(source, target, [source])
        assert caught.value.code == "move_invalid"
    with pytest.raises(SlmDeskError):
        moving.check(tmp_path / "other", tmp_path / "new", [source])
    (source / "a").write_text("1")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a").write_text("2")
    with pytest.raises(SlmDeskError) as caught:
        moving.refuse_conflicts(source, tmp_path / "new")
    assert caught.value.code == "file_exists"
