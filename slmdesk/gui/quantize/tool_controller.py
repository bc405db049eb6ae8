"""What happens between the sheet of single steps and the file tools: plans, jobs, a look into a matrix."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.opening import open_path
from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from typing import Any

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.tool_forms import FormEntry, ToolForm
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan
    from slmdesk.quantize.file_tools.tool_requests import ToolRequest

REST_S = 0.3
"""A plan waits so long for the next letter."""


class ToolView(Protocol):
    """What the controller shows."""

    def show_offers(self, models: Sequence[tuple[str, str]], folders: Sequence[tuple[str, str]]) -> None: ...
    def show_plan(self, plan: ToolPlan | None, problem: SlmDeskError | None = None) -> None: ...
    def show_words(self, words: str) -> None: ...
    def show_problem(self, error: SlmDeskError) -> None: ...
    def show_job(self, job: Job | None) -> None: ...
    def show_matrix(self, found: dict[str, Any] | None) -> None: ...
    def allow_start(self, *, on: bool) -> None: ...
    def take_path(self, key: str, path: str) -> None: ...


class ToolController:
    """One tool at a time, and the job that it was started as."""

    def __init__(self, services: WindowServices, view: ToolView) -> None:
        self._services = services
        self._view = view
        self._job: Job | None = None
        self._tasks: dict[str, asyncio.Task[object]] = {}
        services.jobs.changed.connect(self._follow)

    def refresh(self) -> None:
        """List the library's models for the fields."""
        self._do("offers", self._offers())

    async def _offers(self) -> None:
        models = await self._services.application.library.models(every_format=True)
        files = [file for model in models for file in model.files if file.problem is None]
        self._view.show_offers(
            [(file.id, file.id) for file in files if file.format == "gguf"],
            [(file.id, file.id) for file in files if file.format == "safetensors"],
        )

    def stop(self) -> None:
        """End what is only looked at; jobs go on."""
        for task in self._tasks.values():
            task.cancel()

    def choose_path(self, entry: FormEntry, *, folder: bool) -> None:
        """Ask for what goes into a field."""
        self._services.run(self._choose_path(entry, folder=folder), "choosing a file")

    async def _choose_path(self, entry: FormEntry, *, folder: bool) -> None:
        from slmdesk.gui import dialogs

        window = self._services.window()
        if folder:
            path = await dialogs.choose_folder(window, entry.label)
        else:
            path = await dialogs.open_file(window, entry.label, kinds=entry.kinds)
        if path is not None:
            self._view.take_path(entry.key, str(path))

    # What will come out

    def begin(self) -> None:
        """Another tool is chosen: the job of the one before is shown no more."""
        self._show_job(None)

    def plan(self, form: ToolForm, values: Mapping[str, str], *, complete: bool) -> None:
        """Show what would come of these values; with `complete` nothing that is needed is missing."""
        self._view.allow_start(on=False)
        self._do("plan", self._plan(form, values, complete=complete))

    async def _plan(self, form: ToolForm, values: Mapping[str, str], *, complete: bool) -> None:
        view = self._view
        view.show_plan(None)
        if not complete:
            return
        if form.wish is None:
            view.allow_start(on=True)
            return
        await asyncio.sleep(REST_S)
        if (wish := self._wish(form, values)) is None:
            return
        view.show_words("Working out what comes of it …")
        try:
            plan = await self._services.application.file_tools.plan(wish)
        except SlmDeskError as error:
            view.show_plan(None, error)
            return
        view.show_plan(plan)
        there = [file.path.name for file in plan.files if await in_thread(file.path.exists)]
        if there:
            view.show_problem(
                SlmDeskError(
                    "output_exists",
                    f"{there[0]} is there already, in {plan.folder}.",
                    "Remove it first, if you no longer want it.",
                )
            )
            return
        view.allow_start(on=self._job is None or self._job.ended)

    def _wish(self, form: ToolForm, values: Mapping[str, str]) -> ToolRequest | None:
        """What is asked for now; what cannot be read is said."""
        assert form.wish is not None
        try:
            return form.wish(values)
        except ValueError as error:
            self._view.show_words(str(error))
            return None

    # Doing it

    def start(self, form: ToolForm, values: Mapping[str, str]) -> None:
        """The one click."""
        self._view.allow_start(on=False)
        self._do("start", self._look(values) if form.wish is None else self._start(form, values))

    async def _start(self, form: ToolForm, values: Mapping[str, str]) -> None:
        if (wish := self._wish(form, values)) is None:
            return
        try:
            job = await self._services.application.file_tools.start(wish)
        except SlmDeskError as error:
            self._view.show_problem(error)
            self._view.allow_start(on=True)
            return
        self._view.show_words("")
        self._show_job(job)

    async def _look(self, values: Mapping[str, str]) -> None:
        """What a matrix holds: nothing is written."""
        view = self._view
        view.show_words("Looking into it …")
        try:
            found = await self._services.application.file_tools.statistics(
                values["source"], values.get("model", "")
            )
        except SlmDeskError as error:
            view.show_matrix(None)
            view.show_plan(None, error)
        else:
            view.show_words("")
            view.show_matrix(found)
        finally:
            view.allow_start(on=True)

    def _follow(self) -> None:
        before = self._job
        job = self._services.jobs.get(before.id) if before is not None else None
        if before is None or job is None:
            return
        self._show_job(job)
        if job.ended and not before.ended:
            self._services.application.library.forget_listing()
            self.refresh()
            self._view.allow_start(on=job.state in {"failed", "cancelled"})

    def _show_job(self, job: Job | None) -> None:
        self._job = job
        self._view.show_job(job)

    def pause(self) -> None:
        if self._job is not None:
            self._do("job", self._services.application.jobs.pause(self._job.id))

    def resume(self) -> None:
        if self._job is not None:
            self._do("job", self._services.application.jobs.resume(self._job.id))

    def cancel(self) -> None:
        if self._job is not None:
            self._do("job", self._services.application.jobs.cancel(self._job.id))

    def show_folder(self) -> None:
        """Show what the tool made in the system's file manager."""
        if self._job is not None and self._job.result:
            open_path(Path(str(self._job.result.get("path", ""))).parent)

    def _do(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        """One task of each kind; a newer one takes the place of the one before."""
        before = self._tasks.get(what)
        if before is not None:
            before.cancel()
        self._tasks[what] = self._services.run(work, f"single steps: {what}")
