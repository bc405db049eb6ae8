"""Verifying real files: sound, damaged, replaced, missing, and stopped in between."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from slmdesk.library import sidecar
from slmdesk.library.background import Progress
from slmdesk.library.library import BUILT_IN, Library
from slmdesk.library.sidecar import Origin
from slmdesk.library.verify import FileCheck, Verifier
from tests.library import small

Make = Callable[..., Path]


async def verify(library: Library, ref: str) -> FileCheck:
    (check,) = await Verifier(library).verify(await library.files(ref))
    return check


def spoil(path: Path) -> None:
    """One bit turns over by itself: size and time stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_against_the_published_hash(models: Path, library: Library, make: Make) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    sidecar.record(path.parent, {"m.gguf": Origin(sha256=sha256(path), repo="p/m", extra={"x": 1})})
    assert (await library.resolve("p/m")).state == "unverified"
    check = await verify(library, "p/m")
    assert (check.state, check.sha256, check.published, check.problem) == (
        "verified",
        sha256(path),
        True,
        None,
    )
    assert (await library.resolve("p/m")).state == "verified"
    entry = sidecar.read(path.parent)["m.gguf"]
    assert (entry.repo, entry.extra, entry.size) == ("p/m", {"x": 1}, path.stat().st_size)
    assert entry.checked_at > 1.7e9

    spoil(path)
    check = await verify(library, "p/m")
    assert check.problem is not None
    assert (check.state, check.problem.code) == ("damaged", "hash_wrong")
    file = await library.resolve("p/m")
    assert file.problem is not None
    assert (file.state, file.problem.code) == ("damaged", "hash_wrong")

    spoil(path)  # whole again
    assert (await verify(library, "p/m")).state == "verified"


async def test_what_is_no_chat_model_is_verified_all_the_same(models: Path, library: Library) -> None:
    path = small.make(models / "p" / "e" / "e-F16.gguf", 1, architecture="bert")
    sidecar.record(path.parent, {path.name: Origin(sha256=sha256(path), repo="p/e")})
    assert (await verify(library, "p/e")).state == "verified"
    file = await library.resolve("p/e")
    assert file.state == "verified"
    assert file.problem is not None
    assert file.problem.code == "model_not_chat"
    spoil(path)
    check = await verify(library, "p/e")
    assert check.problem is not None
    assert check.problem.code == "hash_wrong"


async def test_without_a_published_hash(models: Path, library: Library, make: Make) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    for _ in range(2):
        check = await verify(library, "p/m")
        assert (check.state, check.published, check.problem) == ("unverified", False, None)
    assert sidecar.read(path.parent)["m.gguf"].sha256 == sha256(path)
    # Somebody puts another file there: that is their right.
    make(path, value=2.0)
    os.utime(path, ns=(1, 1))
    assert (await verify(library, "p/m")).state == "unverified"
    assert sidecar.read(path.parent)["m.gguf"].sha256 == sha256(path)
    # The disk turns a bit: nobody's.
    spoil(path)
    assert (await verify(library, "p/m")).state == "damaged"


async def test_changed_upstream_stays_so_while_the_content_is_what_was_downloaded(
    models: Path, library: Library, make: Make
) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    sidecar.record(path.parent, {"m.gguf": Origin(state="changed upstream", sha256=sha256(path))})
    assert (await verify(library, "p/m")).state == "changed upstream"
    spoil(path)
    assert (await verify(library, "p/m")).state == "damaged"


async def test_a_broken_header_is_told_as_such(models: Path, library: Library, make: Make) -> None:
    path = make(models / "p" / "m" / "m.gguf")
    path.write_bytes(path.read_bytes()[:-50])
    check = await verify(library, "p/m")
    assert check.problem is not None
    assert (check.state, check.problem.code) == ("damaged", "gguf_truncated")


async def test_the_built_in_model_and_a_path_outside(library: Library, make: Make, tmp_path: Path) -> None:
    assert (await verify(library, BUILT_IN)).state == "verified"
    outside = make(tmp_path / "aside" / "m.gguf")
    check = await verify(library, str(outside))
    assert (check.state, check.sha256) == ("unverified", sha256(outside))
    assert [path.name for path in outside.parent.iterdir()] == ["m.gguf"]


async def test_a_quant_written_elsewhere_is_checked_by_what_lies_beside_it(
    library: Library, make: Make, tmp_path: Path
) -> None:
    path = make(tmp_path / "elsewhere" / "m-Q4_K_M.gguf")
    time_ns = path.stat().st_mtime_ns
    sidecar.record(
        path.parent, {path.name: Origin(sha256=sha256(path), source="quantize", modified_ns=time_ns)}
    )
    check = await verify(library, str(path))
    assert (check.state, check.problem) == ("verified", None)
    spoil(path)
    check = await verify(library, str(path))
    assert (check.state, check.problem and check.problem.code) == ("damaged", "hash_wrong")
    assert sidecar.read(path.parent)[path.name].state == "damaged"


async def test_in_place_files_are_told_of_in_our_folder_only(
    models: Path, library: Library, make: Make, tmp_path: Path
) -> None:
    blob = make(tmp_path / "blobs" / "sha256-x")
    sidecar.record(models / "p" / "m", {"m.gguf": Origin(path=str(blob), sha256=sha256(blob))})
    assert (await verify(library, "p/m")).state == "verified"
    assert (await library.resolve("p/m")).state == "verified"
    assert [path.name for path in blob.parent.iterdir()] == ["sha256-x"]


async def test_all_files_of_a_model_or_one(models: Path, library: Library, make: Make) -> None:
    make(models / "p" / "m" / "m-Q4_K_M.gguf")
    make(models / "p" / "m" / "m-Q8_0.gguf", 7)
    assert len(await library.files("p/m")) == 2
    assert [file.quant for file in await library.files("p/m:Q8_0")] == ["Q8_0"]
    assert [file.quant for file in await library.files("p/m/m-Q8_0.gguf")] == ["Q8_0"]


async def test_stopping_in_between_leaves_no_thread_and_keeps_what_was_found(
    models: Path, library: Library, make: Make
) -> None:
    make(models / "p" / "a" / "a.gguf")
    big = make(models / "p" / "b" / "b.gguf")
    with big.open("ab") as file:
        file.truncate(3_000_000_000)  # a hole: much to hash, nothing on the disk
    found: list[FileCheck] = []
    reached = asyncio.Event()

    async def progress(progress: Progress) -> None:
        if found and progress.done > found[0].size_bytes:
            reached.set()

    files = [*await library.files("p/a"), *await library.files("p/b")]
    task = asyncio.create_task(Verifier(library).verify(files, progress, found.append))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [check.file_id for check in found] == ["p/a:Q4_K_M"]
    assert sidecar.read(models / "p" / "a")["a.gguf"].sha256
    assert sidecar.read(models / "p" / "b") == {}
    assert not any("verify" in str(thread) for thread in threading.enumerate())
