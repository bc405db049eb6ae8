"""The job on the real model with real children: steps, what stays, cancelling, going on after an end."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.job_queue import Jobs
from slmdesk.core.job_runner import JobRunner
from slmdesk.core.jobs import Job, JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.core.space import Space
from slmdesk.library import sidecar
from slmdesk.library.library import Library
from slmdesk.quantize.job import QuantizeKind
from slmdesk.quantize.request import Request
from slmdesk.quantize.room import Quantizing
from slmdesk.schema import MIGRATIONS

DONE = ("done", "failed", "cancelled")
pytestmark = pytest.mark.timeout(600)  # a dozen processes; a busy machine takes its time


@dataclass
class Bench:
    """The room with a queue whose work is done here."""

    paths: Paths
    database: Database
    library: Library
    store: JobStore
    room: Quantizing

    async def submit(self, request: Request) -> Job:
        return await self.room.start(request)

    async def work(
        self,
        job: Job,
        until: Callable[[Job], bool] = lambda job: job.state in DONE,
        space: Space | None = None,
    ) -> Job:
        """Run the jobs until `until` holds for this one, then let the runner end as a closed program would."""
        space = Space(self.database)
        kind = QuantizeKind(self.paths, self.database, self.store, space)
        runner = JobRunner(self.store, space, {"quantize": lambda: kind}, idle_s=300)
        task = asyncio.create_task(runner.run())
        try:
            async with asyncio.timeout(500):
                while not until(found := await self.store.get(job.id)):
                    await asyncio.sleep(0.02)
                while found.state == "cancelled" and (found := await self.store.get(job.id)).wish:
                    await asyncio.sleep(0.02)
        finally:
            runner.end()
            await task
        return await self.store.get(job.id)

    def leftovers(self) -> list[str]:
        found = [
            str(path) for path in self.paths.models.rglob(".slmdesk*") if not path.name.endswith(".lock")
        ]
        kept = self.paths.data / "quantize"
        return found + ([str(path) for path in kept.iterdir()] if kept.exists() else [])


@pytest.fixture
async def bench(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    database = Database(paths.database, MIGRATIONS)
    settings = Settings(paths.settings_file)
    library = Library(paths, settings)
    jobs = Jobs(database, paths)

    async def at_work(*_: object, **__: object) -> bool:  # the runner of these tests lives here
        return True

    monkeypatch.setattr(jobs, "wake", at_work)
    yield Bench(
        paths, database, library, JobStore(database), Quantizing(paths, database, library, jobs, settings)
    )
    database.close()


@pytest.fixture
def request_for(short_text: Path) -> Callable[..., Request]:
    def make(*targets: str, **more: Any) -> Request:
        defaults: dict[str, Any] = {
            "measure": False,
            "text": str(short_text),
            "calibration_text": str(short_text),
        }
        return Request(**{"model": "slmdesk/desk-guide", "targets": targets, **defaults, **more})

    return make


async def test_the_whole_way(bench: Bench, request_for: Callable[..., Request]) -> None:
    job = await bench.work(await bench.submit(request_for("Q2_K", "Q8_0", imatrix="auto", measure=True)))
    assert job.state == "done", job.error
    assert job.result is not None
    quants = {quant["quant"]: quant for quant in job.result["quants"]}
    assert list(quants) == ["Q2_K", "Q8_0"]
    for quant in quants.values():
        assert quant["size_bytes"] == quant["forecast_bytes"] == Path(quant["path"]).stat().st_size
        assert quant["imatrix"] is True
        assert quant["generation_tokens_s"] > 0
    assert quants["Q2_K"]["kld_mean"] > 5 * quants["Q8_0"]["kld_mean"] > 0
    assert quants["Q8_0"]["top_1"] > quants["Q2_K"]["top_1"]
    assert job.result["source"]["perplexity"] > 1
    assert Path(job.result["imatrix"]).is_file()
    assert bench.leftovers() == []

    path = Path(quants["Q2_K"]["path"])
    origin = sidecar.read(path.parent)[path.name]
    assert (origin.state, origin.source) == ("verified", "quantize")
    assert origin.extra["quantize"]["kld_mean"] == quants["Q2_K"]["kld_mean"]
    listed = {file.id: file for model in await bench.library.models() for file in model.files}
    assert listed["local/desk-guide:Q2_K"].state == "verified"
    results = {quant.quant: quant for quant in await bench.room.results("slmdesk/desk-guide")}
    assert set(results) == {"F16", "Q2_K", "Q8_0"}
    assert results["F16"].facts["is_source"] is True

    # A second time: the matrix is there already, and this machine's pace is known.
    forecast = await bench.room.forecast(request_for("Q2_K", imatrix="auto", pattern="{name}-again-{quant}"))
    assert forecast.quants[0].error is not None
    job = await bench.work(await bench.submit(request_for("Q4_0", imatrix="auto")))
    assert job.state == "done"
    assert [line for line in job.log if "importance matrix" in line] == []


async def test_what_is_refused_before_anything_runs(
    bench: Bench, request_for: Callable[..., Request], desk_guide: Path, tmp_path: Path
) -> None:
    async def refused(request: Request) -> str:
        with pytest.raises(SlmDeskError) as caught:
            await bench.submit(request)
        assert await bench.store.list() == []
        return caught.value.code

    out = tmp_path / "out"
    out.mkdir()
    (out / "desk-guide-Q8_0.gguf").write_bytes(b"mine")
    assert await refused(request_for("Q8_0", output=str(out))) == "output_exists"
    assert (out / "desk-guide-Q8_0.gguf").read_bytes() == b"mine"
    assert await refused(request_for("Q9_0")) == "target_unknown"
    assert await refused(request_for("IQ2_XS")) == "imatrix_needed"
    assert await refused(request_for("Q8_0", imatrix=str(desk_guide))) == "imatrix_unreadable"
    assert await refused(request_for("Q8_0", model=str(tmp_path / "no.gguf"))) == "source_missing"
    assert await refused(request_for("Q8_0", "Q4_0", pattern="same")) == "pattern_invalid"
    assert await refused(request_for("Q8_0", pattern="../{quant}")) == "pattern_invalid"
    part = tmp_path / "x-00001-of-00003.gguf"
    shutil.copy(desk_guide, part)
    assert await refused(request_for("Q8_0", model=str(part))) == "source_parts_missing"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(desk_guide.read_bytes()[:-1000])
    assert await refused(request_for("Q8_0", model=str(cut))) in {"gguf_truncated", "source_missing"}


async def test_a_quantized_source_is_warned_of(
    bench: Bench, request_for: Callable[..., Request], tmp_path: Path
) -> None:
    first = await bench.work(await bench.submit(request_for("Q4_0", output=str(tmp_path))))
    assert first.state == "done", first.error
    again = request_for("Q2_K", model=str(tmp_path / "desk-guide-Q4_0.gguf"), output=str(tmp_path))
    assert any("quantized already" in line for line in (await bench.room.forecast(again)).warnings)
    job = await bench.work(await bench.submit(again))
    assert job.state == "done"
    assert job.result is not None
    assert any("quantized already" in line for line in job.result["warnings"])
    assert Path(job.result["quants"][0]["path"]).name == "desk-guide-Q2_K.gguf"


async def test_cancelling_ends_the_child_and_leaves_nothing(
    bench: Bench, request_for: Callable[..., Request]
) -> None:
    job = await bench.submit(request_for("Q4_K_M", imatrix="auto"))

    async def cancel() -> None:
        while (await bench.store.get(job.id)).detail != "importance matrix":
            await asyncio.sleep(0.01)
        await bench.store.ask(job.id, "cancel")

    canceller = asyncio.create_task(cancel())
    ended = await bench.work(job)
    await canceller
    assert ended.state == "cancelled"
    assert bench.leftovers() == []
    assert not list(bench.paths.models.rglob("*.gguf"))
    assert not list(bench.paths.data.rglob("*.partial"))


async def test_after_an_end_the_job_goes_on_with_the_next_step(
    bench: Bench, request_for: Callable[..., Request], tmp_path: Path
) -> None:
    job = await bench.submit(request_for("Q8_0", "Q4_K_M", "Q2_K", output=str(tmp_path / "out")))
    first = tmp_path / "out" / "desk-guide-Q8_0.gguf"
    halted = await bench.work(job, until=lambda _: first.exists())
    assert halted.state == "interrupted"
    before = first.stat().st_mtime_ns
    ended = await bench.work(job)
    assert ended.state == "done", ended.error
    assert first.stat().st_mtime_ns == before
    assert sorted(path.name for path in first.parent.glob("*")) == [
        "desk-guide-Q2_K.gguf",
        "desk-guide-Q4_K_M.gguf",
        "desk-guide-Q8_0.gguf",
        "slmdesk.json",
    ]
    assert [line.split(":")[0] for line in ended.log].count("Q8_0") == 1


async def test_a_source_that_changes_is_noticed(
    bench: Bench, request_for: Callable[..., Request], desk_guide: Path, tmp_path: Path
) -> None:
    source = tmp_path / "mine-F16.gguf"
    shutil.copy(desk_guide, source)
    job = await bench.submit(request_for("Q8_0", "Q2_K", model=str(source), output=str(tmp_path / "out")))

    async def change() -> None:
        while not (tmp_path / "out" / "mine-Q8_0.gguf").exists():
            await asyncio.sleep(0.01)
        status = source.stat()
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))

    changer = asyncio.create_task(change())
    ended = await bench.work(job)
    changer.cancel()
    with suppress(asyncio.CancelledError):
        await changer
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "source_changed"
    assert not (tmp_path / "out" / "mine-Q2_K.gguf").exists()
    assert not list((tmp_path / "out").glob(".slmdesk*"))


async def test_a_full_disk_is_said_before_anything_is_written(
    bench: Bench, request_for: Callable[..., Request]
) -> None:
    space = Space(bench.database)
    other = await bench.store.create("download", {}, "a large model")
    await bench.store.transition(other.id, "paused")
    await space.reserve(other.id, bench.paths.models, await space.free(bench.paths.models) - 1_000_000)
    ended = await bench.work(await bench.submit(request_for("Q8_0")))
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "disk_full"
    assert not list(bench.paths.models.rglob("*.gguf"))
    assert bench.leftovers() == []


async def test_the_forecast_says_whether_each_quant_runs_here(
    bench: Bench, request_for: Callable[..., Request]
) -> None:
    plan = await bench.room.forecast(request_for("Q8_0", "Q2_K"))
    for quant in plan.quants:
        assert quant.fit is not None
        assert quant.fit.verdict == "fits"
        assert quant.fit.max_context > 0
    large, small = (quant.fit.least_bytes for quant in plan.quants if quant.fit is not None)
    assert large > small
    assert plan.to_json()["quants"][0]["fit"]["max_context"] > 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of five megabytes, which a real Q8_0 of the built-in model fills."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_disk_that_becomes_full_while_writing(
    bench: Bench, request_for: Callable[..., Request], tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else writes to the disk after the space was reserved."""

    async def as_if_free(_space: Space, _job: str, _folder: Path, _bytes: int) -> None:
        return

    monkeypatch.setattr(Space, "reserve", as_if_free)
    (tiny_disk / "other").write_bytes(bytes(1_500_000))
    ended = await bench.work(await bench.submit(request_for("Q8_0", output=str(tiny_disk))))
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error.code == "disk_full"
    assert [path.name for path in tiny_disk.iterdir()] == ["other"]
