"""The library's long work in the queue: done, stopped, taken up again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from slmdesk.core.database import Database
from slmdesk.core.jobs.job_kinds import JobKind
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.jobs.job_runner import JobRunner
from slmdesk.core.jobs.job_store import Job, JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.core.space import Space
from slmdesk.library import moving
from slmdesk.library.actions import LibraryActions
from slmdesk.library.background import ThreadProgress
from slmdesk.library.importing import Importer
from slmdesk.library.jobs import DuplicateJobs, ImportJobs, MoveFolderJobs, VerifyJobs
from slmdesk.library.library import Library
from slmdesk.library.requests import EqualResult, ImportRequest
from slmdesk.library.sources import source_at
from slmdesk.schema import MIGRATIONS

Make = Callable[..., Path]


class Queue:
    """The runner of the jobs, in this process."""

    def __init__(self, database: Database, settings: Settings, library: Library) -> None:
        self.database = database
        self.store = JobStore(database)
        self._space = space = Space(database)
        self._kinds: dict[str, Callable[[], JobKind]] = {
            "verify": lambda: VerifyJobs(library),
            "import": lambda: ImportJobs(library, space),
            "duplicates": lambda: DuplicateJobs(library),
            "move-folder": lambda: MoveFolderJobs(library, settings, space, self.store),
        }

    async def run(self) -> None:
        """Until nothing is left to do."""
        await JobRunner(self.store, self._space, self._kinds, idle_s=0.0).run()

    async def work(self, kind: str, **parameters: object) -> Job:
        """One job from beginning to end."""
        job = await self.store.create(kind, parameters)
        await self.run()
        return await self.store.get(job.id)


@pytest.fixture
def settings(paths: Paths) -> Settings:
    return Settings(paths.settings_file, {})


@pytest.fixture
def library(paths: Paths, settings: Settings) -> Library:
    return Library(paths, settings)


@pytest.fixture
async def queue(paths: Paths, settings: Settings, library: Library) -> AsyncIterator[Queue]:
    database = Database(paths.database, MIGRATIONS)
    yield Queue(database, settings, library)
    database.close()


async def test_verify(queue: Queue, models: Path, make: Make) -> None:
    make(models / "p" / "a" / "a.gguf")
    bad = make(models / "p" / "b" / "b.gguf")
    bad.write_bytes(bad.read_bytes()[:-9])
    job = await queue.work("verify", ids=["p/a:Q4_K_M"])
    assert job.result is not None
    assert job.result["states"] == {"unverified": 1}
    job = await queue.work("verify")
    assert job.result is not None
    assert job.result["states"] == {"verified": 1, "unverified": 1, "damaged": 1}
    assert job.done == job.total


async def test_import(queue: Queue, library: Library, models: Path, make: Make, tmp_path: Path) -> None:
    make(tmp_path / "x" / "pub" / "one" / "one-Q8_0.gguf", 7)
    found = await Importer(library).find(source_at(tmp_path / "x"))
    job = await queue.work("import", candidates=[one.to_json() for one in found], mode="copy")
    assert (job.state, job.error) == ("done", None)
    assert (await library.resolve("pub/one")).path == models / "pub" / "one" / "one-Q8_0.gguf"
    found[0].files[0].path.unlink()
    other = [{**found[0].to_json(), "id": "pub/two"}]
    job = await queue.work("import", candidates=other, mode="copy")
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "file_missing"


async def test_duplicates(queue: Queue, models: Path, make: Make) -> None:
    paths = [make(models / "p" / name / "m.gguf") for name in "ab"]
    for path in paths:
        with path.open("ab") as file:
            file.truncate(2_000_000)
    job = await queue.work("duplicates")
    assert job.result is not None
    assert job.result["frees_bytes"] == 2_000_000
    job = await queue.work("duplicates", merge=job.result["duplicates"])
    assert job.result is not None
    assert job.result["freed_bytes"] == 2_000_000
    assert paths[0].samefile(paths[1])


async def test_a_models_folder_moves(
    queue: Queue, library: Library, models: Path, make: Make, tmp_path: Path
) -> None:
    make(models / "p" / "a" / "a.gguf")
    target = tmp_path / "disk" / "models"
    job = await queue.work("move-folder", **{"from": str(models), "to": str(target)})
    assert (job.state, job.error) == ("done", None)
    assert library.folders == [target]
    assert not models.exists()
    assert (await library.resolve("p/a")).path == target / "p" / "a" / "a.gguf"


async def test_a_move_cancelled_before_the_switch_is_as_if_never_begun(
    queue: Queue, library: Library, models: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(models / "p" / "a" / "a.gguf")
    make(models / "p" / "b" / "b.gguf")
    target = models.parent / "disk"
    one = moving._bring_one
    begun: list[Path] = []

    def slow(path: Path, *rest: object) -> None:
        one(path, *rest)  # type: ignore[arg-type]
        begun.append(path)
        while True:
            rest[-1].advance(0)  # type: ignore[attr-defined]

    monkeypatch.setattr(moving, "_bring_one", slow)
    job = await queue.store.create("move-folder", {"from": str(models), "to": str(target)})
    runner = asyncio.create_task(queue.run())
    while not begun:
        await asyncio.sleep(0.01)
    await queue.store.ask(job.id, "cancel")
    await runner
    job = await queue.store.get(job.id)
    assert (job.state, job.wish) == ("cancelled", "")
    assert not target.exists()
    assert library.folders == [models]
    assert len(await library.models()) == 3


async def test_a_move_goes_on_after_the_process_died(
    queue: Queue, library: Library, models: Path, make: Make, tmp_path: Path
) -> None:
    make(models / "p" / "a" / "a.gguf")
    make(models / "p" / "b" / "b.gguf")
    target = tmp_path / "disk"

    # As a process leaves it that died after the switch, in the middle of removing.
    moving.bring(models, target, ThreadProgress())
    job = await queue.store.create("move-folder", {"from": str(models), "to": str(target)})
    await queue.store.update(job.id, memory={"phase": "remove"})
    (models / "p" / "a" / "a.gguf").unlink()
    await queue.run()
    job = await queue.store.get(job.id)
    assert (job.state, job.error) == ("done", None)
    assert library.folders == [target]
    assert not models.exists()
    assert len(await library.models()) == 3


async def test_a_folder_a_download_writes_to_does_not_move(
    queue: Queue, models: Path, make: Make, tmp_path: Path
) -> None:
    make(models / "p" / "a" / "a.gguf")
    download = await queue.store.create("unknown", {"folder": str(models / "p" / "x")})
    await queue.store.transition(download.id, "paused")
    job = await queue.work("move-folder", **{"from": str(models), "to": str(tmp_path / "disk")})
    assert job.state == "paused"
    assert job.error is not None
    assert job.error.code == "folder_busy"
    assert (models / "p" / "a" / "a.gguf").exists()
    assert not (tmp_path / "disk").exists()


class Actions:
    """The feature as front ends have it, with the runner of `queue` for what it hands over."""

    def __init__(self, queue: Queue, paths: Paths, library: Library) -> None:
        self.queue = queue
        nobody = [sys.executable, "-c", "pass"]  # the jobs are worked on here
        self.ask = LibraryActions(library, Jobs(queue.database, paths, command=nobody))

    async def done(self, job: Job) -> Job:
        await self.queue.run()
        return await self.queue.store.get(job.id)


@pytest.fixture
def actions(queue: Queue, paths: Paths, library: Library) -> Actions:
    return Actions(queue, paths, library)


async def test_every_action_is_understood_by_the_job_that_does_it(
    actions: Actions, library: Library, models: Path, make: Make, tmp_path: Path
) -> None:
    source = make(tmp_path / "elsewhere" / "own-model.gguf")
    (found,) = await Importer(library).find(source_at(source))
    imported = await actions.done(
        await actions.ask.import_models(ImportRequest((found,), "copy", name="me/own"))
    )
    assert imported.title == f"Import {found.id}"
    assert imported.result is not None
    assert imported.result["failed"] == 0
    assert (models / "me" / "own" / "own-model.gguf").read_bytes() == source.read_bytes()

    library.forget_listing()
    (file,) = await library.files("me/own")
    verified = await actions.done(await actions.ask.verify([file], "own"))
    assert verified.title == "Verify own"
    assert verified.result is not None
    assert [check["id"] for check in verified.result["files"]] == [file.id]

    whole = bytearray(source.read_bytes()).ljust(2_000_000, b"x")
    for name in ("first", "second"):
        (models / "me" / name).mkdir(parents=True)
        (models / "me" / name / "same.gguf").write_bytes(whole)
    library.forget_listing()
    looked = EqualResult.from_json((await actions.done(await actions.ask.find_equal())).result)
    (equal,) = looked.duplicates
    assert equal.frees == len(whole)
    merged = EqualResult.from_json((await actions.done(await actions.ask.merge_equal([equal]))).result)
    assert merged.freed == len(whole)
    assert (models / "me" / "first" / "same.gguf").samefile(models / "me" / "second" / "same.gguf")

    target = tmp_path / "new-place"
    moved = await actions.done(await actions.ask.move_folder(models, target))
    assert moved.state == "done"
    assert (target / "me" / "own" / "own-model.gguf").is_file()


async def test_parameters_that_no_version_wrote_fail_with_the_field_that_is_wrong(queue: Queue) -> None:
    job = await queue.work("import", candidates=[{"id": "me/own", "files": "none"}])
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "bad_request"
    assert "candidates[0].files" in job.error.message
