"""What every job of this room shares: its source, its steps and their times, children, and a person's wishes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize import planning
from slmdesk.quantize.heeding import unless_cancelled
from slmdesk.quantize.host import run_child
from slmdesk.quantize.job_memory import JobMemory, StepMemory
from slmdesk.quantize.protocol import CheckSpec, Spec
from slmdesk.quantize.remaining import seconds_left
from slmdesk.quantize.request import Request
from slmdesk.quantize.source import SourceGguf, open_source

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from slmdesk.core.jobs.job_kinds import RunningJob
    from slmdesk.quantize.job import QuantizeKind
    from slmdesk.quantize.job_memory import StepState
    from slmdesk.quantize.planning import QuantizeStep

_LOOK_S = 0.5  # how often a download that is waited for is looked at
T = TypeVar("T")


class QuantizeRun:
    """One run of one job, step by step. Each finished step is remembered, so that a later run goes on behind it."""

    def __init__(self, kind: QuantizeKind, job: RunningJob) -> None:
        self.kind = kind
        self.job = job
        self.request = Request.from_json(job.parameters["request"])
        self.model = str(job.parameters.get("model", ""))
        self.origin = Path(job.parameters["source"])
        self.name = str(job.parameters["name"])
        self.kept = kind.work_folder(job.id)
        self.memory = JobMemory.from_json(job.memory)
        self.steps: list[QuantizeStep] = []
        self.source: SourceGguf
        self._began = time.perf_counter()  # the step that runs

    async def _fetched(self) -> None:
        """Wait for the download that brings the source, where there is one."""
        fetch = str(self.job.parameters.get("fetch", ""))
        while fetch and "fetch" not in self.memory.done:
            await self.job.checkpoint()
            try:
                download = await self.kind.jobs.get(fetch)
            except SlmDeskError:
                break  # cleared off the list; the source is there or it is not
            if download.state == "done":
                self.memory.done.append("fetch")
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

    async def _source(self) -> SourceGguf:
        path = self.origin
        if path.suffix.lower() != ".gguf":
            path = await self._converted(path)
        source = await asyncio.to_thread(open_source, path)
        if source.warning:
            self.job.log(source.warning)
        if self.memory.fingerprint not in {"", source.fingerprint}:
            # Quants of two different sources must not stand side by side as if they were of one.
            raise SlmDeskError(
                "source_changed",
                f"{source.path.name} was changed since this job began.",
                "Cancel this job and start a new one.",
            )
        self.memory.fingerprint = source.fingerprint
        return source

    async def _converted(self, folder: Path) -> Path:
        target = self.kept / f"{self.name}-F16.gguf"
        if "convert" in self.memory.done and target.is_file():
            return target
        if self.kind.convert is None:
            raise SlmDeskError(
                "convert_unavailable",
                f"{folder.name} holds no GGUF, and no converter is installed.",
                "Choose a GGUF file of the model (F16, BF16 or F32).",
            )
        await self.job.tell("converting")
        self.memory.fingerprint = ""  # of a file that was made before, and is gone
        step = await self._convert_step(folder)
        started, making = time.perf_counter(), False

        def heard(done: float, total: float, words: str) -> None:
            nonlocal started, making
            if making or words.startswith(planning.MAKING):
                started = self._began = (
                    time.perf_counter()
                )  # the toolchain is made once; that is no part of converting
            making = words.startswith(planning.MAKING)
            self._told(step, done / total if total else 0.0, words)

        await self._unless_cancelled(self.kind.convert(folder, target, heard))
        await self._done(step, step, time.perf_counter() - started)
        await self.job.tell("loading the converted file")
        try:
            await self._loads(target)
        except SlmDeskError:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise
        self.memory.done.append("convert")
        await self._remember()
        return target

    async def _loads(self, path: Path) -> None:
        """Raises `SlmDeskError("source_incomplete")` where llama.cpp cannot load and run the source."""
        spec = CheckSpec([str(path)], {}, self.request.options.threads, load_only=True)
        try:
            await self._unless_cancelled(run_child(spec))
        except SlmDeskError as error:
            if error.code != "check_failed":
                raise
            why = error.message.partition(": ")[2].rstrip(".")
            converted = path != self.origin and self.origin.suffix.lower() != ".gguf"
            raise SlmDeskError(
                "source_incomplete",
                f"{self.origin.name} was converted, but {why}." if converted else f"Of {path.name}, {why}.",
                "Weights are missing or do not belong together: download the whole folder again."
                if converted
                else "Weights are missing or damaged: download the model again.",
                details=error.details,
            ) from error

    async def _convert_step(self, folder: Path) -> QuantizeStep:
        """Conversion as a step of the job: the others are known when it is done."""
        count = await asyncio.to_thread(
            lambda: sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        )
        step = planning.convert_step(count, await self.kind.store.paces())
        self.memory.steps = self.memory.steps or [StepMemory.of(step)]
        self.steps = [step]
        self._state_of(step, "running")
        await self._remember()
        return step

    async def _child(self, step: QuantizeStep, spec: Spec, words: str) -> dict[str, Any]:
        """One step in a child: progress, its time remembered, and a person's wishes heard."""
        await self.job.checkpoint()
        self._state_of(step, "running")
        await self.job.tell(words)
        planned = self._planned(step)
        started = self._began = time.perf_counter()
        self._told(step, 0.0, words)

        def heard(event: dict[str, Any]) -> None:
            share = event["done"] / event["total"] if event["total"] else 0.0
            detail = f"{words}: {event['detail']}" if event.get("detail") else words
            self._told(step, share, detail)

        found = await self._unless_cancelled(run_child(spec, on_progress=heard))
        await self._done(step, planned, seconds := time.perf_counter() - started)
        self.job.log(f"{words}: {seconds:.1f} s")
        self.steps = [other for other in self.steps if (other.name, other.quant) != (step.name, step.quant)]
        return found

    async def _done(self, step: QuantizeStep, planned: QuantizeStep, seconds: float) -> None:
        await self.kind.store.took(
            step.name, step.quant, expected=planned.seconds, reckoned=planned.reckoned, seconds=seconds
        )
        self._state_of(step, "done", seconds)

    async def _unless_cancelled(self, work: Awaitable[T]) -> T:
        return await unless_cancelled(self.job, work)

    def _planned(self, step: QuantizeStep) -> QuantizeStep:
        return next((s for s in self.steps if (s.name, s.quant) == (step.name, step.quant)), step)

    def _told(self, step: QuantizeStep, share: float, words: str) -> None:
        """Progress in seconds of expected work, over all steps."""
        total = sum(entry.seconds for entry in self.memory.steps) or 1.0
        planned = self._planned(step)
        share = min(max(share, 0.0), 1.0)
        done = total - sum(s.seconds for s in self.steps) + share * planned.seconds
        left = seconds_left(self.steps, planned, share, time.perf_counter() - self._began)
        self._progress = asyncio.ensure_future(
            self.job.progress(max(done, 0.0), total, words, remaining=left)
        )

    def _state_of(self, step: QuantizeStep, state: StepState, seconds: float | None = None) -> None:
        for entry in self.memory.steps:
            if entry.is_of(step):
                entry.state = state
                if seconds is not None:
                    entry.took = seconds

    async def _remember(self) -> None:
        await self.job.remember(self.memory.to_json())
