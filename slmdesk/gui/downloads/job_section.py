"""One part of the Downloads page: what is under way, what needs the person, or what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.gui.downloads.rows import EndedRow, make_row
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import GroupCard
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.downloads.rows import JobActions, JobRow
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.theme import Theme

TITLES: dict[Section, str] = {"active": "Under way", "failed": "Needs you", "done": "Done"}
AT_FIRST = 20
"""Rows of a section before “Show more”."""
A_TURN = 3
"""Rows built in one turn of the event loop."""


class JobSection(QWidget):
    """A heading, a card of rows, and a way to see more of them."""

    def __init__(self, theme: Theme, section: Section, actions: JobActions) -> None:
        super().__init__()
        self._theme = theme
        self._actions = actions
        self._section = section
        self._most = AT_FIRST
        self._jobs: list[Job] = []
        self._rows: dict[str, JobRow] = {}
        self._heading = Label(theme, TITLES[section], role="emphasis")
        self._clear = Button(theme, "Clear the list", kind="link", small=True)
        self._clear.clicked.connect(lambda: actions.forget(self._jobs))
        if section != "done":
            self._clear.hide()
        self._card = GroupCard(theme)
        self._more = Button(theme, "", kind="quiet", small=True)
        self._more.clicked.connect(self._show_more)
        self._more.hide()
        top = QHBoxLayout()
        top.addWidget(self._heading)
        top.addStretch(1)
        top.addWidget(self._clear)
        layout = vbox(self, margins=(0, 0, 0, SPACE.large), spacing=SPACE.small)
        layout.addLayout(top)
        layout.addWidget(self._card)
        layout.addWidget(self._more, 0, Qt.AlignmentFlag.AlignLeft)
        self._later = QTimer(self)
        self._later.setInterval(0)
        self._later.timeout.connect(self._build)
        self.hide()

    @property
    def rows(self) -> list[JobRow]:
        return [self._rows[job.id] for job in self._jobs if job.id in self._rows]

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        self._jobs = list(jobs)
        known = {job.id for job in jobs[: self._most]}
        gone = [job_id for job_id in self._rows if job_id not in known]
        leaving = [self._rows.pop(job_id) for job_id in gone]
        for job in jobs:
            row = self._rows.get(job.id)
            if row is not None and row.job != job:
                row.show_job(job)
                row.show_kept(self._actions.kept(job))
        self._arrange()
        for row in leaving:
            let_go(row, self)
        self.setVisible(bool(jobs))
        self._build()

    def show_kept(self) -> None:
        """What the jobs would be made with today is another now."""
        for row in self.rows:
            row.show_kept(self._actions.kept(row.job))

    def tell_times(self) -> None:
        """How long ago the jobs ended is another now."""
        for row in self.rows:
            if isinstance(row, EndedRow):
                row.tell_time()

    def _show_more(self) -> None:
        self._most += AT_FIRST
        self._build()

    def _build(self) -> None:
        """Build a few of the rows that are missing; the rest follows when the window has drawn these."""
        missing = [job for job in self._jobs[: self._most] if job.id not in self._rows]
        for job in missing[:A_TURN]:
            self._rows[job.id] = make_row(self._theme, job, self._section, self._actions)
        if missing:
            self._arrange()
        if len(missing) > A_TURN:
            self._later.start()
        else:
            self._later.stop()
        left = len(self._jobs) - self._most
        self._more.setText(f"Show {min(left, AT_FIRST)} more of {left}")
        self._more.setVisible(left > 0)

    def _arrange(self) -> None:
        self._card.set_rows(self.rows)
