"""What the Quantize page does: looks at sources, forecasts, starts jobs, reads results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.quants import FULL_PRECISION, QUANTS, USUAL
from slmdesk.gui.opening import open_path
from slmdesk.gui.quantize import presets
from slmdesk.gui.tasks import in_thread
from slmdesk.quantize.request import AUTO, BY_TARGETS, NONE, Request
from slmdesk.quantize.targets import TARGETS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine
    from typing import Any

    from slmdesk.application import Application
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.looking import SourceOffer, Subject
    from slmdesk.quantize.planning import QuantForecast, QuantizePlan
    from slmdesk.quantize.recommending import Recommendation
    from slmdesk.quantize.results import ResultRow
    from slmdesk.quantize.room import Quantizing
    from slmdesk.quantize.source import SourceGguf

REST_S = 0.25
"""A forecast waits so long for the next change."""


class QuantizeView(Protocol):
    """What the controller shows."""

    def show_offers(self, offers: list[SourceOffer], current: str) -> None: ...
    def show_subject(self, subject: Subject) -> None: ...
    def show_refused(self, error: SlmDeskError) -> None: ...
    def show_advice(self, advice: Recommendation | None, size: int) -> None: ...
    def show_targets(self) -> None: ...
    def show_plan(self, plan: QuantizePlan | None, problem: SlmDeskError | None) -> None: ...
    def show_results(self, rows: list[ResultRow]) -> None: ...
    def show_job(self, job: Job | None) -> None: ...
    def start_failed(self, error: SlmDeskError) -> None: ...


class QuantizeController:
    """One source at a time.

    Attributes:
        subject: the source, or None.
        request: what is asked for now; its model is the source.
        advice: the recommendation, or None.
        forecasts: by quant, as far as they are known.
        shown: the targets in the open table.
    """

    def __init__(self, services: WindowServices, view: QuantizeView) -> None:
        self._services = services
        self._view = view
        self.subject: Subject | None = None
        self.advice: Recommendation | None = None
        self.request = Request("", ())
        self.forecasts: dict[str, QuantForecast] = {}
        self.shown: frozenset[str] = frozenset()
        self.job_id = ""
        self._job: Job | None = None  # the one that is shown
        self._tasks: dict[str, asyncio.Task[object]] = {}
        self._seen: tuple[object, ...] = ()
        self._wanted = ""
        services.jobs.changed.connect(self.follow_jobs)

    @property
    def _application(self) -> Application:
        return self._services.application

    @property
    def _room(self) -> Quantizing:
        return self._services.application.quantizing

    async def _load(self) -> None:
        """What looks into models and plans is imported in a thread: it takes several frames."""
        from importlib import import_module

        await in_thread(import_module, "slmdesk.gui.quantize.looking")
        await in_thread(import_module, "slmdesk.gui.quantize.options")

    @property
    def source_quant(self) -> str:
        return self.subject.quant if self.subject is not None else ""

    # Sources

    def refresh(self) -> None:
        """List the library again; the first time, take the last source, or the first one."""
        self._do("offers", self._offers())

    async def _offers(self) -> None:
        await self._load()
        from slmdesk.gui.quantize import looking

        found = looking.offers(await self._application.library.models(every_format=True))
        current = self.subject.id if self.subject is not None else self._wanted
        self._view.show_offers(found, current)
        if self.subject is None and not self._wanted and found:
            remembered = self._services.state.get("quantize.source")
            known = {offer.id for offer in found}
            self.choose(remembered if isinstance(remembered, str) and remembered in known else found[0].id)

    def choose(self, reference: str) -> None:
        """Take a source: a library id, a GGUF file, a safetensors folder, or a repository on the hub (its name or
        address)."""
        if reference:
            self._wanted = reference
            self._do("source", self._choose(reference))

    async def _choose(self, reference: str) -> None:
        await self._load()
        try:
            subject = await self._look(reference)
        except SlmDeskError as error:
            self.subject = None
            self._view.show_refused(error)
            return
        self.subject = subject
        self.advice, self.forecasts = None, {}
        self.request = replace(self.request, model=subject.id, targets=())
        self._services.state.set("quantize.source", reference)
        self._view.show_subject(subject)
        await self._advise(subject)
        await self._results(subject)

    async def _look(self, reference: str) -> Subject:
        from slmdesk.catalog import names
        from slmdesk.gui.quantize import looking

        library = self._application.library
        path = reference
        if reference.lower().endswith(".safetensors"):
            path = str(Path(reference).parent)  # one file of it stands for the folder
        known = {file.id: file for model in await library.models(every_format=True) for file in model.files}
        file = known.get(path) or next((f for f in known.values() if str(f.path) == path), None)
        try:
            origin = await self._room.origin(str(file.path) if file is not None else path)
        except SlmDeskError as error:
            wanted = names.read(reference)
            if error.code != "model_not_found" or not (wanted.repo or wanted.bare):
                raise
            return await self._look_on_hub(wanted.repo or wanted.bare, wanted.revision)
        converter = await in_thread(self._converter) if origin.needs_conversion else ""
        return await in_thread(looking.look, reference, origin, file, converter)

    async def _look_on_hub(self, repo: str, revision: str) -> Subject:
        """A repository: what of it would be downloaded. Where the library has it, that is meant."""
        from slmdesk.gui.quantize import looking

        found = await self._application.hub_quantizing.look(repo, revision=revision)
        converter = await in_thread(self._converter) if found.choice.kind != "gguf" else ""
        return looking.on_hub(found, self._application.paths.models, converter)

    def _converter(self) -> str:
        """What is to be said of the converter before it is made; "" once it is there. Reads a small file."""
        from slmdesk.toolchains.toolchains import Toolchains

        status = Toolchains(self._application.paths, self._services.settings).status("convert")
        return status.announcement if status.state != "ready" else ""

    async def _advise(self, subject: Subject) -> None:
        from slmdesk.quantize.recommending import first_quant

        size = 0
        if subject.source is None:
            quant = first_quant(subject.parameters)
            size = QUANTS[quant].bytes_of(subject.parameters)
            self.request = replace(self.request, targets=(quant,))
            self._view.show_advice(None, size)
            self.forecast()
            return
        try:
            self.advice = (
                await self._room.recommend(subject.model, self._services.settings)
                if subject.origin.model
                else (await self._room.recommend(str(subject.origin.path), self._services.settings))
            )
        except SlmDeskError:
            self.advice = (
                None  # its architecture is told too little of: every target is offered, none advised
            )
        quant = self.advice.quant if self.advice is not None else _ticked(subject.source)
        if self.advice is not None:
            size = self.advice.bytes
        elif quant:
            size = QUANTS[quant].bytes_of(subject.parameters)
        self.request = replace(self.request, targets=(quant,) if quant else ())
        self._view.show_advice(self.advice, size)
        self.forecast(at_once=True)

    # Targets and forecasts

    def tick(self, quant: str) -> None:
        """Take a target, or leave it."""
        names = set(self.request.targets) ^ {quant}
        chosen = [target for target in TARGETS.values() if target.name in names]
        changes: dict[str, Any] = {"targets": tuple(target.name for target in chosen)}
        if self.request.imatrix == NONE and any(target.needs_matrix for target in chosen):
            changes["imatrix"] = BY_TARGETS  # without one llama.cpp refuses; the field below shows it
        self.change(**changes)

    def change(self, **changes: Any) -> None:
        """Ask for something else; the forecast follows."""
        before = self.request
        self.request = replace(before, **changes)
        if {"options", "imatrix", "pattern", "output"} & set(changes) and self.request != before:
            self.forecasts = {}
        self._view.show_targets()
        self.forecast()

    def open_table(self, shown: frozenset[str]) -> None:
        """The table shows these targets: they are looked at, too."""
        self.shown = shown
        if shown:
            self.forecast(at_once=True)

    def forecast(self, *, at_once: bool = False) -> None:
        self._do("forecast", self._forecast(0.0 if at_once else REST_S))

    async def _forecast(self, rest: float) -> None:
        from asyncio import sleep

        await sleep(rest)
        subject, request = self.subject, self.request
        if subject is None:
            return
        if subject.source is None or not request.targets:
            self._view.show_plan(None, None)
            self._view.show_targets()
            if subject.source is not None and self.shown:
                await self._forecast_rest(subject, replace(request, model=str(subject.origin.path)))
            return
        request = replace(request, model=str(subject.origin.path))
        try:
            plan = await self._room.forecast(request)
        except SlmDeskError as error:
            self._view.show_plan(None, error)
        else:
            self._take(subject, plan)
            self._view.show_plan(plan, None)
        if self.shown:
            await self._forecast_rest(subject, request)

    async def _forecast_rest(self, subject: Subject, request: Request) -> None:
        """The targets that are not asked for, for the table."""
        missing = [
            target
            for target in TARGETS.values()
            if target.name in self.shown and target.name not in self.forecasts
        ]
        for needs in (False, True):
            names = tuple(target.name for target in missing if target.needs_matrix == needs)
            if not names:
                continue
            matrix = request.imatrix
            if needs and request.matrix == NONE:
                matrix = AUTO
            try:
                found = await self._room.forecast(
                    replace(request, targets=names, imatrix=matrix, measure=False)
                )
            except SlmDeskError:
                continue  # the plan says what is wrong; the table keeps its estimates
            self._take(subject, found)

    def _take(self, subject: Subject, found: QuantizePlan) -> None:
        if self.subject is subject:
            self.forecasts.update({quant.quant: quant for quant in found.quants})
            self._view.show_targets()

    # Running

    def start(self) -> None:
        self._do("start", self._start())

    async def _start(self) -> None:
        subject = self.subject
        if subject is None:
            return
        try:
            if subject.hub:
                job = await self._start_from_hub(subject)
            else:
                job = await self._room.start(replace(self.request, model=str(subject.origin.path)))
        except SlmDeskError as error:
            self._view.start_failed(error)
            return
        self.job_id = job.id
        self._show_job(job)

    async def measurable(self) -> list[Path]:
        """The quants of the source that nobody measured yet."""
        subject = self.subject
        return await self._room.measurable(subject.origin) if subject is not None and not subject.hub else []

    def measure(self, files: list[Path]) -> None:
        """Measure files that are there against the source."""
        self._do("start", self._measure(files))

    async def _measure(self, files: list[Path]) -> None:
        subject = self.subject
        if subject is None:
            return
        request = self.request
        try:
            job = await self._room.measure(
                str(subject.origin.path), files, text=request.text, threads=request.options.threads
            )
        except SlmDeskError as error:
            self._view.start_failed(error)
            return
        self.job_id = job.id
        self._show_job(job)

    async def _start_from_hub(self, subject: Subject) -> Job:
        """The download and, when it is done, the quantizing: the job of the latter."""
        request = replace(self.request, model=subject.id)
        _, job = await self._application.hub_quantizing.start(request)
        source = Path(str(job.parameters["source"]))
        self.subject = replace(subject, origin=replace(subject.origin, path=source))
        return job

    def follow_jobs(self) -> None:
        """Show the job of this source, or whichever is under way."""
        jobs = [job for job in self._services.jobs.jobs if job.kind == "quantize"]
        own = next((job for job in jobs if job.id == self.job_id), None)
        under_way = next((job for job in jobs if not job.ended), None)
        job = own if own is not None and (not own.ended or under_way is None) else under_way or own
        if job is not None and not self.job_id:
            self.job_id = job.id
        self._show_job(job)
        if job is None or self.subject is None:
            return
        quants = job.memory.get("quants", {})
        seen = (
            job.id,
            job.state,
            *((name, entry.get("state"), "perplexity" in entry) for name, entry in quants.items()),
        )
        if seen != self._seen:
            self._seen = seen
            if job.state == "done":
                self._application.library.forget_listing()
                self.forecast()  # what was made is there now, and the times are known better
                if self.subject.hub:
                    self.choose(self.subject.id)  # it is in the library now
                    return
            self._do("results", self._results(self.subject))

    # The job that is shown

    def _show_job(self, job: Job | None) -> None:
        self._job = job
        self._view.show_job(job)

    def pause(self) -> None:
        if self._job is not None:
            self._do("job", self._application.jobs.pause(self._job.id))

    def resume(self) -> None:
        """Go on with it, or try again."""
        if self._job is not None:
            self._do("job", self._application.jobs.resume(self._job.id))

    def cancel(self) -> None:
        if self._job is not None:
            self._do("job", self._application.jobs.cancel(self._job.id))

    def show_folder(self) -> None:
        """Show what it makes in the system's file manager."""
        if self._job is not None:
            open_path(str(self._job.parameters.get("output", "")))

    def chat(self) -> None:
        """Begin a chat with the first quant that it made."""
        made = ((self._job.result if self._job is not None else None) or {}).get("quants", [])
        path = next((str(quant["path"]) for quant in made if quant.get("path")), "")
        if path:
            self._services.run(self._chat(path), "opening a chat")

    async def _chat(self, path: str) -> None:
        file = await self._application.library.resolve(path)
        self._services.visit.chat_with(file.id)

    # Presets

    def save_preset(self) -> None:
        """Save what is asked for now, for others or for later."""
        self._services.run(presets.save(self._services, self.request), "save a preset")

    def open_preset(self) -> None:
        """Ask for what a file says."""
        self._services.run(self._open_preset(), "open a preset")

    async def _open_preset(self) -> None:
        path = await presets.choose(self._services)
        if path is not None:
            await self.take_preset(path)

    async def take_preset(self, path: Path) -> None:
        """Ask for what a preset file says. Raises `preset_unreadable`, …"""
        self.change(**await presets.read(path, self.request))

    # Results

    async def _results(self, subject: Subject) -> None:
        recommended = self.advice.quant if self.advice is not None else ""
        rows = await self._room.rows(subject.origin, recommended)
        if self.subject is subject:
            self._view.show_results(rows)

    def _do(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        """One task of each kind; a newer one takes the place of the one before."""
        before = self._tasks.get(what)
        if before is not None:
            before.cancel()
        self._tasks[what] = self._services.run(work, f"quantize: {what}")


def _ticked(source: SourceGguf) -> str:
    """What is ticked where nothing can be advised: the usual quant, where it is clearly less than the source."""
    from slmdesk.quantize.recommending import CLEARLY_LESS, bits_of

    less = source.quant in FULL_PRECISION or QUANTS[USUAL].bits < CLEARLY_LESS * bits_of(source)
    return USUAL if less else ""
