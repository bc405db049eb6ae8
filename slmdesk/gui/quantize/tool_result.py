"""What a tool will bring, what it does now, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.downloads.words import now_words, share_of
from slmdesk.gui.quantize.step_card import NoticeLine
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.progress import ProgressRow

if TYPE_CHECKING:
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.theme import Theme
    from slmdesk.gui.widgets.progress import JobState
    from slmdesk.quantize.file_tools.tool_plan import ToolPlan

_STATES: dict[str, JobState] = {"running": "running", "paused": "paused", "interrupted": "paused"}


def plan_words(plan: ToolPlan) -> str:
    """ "3 files, 98 MB, in …/local/small"."""
    size = amounts.size(plan.bytes) if plan.exact else f"about {amounts.size(plan.bytes)}"
    files = plan.files[0].path.name if len(plan.files) == 1 else amounts.counted(len(plan.files), "file")
    return f"{files}, {size}, in …/{'/'.join(plan.folder.parts[-2:])}"


def result_words(result: dict[str, Any]) -> str:
    """What came out, with what is worth knowing of it."""
    files = result["files"]
    name = Path(str(files[0]["path"])).name
    parts = [f"{name}" if len(files) == 1 else amounts.counted(len(files), "file")]
    parts.append(amounts.size(int(result["size_bytes"])))
    if "chunks" in result and "entries" in result:
        parts.append(
            f"{amounts.counted(int(result['entries']), 'tensor')}, {result['chunks']} chunks of text"
        )
    if "changed" in result:
        parts.append(f"{amounts.counted(int(result['changed']), 'weight matrix', 'weight matrices')} changed")
    return ", ".join(parts) + "."


class ToolResultPanel(QWidget):
    """Signals:
    pause_wanted, resume_wanted, cancel_wanted: of the job that is shown.
    folder_wanted: where what it brought lies.
    """

    pause_wanted = Signal()
    resume_wanted = Signal()
    cancel_wanted = Signal()
    folder_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.job: Job | None = None
        self.plan = Label(theme, "", tone="secondary", wrap=True)
        self._warning = NoticeLine(theme, "attention", "caution")
        self._panel: ErrorPanel | None = None
        self._panel_place = QVBoxLayout()
        self.row = ProgressRow(theme, "Single step")
        self.row.pause.connect(self.pause_wanted)
        self.row.resume.connect(self.resume_wanted)
        self.row.cancel.connect(self.cancel_wanted)
        self.row.hide()
        self._end = QWidget()
        self._good = NoticeLine(theme, "good", "good")
        self._note = NoticeLine(theme, "attention", "caution")
        folder = Button(theme, "Show in folder", icon="folder", small=True)
        folder.clicked.connect(self.folder_wanted)
        across = hbox(self._end, margins=0, spacing=SPACE.medium)
        across.addWidget(self._good, 1, Qt.AlignmentFlag.AlignVCenter)
        across.addWidget(folder)
        self._end.hide()
        column = vbox(self, margins=0, spacing=SPACE.small)
        column.addWidget(self.plan)
        column.addWidget(self._warning)
        column.addLayout(self._panel_place)
        column.addWidget(self.row)
        column.addWidget(self._end)
        column.addWidget(self._note)

    @property
    def done_words(self) -> str:
        return "" if self._end.isHidden() else self._good.words.text()

    @property
    def error(self) -> SlmDeskError | None:
        found = self._panel.error if self._panel is not None else None
        return found if isinstance(found, SlmDeskError) else None

    def show_plan(self, plan: ToolPlan | None, problem: SlmDeskError | None = None) -> None:
        self.plan.setText(plan_words(plan) if plan is not None else "")
        self.plan.setToolTip(str(plan.folder) if plan is not None else "")
        self.plan.setVisible(plan is not None)
        self._warning.say(" ".join(plan.warnings) if plan is not None else "")
        self.show_problem(problem)

    def say(self, words: str) -> None:
        """A sentence in place of a plan."""
        self.show_plan(None)
        self.plan.setText(words)
        self.plan.setVisible(bool(words))

    def show_problem(self, error: SlmDeskError | None) -> None:
        if self._panel is not None:
            self._panel_place.removeWidget(self._panel)
            let_go(self._panel)
            self._panel = None
        if error is not None:
            self._panel = ErrorPanel(self.theme, error, closable=False)
            self._panel_place.addWidget(self._panel)

    def show_job(self, job: Job | None) -> None:
        """The job as it is now; None for none."""
        self.job = job
        active = job is not None and not job.ended
        self.row.setVisible(active)
        done = job is not None and job.state == "done" and bool(job.result)
        self._end.setVisible(done)
        self._good.say(result_words(job.result) if done and job is not None and job.result else "")
        note = str((job.result or {}).get("note", "")) if done and job is not None else ""
        self._note.say(note)
        if job is None:
            return
        if active:
            self.show_problem(None)
            self.row.rename(job.title)
            left = f"{amounts.duration(job.remaining)} left" if job.remaining else ""
            self.row.set_progress(share_of(job), now_words(job), remaining=left)
            self.row.set_state(_STATES.get(job.state, "queued"))
            self.row.set_ending(bool(job.wish))
        elif job.state == "failed":
            self.show_problem(job.error)
