"""Single steps: one tool at a time, what it needs, what will come out, and how far it is."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout

from slmdesk.gui.quantize.matrix_table import MatrixTable
from slmdesk.gui.quantize.tool_controller import ToolController
from slmdesk.gui.quantize.tool_fields import FormFields
from slmdesk.gui.quantize.tool_forms import FORMS, form_of
from slmdesk.gui.quantize.tool_result import ToolResultPanel
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.tool_forms import ToolForm
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan


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
        self.controller = controller = ToolController(services, self)
        self._models: list[tuple[str, str]] = []
        self._folders: list[tuple[str, str]] = []
        self.tools = Select(theme, [(form.id, form.title) for form in FORMS])
        self.tools.chosen.connect(self.choose)
        self._about = Label(theme, "", tone="secondary", wrap=True)
        self.fields = FormFields(theme, FORMS[0])
        self.result = ToolResultPanel(theme)
        self.result.pause_wanted.connect(controller.pause)
        self.result.resume_wanted.connect(controller.resume)
        self.result.cancel_wanted.connect(controller.cancel)
        self.result.folder_wanted.connect(controller.show_folder)
        self.run = Button(theme, FORMS[0].verb, kind="primary", icon=FORMS[0].icon)
        self.run.clicked.connect(self.start)
        self.matrix = MatrixTable(theme)
        card = Pane(theme, kind="card")
        self._column = vbox(card, margins=SPACE.large, spacing=SPACE.medium)
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
        self.fields.path_wanted.connect(self._choose_path)
        for one, other in pairwise([self.tools, *self.fields.chain, self.run]):
            self.setTabOrder(one, other)
        self._about.setText(form.about)
        self.run.setText(form.verb)
        self.run.set_icon(form.icon)
        self.matrix.hide()
        self.controller.begin()
        self.tools.setFocus(Qt.FocusReason.OtherFocusReason)
        self._plan()

    def start(self) -> None:
        """The one click."""
        if self.run.isEnabled():
            self.controller.start(self.form, self.fields.values)

    def _plan(self) -> None:
        self.controller.plan(self.form, self.fields.values, complete=self.fields.complete)

    def _choose_path(self, key: str, folder: bool) -> None:
        entry = next(entry for entry in self.form.entries if entry.key == key)
        self.controller.choose_path(entry, folder=folder)

    # What the controller shows

    def show_offers(self, models: Sequence[tuple[str, str]], folders: Sequence[tuple[str, str]]) -> None:
        self._models, self._folders = list(models), list(folders)
        self.fields.offer(self._models, self._folders)

    def show_plan(self, plan: ToolPlan | None, problem: SlmDeskError | None = None) -> None:
        self.result.show_plan(plan, problem)

    def show_words(self, words: str) -> None:
        self.result.say(words)

    def show_problem(self, error: SlmDeskError) -> None:
        self.result.show_problem(error)

    def show_job(self, job: Job | None) -> None:
        self.result.show_job(job)

    def show_matrix(self, found: dict[str, Any] | None) -> None:
        if found is None:
            self.matrix.hide()
        else:
            self.matrix.show_matrix(found)

    def allow_start(self, *, on: bool) -> None:
        self.run.setEnabled(on)

    def take_path(self, key: str, path: str) -> None:
        self.fields.take_path(key, path)
