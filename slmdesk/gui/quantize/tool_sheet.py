"""Single steps: one tool at a time, what it needs, what will come out, and how far it is."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.opening import open_path
from slmdesk.gui.quantize.matrix_table import MatrixTable
from slmdesk.gui.quantize.tool_fields import FormFields
from slmdesk.gui.quantize.tool_forms import FORMS, form_of
from slmdesk.gui.quantize.tool_result import ToolResultPanel
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.tool_forms import ToolForm
    from slmdesk.quantize.file_tools.tool_requests import ToolRequest

REST_S = 0.3
"""A plan waits so long for the next letter."""


class ToolSheet(Sheet):
    """Attributes:
    tools: which of them.
    fields: what the tool needs.
    result: what will come out, what is done, what came of it.
    matrix: what a matrix holds, where one was looked into.
    """

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services.theme, "Single steps", "Back to Quantize")
        theme = services.theme
        self._services = services
        self._job_id = ""
        self._tasks: dict[str, asyncio.Task[object]] = {}
        self._models: list[tuple[str, str]] = []
        self._folders: list[tuple[str, str]] = []
        self.tools = Select(theme, [(form.id, form.title) for form in FORMS])
        self.tools.chosen.connect(self.choose)
        self._about = Label(theme, "", tone="secondary", wrap=True)
        self.fields = FormFields(theme, FORMS[0])
        self.result = ToolResultPanel(theme)
        self.result.pause_wanted.connect(self._pause)
        self.result.resume_wanted.connect(self._resume)
        self.result.cancel_wanted.connect(self._cancel)
        self.result.folder_wanted.connect(self._show_folder)
        self.run = Button(theme, FORMS[0].verb, kind="primary", icon=FORMS[0].icon)
        self.run.clicked.connect(self.start)
        self.matrix = MatrixTable(theme)
        card = Pane(theme, kind="card")
        self._column = QVBoxLayout(card)
        self._column.setContentsMargins(SPACE.large, SPACE.large, SPACE.large, SPACE.large)
        self._column.setSpacing(SPACE.medium)
        self._column.addWidget(LabelledField(theme, "What to do", self.tools))
        self._column.addWidget(self._about)
        self._column.addWidget(self.fields)
        below = QHBoxLayout()
        below.addStretch(1)
        below.addWidget(self.run)
        self._column.addWidget(self.result)
        self._column.addLayout(below)
        self.body.addWidget(card)
        self.body.addWidget(self.matrix)
        services.jobs.changed.connect(self._follow)
        self.choose(FORMS[0].id)

    @property
    def form(self) -> ToolForm:
        return self.fields.form

    def choose(self, tool: str, values: Mapping[str, str] | None = None) -> None:
        """Show this tool's form, with what is known already."""
        form = form_of(tool)
        self.tools.set_value(form.id)
        before = self.fields
        kept = {"source": before.values["source"]} if form.id in {"split", "join", "imatrix"} else {}
        self.fields = FormFields(self.theme, form)
        self._column.replaceWidget(before, self.fields)
        let_go(before)
        self.fields.set_values({**kept, **(values or {})})
        self.fields.offer(self._models, self._folders)
        self.fields.changed.connect(self._plan)
        self.fields.path_wanted.connect(
            lambda key, what: self._services.run(self._choose_path(key, what), "choosing a file")
        )
        for one, other in pairwise([self.tools, *self.fields.chain, self.run]):
            self.setTabOrder(one, other)
        self._about.setText(form.about)
        self.run.setText(form.verb)
        self.run.set_icon(form.icon)
        self.matrix.hide()
        self._job_id = ""
        self.result.show_job(None)
        self.tools.setFocus(Qt.FocusReason.OtherFocusReason)
        self._plan()

    def refresh(self) -> None:
        """List the library's models for the fields."""
        self._do("offers", self._offers())

    def stop(self) -> None:
        """End what is only looked at; jobs go on."""
        for task in self._tasks.values():
            task.cancel()

    def start(self) -> None:
        """The one click."""
        if self.run.isEnabled():
            self.run.setEnabled(False)
            self._do("start", self._look() if self.form.wish is None else self._start())

    async def _offers(self) -> None:
        models = await self._services.application.library.models(every_format=True)
        files = [file for model in models for file in model.files]
        self._models = [(f.id, f.id) for f in files if f.format == "gguf" and f.problem is None]
        self._folders = [(f.id, f.id) for f in files if f.format == "safetensors" and f.problem is None]
        self.fields.offer(self._models, self._folders)

    # What will come out

    def _plan(self) -> None:
        self.run.setEnabled(False)
        self._do("plan", self._planned())

    async def _planned(self) -> None:
        self.result.show_plan(None)
        if not self.fields.complete:
            return
        if self.form.wish is None:
            self.run.setEnabled(True)
            return
        await asyncio.sleep(REST_S)
        if (wish := self._wish()) is None:
            return
        self.result.say("Working out what comes of it …")
        try:
            plan = await self._services.application.file_tools.plan(wish)
        except SlmDeskError as error:
            self.result.show_plan(None, error)
            return
        self.result.show_plan(plan)
        there = [file.path.name for file in plan.files if await asyncio.to_thread(file.path.exists)]
        if there:
            self.result.show_problem(
                SlmDeskError(
                    "output_exists",
                    f"{there[0]} is there already, in {plan.folder}.",
                    "Remove it first, if you no longer want it.",
                )
            )
            return
        self.run.setEnabled(self.result.job is None or self.result.job.ended)

    def _wish(self) -> ToolRequest | None:
        """What is asked for now; what cannot be read is said."""
        assert self.form.wish is not None
        try:
            return self.form.wish(self.fields.values)
        except ValueError as error:
            self.result.say(str(error))
            return None

    # Doing it

    async def _start(self) -> None:
        if (wish := self._wish()) is None:
            return
        try:
            job = await self._services.application.file_tools.start(wish)
        except SlmDeskError as error:
            self.result.show_problem(error)
            self.run.setEnabled(True)
            return
        self._job_id = job.id
        self.result.say("")
        self.result.show_job(job)

    async def _look(self) -> None:
        """What a matrix holds: nothing is written."""
        values = self.fields.values
        self.result.say("Looking into it …")
        try:
            found = await self._services.application.file_tools.statistics(
                values["source"], values.get("model", "")
            )
        except SlmDeskError as error:
            self.matrix.hide()
            self.result.show_plan(None, error)
        else:
            self.result.say("")
            self.matrix.show_matrix(found)
        finally:
            self.run.setEnabled(True)

    def _follow(self) -> None:
        job = self._services.jobs.get(self._job_id) if self._job_id else None
        if job is None:
            return
        before = self.result.job
        self.result.show_job(job)
        if job.ended and (before is None or not before.ended):
            self._services.application.library.forget_listing()
            self.refresh()
            self.run.setEnabled(job.state in {"failed", "cancelled"})

    def _pause(self) -> None:
        self._do("job", self._services.application.jobs.pause(self._job_id))

    def _resume(self) -> None:
        self._do("job", self._services.application.jobs.resume(self._job_id))

    def _cancel(self) -> None:
        self._do("job", self._services.application.jobs.cancel(self._job_id))

    def _show_folder(self) -> None:
        if (job := self.result.job) is not None and job.result:
            open_path(Path(str(job.result.get("path", ""))).parent)

    async def _choose_path(self, key: str, what: str) -> None:
        from slmdesk.gui import dialogs

        entry = next(entry for entry in self.form.entries if entry.key == key)
        window = self._services.window()
        if what == "folder":
            path = await dialogs.choose_folder(window, entry.label)
        else:
            path = await dialogs.open_file(window, entry.label, kinds=entry.kinds)
        if path is not None:
            self.fields.take_path(key, str(path))

    def _do(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        before = self._tasks.get(what)
        if before is not None:
            before.cancel()
        self._tasks[what] = self._services.run(work, f"single steps: {what}")
