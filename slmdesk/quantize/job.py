"""The job that quantizes: convert? → importance matrix? → quantize → check → measure? → register.

Each step is done by a child process or a function, and remembered when it is done; after a crash the job goes on
with the first step that is not. Quants are written into a hidden folder beside their place and move there once
they passed their check.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.hardware import memory
from slmdesk.core.jobs.job_kinds import JobKind, RunningJob
from slmdesk.quantize import planning
from slmdesk.quantize.job_memory import QuantMemory, StepMemory, WrittenFile
from slmdesk.quantize.measuring import MeasureOnly, Measuring
from slmdesk.quantize.placing import PARTIAL_PREFIX, clear_partial, move_into_place, refuse_existing, sweep
from slmdesk.quantize.planning import Destination, QuantForecast, QuantizePlan, QuantizeStep
from slmdesk.quantize.protocol import CHUNK, CheckSpec, MatrixSpec, QuantizeSpec
from slmdesk.quantize.store import QuantStore
from slmdesk.quantize.texts import calibration_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.core.database import Database
    from slmdesk.core.error_codes import ErrorCode
    from slmdesk.core.jobs.job_store import Job, JobStore
    from slmdesk.core.paths import Paths
    from slmdesk.core.space import Space
    from slmdesk.quantize.protocol import MatrixUse

    # Makes a GGUF of a safetensors folder: (folder, the file to write, progress(done, total, words)).
    Convert = Callable[[Path, Path, Callable[[float, float, str], None]], Awaitable[None]]

KIND = "quantize"
# What is wrong with one quant alone; the others are still made.
_OF_ONE_QUANT: frozenset[ErrorCode] = frozenset({"check_failed", "imatrix_needed", "quantize_failed"})


class QuantizeKind(JobKind):
    """Quantizing. `convert` makes a GGUF of a safetensors folder; None where no toolchain can."""

    name = KIND
    patience_s = 3600.0  # a pause waits for the end of the step; a cancel is heard at once

    def __init__(
        self, paths: Paths, database: Database, store: JobStore, space: Space, convert: Convert | None = None
    ) -> None:
        self.paths = paths
        self.store = QuantStore(database)
        self.jobs = store
        self.space = space
        self.convert = convert

    async def run(self, job: RunningJob) -> dict[str, Any]:
        work: Measuring = MeasureOnly(self, job) if job.parameters.get("measure") else MakeQuants(self, job)
        partial = self.partial_folder(job)
        try:
            result = await work.run()
        except SlmDeskError:
            await asyncio.to_thread(clear_partial, partial)  # a new try makes it anew
            with suppress(OSError):  # what was measured or converted so far stays for a new try
                await asyncio.to_thread(work.kept.rmdir)
            raise
        await asyncio.to_thread(self._tidy, job.id, partial)
        return result

    async def discard(self, job: Job, *, keep: bool) -> None:
        """Remove what is half done; finished quants stay, whatever `keep` says."""
        del keep
        await asyncio.to_thread(self._tidy, job.id, self.partial_folder(job))

    @staticmethod
    def partial_folder(job: Job | RunningJob) -> Path:
        return Path(job.parameters["output"]) / f"{PARTIAL_PREFIX}{job.id}"

    def work_folder(self, job_id: str) -> Path:
        """Where a job keeps what it needs to go on and no person needs."""
        return self.paths.data / "quantize" / job_id

    def _tidy(self, job_id: str, partial: Path) -> None:
        clear_partial(partial)
        shutil.rmtree(self.work_folder(job_id), ignore_errors=True)


class MakeQuants(Measuring):
    """One run of one job that makes quants."""

    def __init__(self, kind: QuantizeKind, job: RunningJob) -> None:
        super().__init__(kind, job)
        self.request = self.request.checked()
        self.place = Destination(Path(job.parameters["output"]), self.name)
        self.partial = kind.partial_folder(job)

    async def run(self) -> dict[str, Any]:
        await self._fetched()
        await self._prepare()
        self.source = await self._source()
        forecast = await self._forecast()
        await self._reserve(forecast)
        use = await self._matrix()
        for quant in forecast.quants:
            await self._make(quant, use)
        if forecast.measured:
            await self._measure()
        return await self._result(forecast)

    async def _prepare(self) -> None:
        await self.job.checkpoint()
        open_jobs = {
            job.id for job in await self.kind.jobs.list(("queued", "running", "paused", "interrupted"))
        }

        def make() -> None:
            try:
                self.place.folder.mkdir(parents=True, exist_ok=True)
                self.kept.mkdir(parents=True, exist_ok=True)
                self.partial.mkdir(exist_ok=True)
            except OSError as error:
                raise writing_error(self.place.folder, error) from error
            sweep(self.place.folder, self.kind.paths.data / "quantize", open_jobs | {self.job.id})

        await asyncio.to_thread(make)

    async def _forecast(self) -> QuantizePlan:
        await self.job.tell("working out sizes")
        paces = await self.kind.store.paces()
        found = await self._unless_cancelled(
            planning.forecast(self.request, self.source, self.place, self.kind.paths, paces)
        )
        fresh = [quant for quant in found.quants if self._quant(quant.quant).state == ""]
        await asyncio.to_thread(refuse_existing, [Path(quant.path) for quant in fresh if quant.exists])
        self.steps = [step for step in found.steps if not self._is_done(step)]
        if all(entry.name == "convert" for entry in self.memory.steps):
            self.memory.steps += [StepMemory.of(step) for step in found.steps]
        for line in found.warnings:
            if line != self.source.warning:  # which was said when the source was opened
                self.job.log(line)
        await self._remember()
        return found

    async def _reserve(self, forecast: QuantizePlan) -> None:
        needed = sum(
            quant.bytes for quant in forecast.quants if self._quant(quant.quant).state in {"", "written"}
        )
        await self.kind.space.reserve(self.job.id, self.place.folder, needed)

    async def _matrix(self) -> MatrixUse | None:
        """The importance matrix to use: the user's, one computed before for this source, or a new one."""
        text = calibration_text(self.kind.paths, self.source.header, self.request.calibration_text)
        use = await asyncio.to_thread(planning.matrix_use, self.request, self.place, text)
        if use is None or use.path:
            return use
        folder = self.kind.paths.data / "imatrix"
        digest = await asyncio.to_thread(text.digest)
        target = folder / f"{self.source.fingerprint[:16]}-{digest}" / planning.matrix_name(self.place)
        if not target.is_file():
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            partial = target.with_name(f".{self.job.id}.partial")
            spec = MatrixSpec(
                source=str(self.source.path),
                text=str(text.path),
                output=str(partial),
                dataset=text.name,
                chunk=min(CHUNK, self.source.header.context_length or CHUNK),
                special=text.special,
                threads=self.request.options.threads,
            )
            try:
                await self._child(QuantizeStep("imatrix"), spec, "importance matrix")
                await asyncio.to_thread(partial.replace, target)
            finally:
                with suppress(OSError):
                    partial.unlink()
        self.memory.matrix = str(target)
        await self._remember()
        return replace(use, path=str(target))

    async def _make(self, quant: QuantForecast, use: MatrixUse | None) -> None:
        """Quantize, check, move into place, register; from where it was left."""
        entry = self.memory.quants.setdefault(quant.quant, QuantMemory())
        try:
            if entry.state == "" or (entry.state == "written" and not self._files(quant)):
                await self._write(quant, use, entry)
            if entry.state == "written":
                await self._check(quant, entry)
            if entry.state == "checked":
                await self._put_in_place(quant, entry)
        except SlmDeskError as error:
            if error.code not in _OF_ONE_QUANT or len(self.request.targets) == 1:
                raise
            self.job.log(f"{quant.quant}: {error.message}")
            entry.state, entry.error = "failed", error
            await asyncio.to_thread(clear_partial, self.partial / quant.quant)
            await self._remember()

    def _files(self, quant: QuantForecast) -> list[Path]:
        return sorted((self.partial / quant.quant).glob("*.gguf"))

    async def _write(self, quant: QuantForecast, use: MatrixUse | None, entry: QuantMemory) -> None:
        folder = self.partial / quant.quant
        await asyncio.to_thread(clear_partial, folder)
        await asyncio.to_thread(folder.mkdir, parents=True)
        spec = QuantizeSpec(
            source=str(self.source.path),
            folder=str(folder),
            name="quant" if self.request.options.keep_split and len(self.source.parts) > 1 else "quant.gguf",
            target=quant.quant,
            options=self.request.options,
            matrix=use,
            buffer_bytes=planning.buffer_bytes(memory()[1]),
        )
        made = await self._child(QuantizeStep("quantize", quant.quant), spec, quant.quant)
        await asyncio.to_thread(self.source.check_unchanged)
        entry.state, entry.quantize_seconds = "written", made["seconds"]
        entry.fallbacks, entry.spared = made["fallbacks"], made["spared"]
        await self._remember()

    async def _check(self, quant: QuantForecast, entry: QuantMemory) -> None:
        files = await asyncio.to_thread(self._files, quant)
        types = {**quant.types, **entry.spared}
        spec = CheckSpec([str(file) for file in files], types, self.request.options.threads)
        try:
            found = await self._child(QuantizeStep("check", quant.quant), spec, f"checking {quant.quant}")
        except SlmDeskError as error:
            if error.code == "check_failed":
                await self._loads(self.source.path)  # what the source lacks no quant of it can have
            raise
        entry.state = "checked"
        entry.size_bytes, entry.forecast_bytes = sum(found["sizes"].values()), quant.bytes
        entry.bits_per_weight = entry.size_bytes * 8 / max(self.source.parameters, 1)
        entry.files = tuple(WrittenFile(file.name, found["sha256"][file.name]) for file in files)
        await self._remember()

    async def _put_in_place(self, quant: QuantForecast, entry: QuantMemory) -> None:
        written = entry.files or ()
        names = self.place.final(self.request, quant.quant, len(written))
        sources = [self.partial / quant.quant / file.name for file in written]
        await asyncio.to_thread(move_into_place, sources, names)
        entry.state, entry.path, entry.paths = "placed", str(names[0]), tuple(str(name) for name in names)
        await self._remember()
        await asyncio.to_thread(clear_partial, self.partial / quant.quant)
        await self._register(quant.quant, entry)

    async def _result(self, forecast: QuantizePlan) -> dict[str, Any]:
        return await self._told_result([quant.quant for quant in forecast.quants], forecast.warnings)

    def _quant(self, name: str) -> QuantMemory:
        return self.memory.quants.get(name) or QuantMemory()

    def _is_done(self, step: QuantizeStep) -> bool:
        entry = self._quant(step.quant)
        if step.name == "quantize":
            return entry.state in {"written", "checked", "placed"}
        if step.name == "check":
            return entry.state in {"checked", "placed"}
        if step.name == "speed":
            return entry.generation_tokens_s is not None
        return False
