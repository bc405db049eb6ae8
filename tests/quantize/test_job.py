"""The job on the real model with real children: steps, what stays, cancelling, going on after an end."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.jobs.job_queue import Jobs
from slmdesk.core.jobs.job_runner import JobRunner
from slmdesk.core.jobs.job_store import Job, JobStore
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.core.space import Space
from slmdesk.formats.gguf import read_header
from slmdesk.library import sidecar
from slmdesk.library.library import Library
from slmdesk.quantize.job import QuantizeKind
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.request import Request
from slmdesk.quantize.room import Quantizing
from slmdesk.schema import MIGRATIONS

Convert = Callable[[Path, Path, Callable[[float, float, str], None]], Awaitable[None]]
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
        convert: Convert | None = None,
    ) -> Job:
        """Run the jobs until `until` holds for this one, then let the runner end as a closed program would."""
        space = Space(self.database)
        kind = QuantizeKind(self.paths, self.database, self.store, space, convert)
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
    assert await refused(request_for("IQ2_XS", imatrix="none")) == "imatrix_needed"
    small = tmp_path / "small.txt"
    small.write_text("A few words, again and again. " * 60, "utf-8")  # enough bytes, too few tokens
    assert await refused(request_for("Q8_0", measure=True, text=str(small))) == "text_too_short"
    assert await refused(request_for("Q4_0", calibration_text=str(small))) == "text_too_short"
    # Of a folder the tokens are known once it is converted, but what is too short for any model is not.
    small.write_text("Too short.", "utf-8")
    folder = str(Paths.resolve({}).resources / "desk-guide")
    assert await refused(request_for("Q8_0", model=folder, text=str(small))) == "text_too_short"
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


async def test_a_matrix_is_computed_from_q4_0_down_and_said_either_way(
    bench: Bench, request_for: Callable[..., Request]
) -> None:
    for targets, more, words, used in (
        (("Q4_0", "Q8_0"), {}, "With an importance matrix, computed here", True),
        (("Q4_K_M",), {}, "worth its time from Q4_0 down", False),
        (("Q2_K", "Q8_0"), {"imatrix": "none"}, "Q2_K would lose clearly less with one", False),
        (("Q8_0",), {"options": Options(overrides=(("ffn_up", "IQ2_XXS"),))}, "computed here", True),
    ):
        plan = await bench.room.forecast(request_for(*targets, **more))
        assert words in plan.matrix
        assert ("imatrix" in [step.name for step in plan.steps]) == used
    job = await bench.work(await bench.submit(request_for("IQ4_NL")))
    assert job.result is not None
    assert job.result["quants"][0]["imatrix"] is True
    header = read_header(Path(job.result["quants"][0]["path"]))
    assert header.metadata["quantize.imatrix.entries_count"] == 7 * header.number("block_count")


@pytest.mark.parametrize(
    "options", [Options(pure=True), Options(embedding_type="IQ2_XXS", output_type="IQ1_S")]
)
async def test_what_calibration_never_touched_gets_a_type_that_needs_no_matrix(
    bench: Bench, request_for: Callable[..., Request], options: Options
) -> None:
    job = await bench.work(await bench.submit(request_for("IQ2_XXS", options=options)))
    assert job.state == "done", job.error
    assert job.result is not None
    quant = job.result["quants"][0]
    types = {t.name: t.type.name for t in read_header(Path(quant["path"])).tensors}
    assert types["token_embd.weight"] == types["output.weight"] == "Q2_K"
    assert types["blk.0.ffn_up.weight"] == "IQ2_XXS"
    assert quant["size_bytes"] == quant["forecast_bytes"]
    assert ["token_embd.weight", "IQ2_XXS", "Q2_K"] in quant["fallbacks"]


async def test_quants_that_exist_are_measured_against_their_source(
    bench: Bench, request_for: Callable[..., Request], desk_guide: Path, short_text: Path, tmp_path: Path
) -> None:
    made = await bench.work(await bench.submit(request_for("Q2_K", "Q8_0", imatrix="none")))
    assert made.result is not None
    origin = await bench.room.origin("slmdesk/desk-guide")
    paths = [Path(quant["path"]) for quant in made.result["quants"]]
    assert sorted(await bench.room.measurable(origin)) == sorted(paths)

    foreign = tmp_path / "elsewhere" / "other.gguf"
    foreign.parent.mkdir()
    shutil.copy(paths[0], foreign)
    job = await bench.room.measure("slmdesk/desk-guide", [*paths, foreign], text=str(short_text))
    before = paths[0].stat().st_mtime_ns
    ended = await bench.work(job)
    assert ended.state == "done", ended.error
    assert ended.result is not None
    first, second, third = ended.result["quants"]
    assert (first["quant"], second["quant"], third["quant"]) == ("Q2_K", "Q8_0", "Q2_K")
    assert first["kld_mean"] == pytest.approx(third["kld_mean"]) != pytest.approx(second["kld_mean"])
    assert 0 < first["kld_error"] < first["kld_mean"]
    assert first["generation_tokens_s"] > 0
    assert first["imatrix"] is False
    # Against llama-perplexity's own: the error of a share of so many draws.
    share, count = first["top_1"], first["tokens_scored"]
    assert first["top_1_error"] == pytest.approx((share * (1 - share) / (count - 1)) ** 0.5)
    assert paths[0].stat().st_mtime_ns == before
    kept = sidecar.read(paths[0].parent)[paths[0].name]
    assert (kept.state, kept.extra["quantize"]["kld_mean"]) == ("verified", first["kld_mean"])
    assert kept.extra["quantize"]["from"] == desk_guide.name
    assert await bench.room.measurable(origin) == []
    rows = {row.path: row for row in await bench.room.rows(origin)}
    assert rows[foreign].kld == third["kld_mean"]
    assert not list(foreign.parent.glob("slmdesk.json"))
    assert bench.leftovers() == []


async def test_what_cannot_be_measured_is_refused_before(
    bench: Bench, desk_guide: Path, smollm2: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.txt"
    small.write_text("A few words, again and again. " * 60, "utf-8")

    async def refused(*files: Path, text: str = "") -> str:
        with pytest.raises(SlmDeskError) as caught:
            await bench.room.measure("slmdesk/desk-guide", files, text=text)
        assert await bench.store.list() == []
        return caught.value.code

    copy = tmp_path / "copy.gguf"
    shutil.copy(desk_guide, copy)
    assert await refused() == "nothing_to_measure"
    assert await refused(smollm2) == "vocabulary_differs"
    assert await refused(desk_guide) == "source_differs"
    assert await refused(tmp_path / "no.gguf") == "source_missing"
    assert await refused(copy, text=str(small)) == "text_too_short"


async def test_a_source_without_one_of_its_tensors_is_told_apart_from_a_bad_disk(
    bench: Bench, request_for: Callable[..., Request], desk_guide: Path, tmp_path: Path
) -> None:
    source = tmp_path / "part-F16.gguf"
    without_tensor(desk_guide, source, "blk.1.ffn_up.weight")
    job = await bench.work(await bench.submit(request_for("Q8_0", model=str(source))))
    assert job.error is not None
    assert job.error.code == "source_incomplete"
    assert "blk.1.ffn_up.weight" in job.error.message
    assert "download the model again" in job.error.hint


def without_tensor(source: Path, target: Path, name: str) -> None:
    """A copy in which one tensor has another name, as if it were missing."""
    data = source.read_bytes()
    assert data.count(name.encode()) == 1
    target.write_bytes(data.replace(name.encode(), name.replace("ffn_up", "ffn_xx").encode()))


async def test_a_converted_folder_that_lacks_weights_is_told_before_it_is_quantized(
    bench: Bench, request_for: Callable[..., Request], desk_guide: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "lacking"
    folder.mkdir()
    shutil.copy(Paths.resolve({}).resources / "desk-guide" / "model.safetensors", folder)

    async def convert(_folder: Path, target: Path, _heard: object) -> None:
        """As the converter does, which writes what it finds."""
        without_tensor(desk_guide, target, "blk.1.ffn_up.weight")

    job = await bench.work(await bench.submit(request_for("Q8_0", model=str(folder))), convert=convert)
    assert job.error is not None
    assert job.error.code == "source_incomplete"
    assert job.error.message.startswith("lacking was converted, but")
    assert "blk.1.ffn_up.weight" in job.error.message
    assert "whole folder" in job.error.hint
    assert not list(bench.paths.models.rglob("*.gguf"))
    assert not list((bench.paths.data / "quantize").rglob("*.gguf"))


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


@pytest.mark.slow
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
    other = await bench.store.create("download", {}, "a large model")
    await bench.store.transition(other.id, "paused")
    await Space(bench.database).reserve(other.id, bench.paths.models, 1)
    # The whole disk, not what is free of it now: other tests give space back while this one runs.
    everything = shutil.disk_usage(bench.paths.data).total
    await bench.database.run(
        lambda database: database.execute("UPDATE reservations SET bytes = ?", (everything,))
    )
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
