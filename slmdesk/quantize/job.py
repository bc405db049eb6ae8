"""The job that quantizes: convert? → importance matrix? → quantize → check → measure? → register.

Each step is done by a child process or a function, and remembered when it is done; after a crash the job goes on
with the first step that is not. Quants are written into a hidden folder beside their place and move there once
they passed their check.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.core.hardware import memory
from slmdesk.core.job_kinds import JobKind, RunningJob
from slmdesk.quantize import planning, registering
from slmdesk.quantize.host import run_child
from slmdesk.quantize.placing import PARTIAL_PREFIX, clear_partial, move_into_place, refuse_existing, sweep
from slmdesk.quantize.planning import Forecast, Place, QuantForecast, Step
from slmdesk.quantize.protocol import CHUNK, CheckSpec, MatrixSpec, QualitySpec, QuantizeSpec, SpeedSpec
from slmdesk.quantize.request import Request
from slmdesk.quantize.source import Source, open_source
from slmdesk.quantize.store import QuantStore
from slmdesk.quantize.texts import calibration_text, measuring_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.core.database import Database
    from slmdesk.core.jobs import Job, JobStore
    from slmdesk.core.paths import Paths
    from slmdesk.core.space import Space
    from slmdesk.quantize.protocol import Spec

    # Makes a GGUF of a safetensors folder: (folder, the file to write, progress(done, total, words)).
    Convert = Callable[[Path, Path, Callable[[float, float, str], None]], Awaitable[None]]

KIND = "quantize"
# What is wrong with one quant alone; the others are still made.
_OF_ONE_QUANT = {"check_failed", "imatrix_needed", "quantize_failed", "weights_unfit"}
_LOOK_S = 0.5  # how often a download that is waited for is looked at
_MEMORY_SHARE = 0.6  # of free memory that the models measured at once may fill
_log = logging.getLogger(__name__)
T = TypeVar("T")


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
        work = _Work(self, job)
        try:
            result = await work.run()
        except SlmDeskError:
            await asyncio.to_thread(clear_partial, work.partial)  # a new try makes it anew
            with suppress(OSError):  # what was measured or converted so far stays for a new try
                await asyncio.to_thread(work.kept.rmdir)
            raise
        await asyncio.to_thread(self._tidy, job.id, work.partial)
        return result

    async def discard(self, job: Job, *, keep: bool) -> None:
        """Remove what is half done; finished quants stay, whatever `keep` says."""
        del keep
        await asyncio.to_thread(
            self._tidy, job.id, Path(job.parameters["output"]) / f"{PARTIAL_PREFIX}{job.id}"
        )

    def work_folder(self, job_id: str) -> Path:
        """Where a job keeps what it needs to go on and no person needs."""
        return self.paths.data / "quantize" / job_id

    def _tidy(self, job_id: str, partial: Path) -> None:
        clear_partial(partial)
        shutil.rmtree(self.work_folder(job_id), ignore_errors=True)


class _Work:
    """One run of one job."""

    def __init__(self, kind: QuantizeKind, job: RunningJob) -> None:
        self.kind = kind
        self.job = job
        self.request = Request.from_json(job.parameters["request"]).checked()
        self.model = str(job.parameters.get("model", ""))
        self.origin = Path(job.parameters["source"])
        self.place = Place(Path(job.parameters["output"]), str(job.parameters["name"]))
        self.partial = self.place.folder / f"{PARTIAL_PREFIX}{job.id}"
        self.kept = kind.work_folder(job.id)
        self.memory: dict[str, Any] = {"quants": {}, "matrix": "", "done": [], **job.memory}
        self.steps: list[Step] = []
        self.source: Source

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

    async def _fetched(self) -> None:
        """Wait for the download that brings the source, where there is one."""
        fetch = str(self.job.parameters.get("fetch", ""))
        while fetch and "fetch" not in self.memory["done"]:
            await self.job.checkpoint()
            try:
                download = await self.kind.jobs.get(fetch)
            except SlmDeskError:
                break  # cleared off the list; the source is there or it is not
            if download.state == "done":
                self.memory["done"].append("fetch")
                await self._remember()
            elif download.state in {"failed", "cancelled"}:
                raise download.error or SlmDeskError(
                    "fetch_cancelled",
                    f"The download of {self.model} was cancelled, so there is nothing to quantize.",
                    "Start it again.",
                )
            else:
                share = f", {download.done / download.total:.0%}" if download.total else ""
                await self.job.tell(f"waiting for the download ({download.state}{share})")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.job.wished.wait(), _LOOK_S)

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

    async def _source(self) -> Source:
        path = self.origin
        if path.suffix.lower() != ".gguf":
            path = await self._converted(path)
        source = await asyncio.to_thread(open_source, path)
        if source.warning:
            self.job.log(source.warning)
        before = self.memory.get("fingerprint")
        if before not in {None, source.fingerprint}:
            # Quants of two different sources must not stand side by side as if they were of one.
            raise SlmDeskError(
                "source_changed",
                f"{source.path.name} was changed since this job began.",
                "Cancel this job and start a new one.",
            )
        self.memory["fingerprint"] = source.fingerprint
        return source

    async def _converted(self, folder: Path) -> Path:
        target = self.kept / f"{self.place.name}-F16.gguf"
        if "convert" in self.memory["done"] and target.is_file():
            return target
        if self.kind.convert is None:
            raise SlmDeskError(
                "convert_unavailable",
                f"{folder.name} holds no GGUF, and no converter is installed.",
                "Choose a GGUF file of the model (F16, BF16 or F32).",
            )
        await self.job.tell("converting")
        self.memory.pop("fingerprint", None)  # of a file that was made before, and is gone
        step = await self._convert_step(folder)
        started, making = time.perf_counter(), False

        def heard(done: float, total: float, words: str) -> None:
            nonlocal started, making
            if making or words.startswith(planning.MAKING):
                started = time.perf_counter()  # the toolchain is made once; that is no part of converting
            making = words.startswith(planning.MAKING)
            self._told(step, done / total if total else 0.0, words)

        await self._unless_cancelled(self.kind.convert(folder, target, heard))
        await self._done(step, step, time.perf_counter() - started)
        self.memory["done"].append("convert")
        await self._remember()
        return target

    async def _convert_step(self, folder: Path) -> Step:
        """Conversion as a step of the job: the others are known when it is done."""
        count = await asyncio.to_thread(
            lambda: sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        )
        step = planning.convert_step(count, await self.kind.store.paces())
        self.memory.setdefault("steps", [asdict(step)])
        self.steps = [step]
        self._state_of(step, "running")
        await self._remember()
        return step

    async def _forecast(self) -> Forecast:
        await self.job.tell("working out sizes")
        paces = await self.kind.store.paces()
        found = await self._unless_cancelled(
            planning.forecast(self.request, self.source, self.place, self.kind.paths, paces)
        )
        fresh = [quant for quant in found.quants if self._state(quant.quant) == ""]
        await asyncio.to_thread(refuse_existing, [Path(quant.path) for quant in fresh if quant.exists])
        self.steps = [step for step in found.steps if not self._is_done(step)]
        known = self.memory.get("steps", [])
        if all(entry["name"] == "convert" for entry in known):
            self.memory["steps"] = [*known, *(asdict(step) for step in found.steps)]
        for line in found.warnings:
            self.job.log(line)
        await self._remember()
        return found

    async def _reserve(self, forecast: Forecast) -> None:
        needed = sum(quant.bytes for quant in forecast.quants if self._state(quant.quant) in {"", "written"})
        await self.kind.space.reserve(self.job.id, self.place.folder, needed)

    async def _matrix(self) -> dict[str, str] | None:
        """The importance matrix to use: the user's, one computed before for this source, or a new one."""
        text = calibration_text(self.kind.paths, self.source.header, self.request.calibration_text)
        use = await asyncio.to_thread(planning.matrix_use, self.request, self.place, text)
        if use is None or use.path:
            return asdict(use) if use is not None else None
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
                await self._child(Step("imatrix"), spec, "importance matrix")
                await asyncio.to_thread(partial.replace, target)
            finally:
                with suppress(OSError):
                    partial.unlink()
        self.memory["matrix"] = str(target)
        await self._remember()
        return asdict(replace(use, path=str(target)))

    async def _make(self, quant: QuantForecast, use: dict[str, str] | None) -> None:
        """Quantize, check, move into place, register; from where it was left."""
        entry = self.memory["quants"].setdefault(quant.quant, {"state": ""})
        try:
            if entry["state"] == "" or (entry["state"] == "written" and not self._files(quant)):
                await self._write(quant, use, entry)
            if entry["state"] == "written":
                await self._check(quant, entry)
            if entry["state"] == "checked":
                await self._put_in_place(quant, entry)
        except SlmDeskError as error:
            if error.code not in _OF_ONE_QUANT or len(self.request.targets) == 1:
                raise
            self.job.log(f"{quant.quant}: {error.message}")
            entry.update(state="failed", error=error.to_json())
            await asyncio.to_thread(clear_partial, self.partial / quant.quant)
            await self._remember()

    def _files(self, quant: QuantForecast) -> list[Path]:
        return sorted((self.partial / quant.quant).glob("*.gguf"))

    async def _write(self, quant: QuantForecast, use: dict[str, str] | None, entry: dict[str, Any]) -> None:
        folder = self.partial / quant.quant
        await asyncio.to_thread(clear_partial, folder)
        await asyncio.to_thread(folder.mkdir, parents=True)
        spec = QuantizeSpec(
            source=str(self.source.path),
            folder=str(folder),
            name="quant" if self.request.options.keep_split and len(self.source.parts) > 1 else "quant.gguf",
            target=quant.quant,
            options=self.request.options.to_json(),
            matrix=use,
            buffer_bytes=planning.buffer_bytes(memory()[1]),
        )
        made = await self._child(Step("quantize", quant.quant), spec, quant.quant)
        await asyncio.to_thread(self.source.check_unchanged)
        entry.update(state="written", quantize_seconds=made["seconds"], fallbacks=made["fallbacks"])
        await self._remember()

    async def _check(self, quant: QuantForecast, entry: dict[str, Any]) -> None:
        files = await asyncio.to_thread(self._files, quant)
        spec = CheckSpec([str(file) for file in files], quant.types, self.request.options.threads)
        found = await self._child(Step("check", quant.quant), spec, f"checking {quant.quant}")
        size = sum(found["sizes"].values())
        entry.update(
            state="checked",
            size_bytes=size,
            forecast_bytes=quant.bytes,
            bits_per_weight=size * 8 / max(self.source.parameters, 1),
            files=[{"name": file.name, "sha256": found["sha256"][file.name]} for file in files],
        )
        await self._remember()

    async def _put_in_place(self, quant: QuantForecast, entry: dict[str, Any]) -> None:
        names = self.place.final(self.request, quant.quant, len(entry["files"]))
        sources = [self.partial / quant.quant / file["name"] for file in entry["files"]]
        await asyncio.to_thread(move_into_place, sources, names)
        entry.update(state="placed", path=str(names[0]), paths=[str(name) for name in names])
        await self._remember()
        await asyncio.to_thread(clear_partial, self.partial / quant.quant)
        await self._register(quant.quant, entry)

    async def _register(self, quant: str, entry: dict[str, Any]) -> None:
        facts = registering.facts(quant, entry, self.source, self.request)
        await self.kind.store.put(registering.record(self.model, self.origin, quant, facts))
        await asyncio.to_thread(
            registering.write_sidecar, self.kind.paths, entry, facts, self.origin, self.source
        )

    async def _measure(self) -> None:
        placed = {name: entry for name, entry in self.memory["quants"].items() if entry["state"] == "placed"}
        for number, group in enumerate(self._groups(placed)):
            if any("perplexity" not in entry for entry in group.values()):
                await self._quality(number, group)
        for name, entry in placed.items():
            if "generation_tokens_s" not in entry:
                spec = SpeedSpec(entry["path"], str(self._text().path), self.request.options.threads)
                entry.update(await self._child(Step("speed", name), spec, f"timing {name}"))
                await self._remember()
            await self._register(name, entry)

    def _text(self) -> Any:
        return measuring_text(self.kind.paths, self.source.header, self.request.text)

    def _groups(self, placed: dict[str, dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
        """Quants that are measured side by side: as many as fit into memory together with the source."""
        room = memory()[1] * _MEMORY_SHARE - self.source.bytes
        groups: list[dict[str, dict[str, Any]]] = []
        left = 0.0
        for name, entry in placed.items():
            if not groups or entry["size_bytes"] > left:
                groups.append({})
                left = room
            groups[-1][name] = entry
            left -= entry["size_bytes"]
        return groups

    async def _quality(self, number: int, group: dict[str, dict[str, Any]]) -> None:
        text = self._text()
        spec = QualitySpec(
            source=str(self.source.path),
            quants={name: entry["path"] for name, entry in group.items()},
            text=str(text.path),
            state=str(self.kept / f"quality-{number}.npz"),
            chunk=min(CHUNK, self.source.header.context_length or CHUNK),
            special=text.special,
            answers_only=text.special,  # a model trained on answers alone has no opinion on questions
            threads=self.request.options.threads,
        )
        found = await self._child(Step("measure"), spec, "measuring")
        await asyncio.to_thread(self.source.check_unchanged)
        about = {"text": text.name, "text_sha256": text.digest(), "chunks": found["chunks"]}
        self.memory["measured_source"] = {**found["source"], **about}
        for name, figures in found["quants"].items():
            group[name].update(figures, **about, source_perplexity=found["source"]["perplexity"])
            await self._register(name, group[name])
        await self._remember()

    async def _result(self, forecast: Forecast) -> dict[str, Any]:
        base = self.memory.get("measured_source")
        if base:
            await self.kind.store.put(registering.record_source(self.model, self.origin, self.source, base))
        quants = [
            registering.facts(quant.quant, self.memory["quants"][quant.quant], self.source, self.request)
            for quant in forecast.quants
        ]
        if all("error" in quant for quant in quants):
            raise SlmDeskError.from_json(quants[0]["error"])
        return {
            "model": self.model,
            "source": {"path": str(self.origin), "quant": self.source.quant, "size_bytes": self.source.bytes,
                       "parameters": self.source.parameters, **(base or {})},
            "imatrix": self.memory["matrix"] or None,
            "warnings": list(forecast.warnings),
            "quants": quants,
        }  # fmt: skip

    # What every step shares

    async def _child(self, step: Step, spec: Spec, words: str) -> dict[str, Any]:
        """One step in a child: progress, its time remembered, and a person's wishes heard."""
        await self.job.checkpoint()
        self._state_of(step, "running")
        await self.job.tell(words)
        planned = self._planned(step)
        started = time.perf_counter()

        def heard(event: dict[str, Any]) -> None:
            share = event["done"] / event["total"] if event["total"] else 0.0
            detail = f"{words}: {event['detail']}" if event.get("detail") else words
            self._told(step, share, detail)

        found = await self._unless_cancelled(run_child(spec, on_progress=heard))
        await self._done(step, planned, seconds := time.perf_counter() - started)
        self.job.log(f"{words}: {seconds:.1f} s")
        self.steps = [other for other in self.steps if (other.name, other.quant) != (step.name, step.quant)]
        return found

    async def _done(self, step: Step, planned: Step, seconds: float) -> None:
        await self.kind.store.took(
            step.name, step.quant, expected=planned.seconds, reckoned=planned.reckoned, seconds=seconds
        )
        self._state_of(step, "done", seconds)

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        """Wait for a step; when a person cancels, end it (its children with it). A pause waits for its end."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                wish = asyncio.ensure_future(self.job.wished.wait())
                try:
                    await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    wish.cancel()
                if not task.done() and self.job.wish.startswith("cancel"):
                    break
                if not task.done():
                    await asyncio.wait({task}, timeout=0.2)
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, SlmDeskError):
                    await task
        await self._or_cancelled()
        return task.result()

    async def _or_cancelled(self) -> None:
        if self.job.wish.startswith("cancel"):
            await self.job.checkpoint()

    def _planned(self, step: Step) -> Step:
        return next((s for s in self.steps if (s.name, s.quant) == (step.name, step.quant)), step)

    def _told(self, step: Step, share: float, words: str) -> None:
        """Progress in seconds of expected work, over all steps."""
        total = sum(float(entry["seconds"]) for entry in self.memory.get("steps", ())) or 1.0
        left = sum(s.seconds for s in self.steps)
        done = total - left + min(max(share, 0.0), 1.0) * self._planned(step).seconds
        self._progress = asyncio.ensure_future(self.job.progress(max(done, 0.0), total, words))

    def _state_of(self, step: Step, state: str, seconds: float | None = None) -> None:
        for entry in self.memory.get("steps", ()):
            if (entry["name"], entry["quant"]) == (step.name, step.quant):
                entry["state"] = state
                if seconds is not None:
                    entry["took"] = seconds

    def _state(self, quant: str) -> str:
        return str(self.memory["quants"].get(quant, {}).get("state", ""))

    def _is_done(self, step: Step) -> bool:
        entry = self.memory["quants"].get(step.quant, {})
        state = entry.get("state", "")
        if step.name == "quantize":
            return state in {"written", "checked", "placed"}
        if step.name == "check":
            return state in {"checked", "placed"}
        if step.name == "speed":
            return "generation_tokens_s" in entry
        return False

    async def _remember(self) -> None:
        await self.job.remember(self.memory)
