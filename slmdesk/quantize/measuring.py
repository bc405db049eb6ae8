"""What quants cost, measured: as the last step of making them, or of files that are there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.quantize import planning, registering
from slmdesk.quantize.job_memory import Measured, StepMemory
from slmdesk.quantize.job_run import QuantizeRun
from slmdesk.quantize.planning import QuantizeStep
from slmdesk.quantize.protocol import CHUNK, QualityResult, QualitySpec, Speed, SpeedSpec
from slmdesk.quantize.texts import TextFile, measuring_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.quantize.job_memory import QuantMemory
    from slmdesk.quantize.protocol import Quality

_MEMORY_SHARE = 0.6  # of free memory that the models measured at once may fill


class Measuring(QuantizeRun):
    """A run that measures what its memory holds as placed."""

    async def _measure(self) -> None:
        placed = {name: entry for name, entry in self.memory.quants.items() if entry.state == "placed"}
        for number, group in enumerate(self._groups(placed)):
            if any(entry.perplexity is None for entry in group.values()):
                await self._quality(number, group)
        for name, entry in placed.items():
            if entry.generation_tokens_s is None:
                spec = SpeedSpec(entry.path, str(self._text().path), self.request.options.threads)
                found = await self._child(QuantizeStep("speed", name), spec, f"timing {name}")
                entry.take(Speed.from_json(found))
                await self._remember()
            await self._register(name, entry)

    async def run(self) -> dict[str, Any]:
        """The whole job; what it brought."""
        raise NotImplementedError

    async def _register(self, name: str, entry: QuantMemory) -> None:
        """Write down what is known of a quant now: in the table, and beside the file."""
        facts = registering.facts(name, entry, self.source, self.request)
        await self.kind.store.put(registering.record(self.model, self.origin, facts["quant"], facts))
        await asyncio.to_thread(
            registering.write_sidecar, self.kind.paths, entry, facts, self.origin, self.source
        )

    async def _told_result(self, names: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
        """The job's result for these entries. Raises the first one's error where none was made."""
        base = self.memory.measured_source
        if base is not None:
            await self.kind.store.put(registering.record_source(self.model, self.origin, self.source, base))
        entries = [(name, self.memory.quants[name]) for name in names]
        quants = [registering.facts(name, entry, self.source, self.request) for name, entry in entries]
        if all("error" in quant for quant in quants):
            raise SlmDeskError.from_json(quants[0]["error"])
        return {
            "model": self.model,
            "source": {
                "path": str(self.origin),
                "quant": self.source.quant,
                "size_bytes": self.source.bytes,
                "parameters": self.source.parameters,
                **(base.to_json() if base is not None else {}),
            },
            "imatrix": self.memory.matrix or None,
            "warnings": list(warnings),
            "quants": quants,
        }

    def _text(self) -> TextFile:
        return measuring_text(self.kind.paths, self.source.header, self.request.text)

    def _groups(self, placed: dict[str, QuantMemory]) -> list[dict[str, QuantMemory]]:
        """Quants that are measured side by side: as many as fit into memory together with the source."""
        room = memory()[1] * _MEMORY_SHARE - self.source.bytes
        groups: list[dict[str, QuantMemory]] = []
        left = 0.0
        for name, entry in placed.items():
            if not groups or entry.size_bytes > left:
                groups.append({})
                left = room
            groups[-1][name] = entry
            left -= entry.size_bytes
        return groups

    async def _quality(self, number: int, group: dict[str, QuantMemory]) -> None:
        text = self._text()
        spec = QualitySpec(
            source=str(self.source.path),
            quants={name: entry.path for name, entry in group.items()},
            text=str(text.path),
            state=str(self.kept / f"quality-{number}.npz"),
            chunk=min(CHUNK, self.source.header.context_length or CHUNK),
            special=text.special,
            answers_only=text.special,  # a model trained on answers alone has no opinion on questions
            threads=self.request.options.threads,
        )
        found = QualityResult.from_json(await self._child(QuantizeStep("measure"), spec, "measuring"))
        await asyncio.to_thread(self.source.check_unchanged)
        self.memory.measured_source = Measured()
        models: list[tuple[Measured, Quality]] = [(self.memory.measured_source, found.source)]
        models += [(group[name], figures) for name, figures in found.quants.items()]
        for entry, figures in models:
            entry.take(figures)
            entry.text, entry.text_sha256, entry.chunks = text.name, text.digest(), found.chunks
        for name, made in group.items():
            made.source_perplexity = found.source.perplexity
            await self._register(name, made)
        await self._remember()


class MeasureOnly(Measuring):
    """A run that makes nothing: it measures files that are there against the source they are (or may be) of."""

    async def run(self) -> dict[str, Any]:
        await self.job.checkpoint()
        await asyncio.to_thread(self.kept.mkdir, parents=True, exist_ok=True)
        self.source = await self._source()
        if not self.memory.quants:
            paths = [Path(path) for path in self.job.parameters["measure"]]
            self.memory.quants = await asyncio.to_thread(registering.all_found, paths, self.source)
        await self._plan()
        await self._measure()
        return await self._told_result(list(self.memory.quants), ())

    async def _plan(self) -> None:
        """How long it takes. Raises `text_too_short` before anything is measured."""
        sizes = {name: entry.size_bytes for name, entry in self.memory.quants.items()}
        steps = await self._unless_cancelled(
            planning.measuring_steps(
                self.source, sizes, self._text(), self.request.options.threads, await self.kind.store.paces()
            )
        )
        known = self.memory.steps
        entries = [
            next((entry for entry in known if entry.is_of(step)), StepMemory.of(step)) for step in steps
        ]
        self.steps = [step for step, entry in zip(steps, entries, strict=True) if entry.state != "done"]
        self.memory.steps = [*(entry for entry in known if entry.name == "convert"), *entries]
        await self._remember()
