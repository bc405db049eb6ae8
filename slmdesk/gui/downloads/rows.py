"""One job on the Downloads page: under way, failed, or done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from PySide6.QtWidgets import QHBoxLayout

from slmdesk.core import amounts
from slmdesk.gui.downloads import words
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.progress import ProgressRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.widgets.progress import JobState

_STATES: dict[str, JobState] = {
    "queued": "queued",
    "running": "running",
    "paused": "paused",
    "interrupted": "paused",
}


class JobActions(Protocol):
    """What can be done with a job, or with several."""

    def kept(self, job: Job) -> str: ...
    def pause(self, job: Job) -> None: ...
    def resume(self, job: Job, *, here: bool = False) -> None: ...
    def cancel(self, job: Job, *, keep: bool = False) -> None: ...
    def move(self, job: Job, where: Literal["first", "up", "down", "last"]) -> None: ...
    def copy_log(self, job: Job) -> None: ...
    def chat(self, job: Job) -> None: ...
    def quantize(self, job: Job) -> None: ...
    def show_folder(self, job: Job) -> None: ...
    def help(self, job: Job) -> None: ...
    def forget(self, jobs: Sequence[Job]) -> None: ...


class ActiveRow(ProgressRow):
    """A job that runs, waits or is paused."""

    def __init__(self, theme: Theme, job: Job, actions: JobActions) -> None:
        super().__init__(theme, job.title or job.kind, icon=words.running_icon(job))
        self.job = job
        self._actions = actions
        self._kept = Label(theme, role="small", tone="secondary", wrap=True)
        self._here = Button(theme, "Use what counts today", kind="link", small=True)
        self._here.clicked.connect(lambda: actions.resume(self.job, here=True))
        self._more = IconButton(theme, "menu", f"More about {job.title}")
        self._more.clicked.connect(self._open_menu)
        self.buttons.addWidget(self._more)
        self._problem = Label(theme, role="small", tone="caution", wrap=True)
        self._problem.hide()
        self._help = Button(theme, "Try again", small=True)
        self._help.clicked.connect(lambda: actions.help(self.job))
        self._help.hide()
        foot = QHBoxLayout()
        foot.addWidget(self._help)
        foot.addWidget(self._here)
        foot.addStretch(1)
        self.body.addWidget(self._kept)
        self.body.addWidget(self._problem)
        self.body.addLayout(foot)
        self.pause.connect(lambda: actions.pause(self.job))
        self.resume.connect(lambda: actions.resume(self.job))
        self.cancel.connect(self._cancel)
        self.show_job(job)
        self.show_kept(actions.kept(job))

    def show_kept(self, kept: str) -> None:
        """Show where the job differs from what it would be made with today; "" where it does not."""
        self._kept.setText(words.kept_words(kept))
        self._kept.setVisible(bool(kept))
        self._here.setVisible(bool(kept) and self.job.state in {"queued", "paused", "interrupted"})

    def show_job(self, job: Job) -> None:
        """Show the job as it is now."""
        self.job = job
        self.rename(job.title or job.kind)
        running = job.state == "running" and not job.wish
        self.set_progress(
            words.share_of(job),
            words.now_words(job),
            rate=amounts.rate(job.rate) if running and job.rate and words.in_bytes(job) else "",
            remaining=f"{amounts.duration(job.remaining)} left" if running and job.remaining else "",
        )
        self.set_state(_STATES.get(job.state, "queued"))
        self.set_ending(job.state == "cancelled" or bool(job.wish))
        problem = words.problem_words(job)
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        helps = words.help_for(job.error)
        self._help.setText("Go on now" if helps == "retry" else words.HELP_WORDS[helps])
        self._help.setVisible(bool(problem))
        self._more.setEnabled(job.state != "cancelled")

    def _cancel(self) -> None:
        if not self.job.done or not words.in_bytes(self.job):
            self._actions.cancel(self.job)
            return
        menu = Menu(self.theme, parent=self)
        came = amounts.size(self.job.done)
        cancel = self._actions.cancel
        menu.add(f"Cancel and delete the {came} that came", lambda: cancel(self.job), icon="delete")
        menu.add("Cancel and keep what came", lambda: cancel(self.job, keep=True), icon="archive")
        menu.open_below(self._stop)

    def _open_menu(self) -> None:
        menu = Menu(self.theme, parent=self)
        actions = self._actions
        menu.add("To the front", lambda: actions.move(self.job, "first"), icon="arrow-up")
        menu.add("Up", lambda: actions.move(self.job, "up"), icon="chevron-up")
        menu.add("Down", lambda: actions.move(self.job, "down"), icon="chevron-down")
        menu.add("To the end", lambda: actions.move(self.job, "last"), icon="arrow-down")
        menu.addSeparator()
        menu.add("Copy its log", lambda: actions.copy_log(self.job), icon="copy", enabled=bool(self.job.log))
        menu.open_below(self._more)


class EndedRow(CardRow):
    """A job that is done, with what can be done with what it brought; or one that failed, with what helps."""

    def __init__(self, theme: Theme, job: Job, actions: JobActions) -> None:
        super().__init__(theme, job.title or job.kind, "…")
        self.job = job
        self._actions = actions
        self._kept = actions.kept(job)
        failed = job.state == "failed"
        mark = Icon(
            theme,
            "error" if failed else "good",
            colour="bad" if failed else "good",
            meaning="Failed" if failed else "Done",
        )
        row = self.layout()
        assert isinstance(row, QHBoxLayout)
        row.insertWidget(0, mark)
        for text, icon, act in self._offers():
            button = Button(theme, text, icon=icon, small=False)
            button.setAccessibleName(f"{text}: {job.title}")
            button.clicked.connect(lambda _checked, act=act: act(self.job))
            self.trailing.addWidget(button)
        if not failed and words.folder(job):
            show = IconButton(theme, "folder", f"Show {job.title} in its folder")
            show.clicked.connect(lambda: actions.show_folder(self.job))
            self.trailing.addWidget(show)
        away = IconButton(theme, "close", f"Take {job.title} off the list")
        away.clicked.connect(lambda: actions.forget([self.job]))
        self.trailing.addWidget(away)
        row.setContentsMargins(SPACE.large, SPACE.medium, SPACE.medium, SPACE.medium)
        self.setMinimumHeight(MEASURE.control + 2 * SPACE.medium)
        self.show_job(job)

    def show_job(self, job: Job) -> None:
        """Show the job as it is now."""
        self.job = job
        self.title.setText(job.title or job.kind)
        self._say()
        if job.state == "failed":
            self.text.set_tone("bad")

    def tell_time(self) -> None:
        """Say anew how long ago it was."""
        self._say()

    def show_kept(self, kept: str) -> None:
        """As `ActiveRow.show_kept`."""
        self._kept = kept
        self._say()

    def _say(self) -> None:
        problem = words.problem_words(self.job)
        kept = words.kept_words(self._kept) if self.job.state == "failed" else ""
        self.text.setText(f"{problem} {kept}".strip() or words.done_words(self.job))

    def _offers(self) -> list[tuple[str, str, Callable[[Job], None]]]:
        """Words, icon and what is done."""
        job, actions = self.job, self._actions
        offers: list[tuple[str, str, Callable[[Job], None]]] = []
        if job.state == "failed":
            if self._kept:
                offers.append(("Try again as of today", "", partial(actions.resume, here=True)))
            return [*offers, (words.HELP_WORDS[words.help_for(job.error)], "", actions.help)]
        if words.runnable(job):
            offers.append(("Chat", "chat", actions.chat))
        if job.kind != "quantize" and words.source(job):
            offers.append(("Quantize", "quantize", actions.quantize))
        return offers


JobRow = ActiveRow | EndedRow


def make_row(theme: Theme, job: Job, section: Section, actions: JobActions) -> JobRow:
    """The row that suits where the job stands."""
    return ActiveRow(theme, job, actions) if section == "active" else EndedRow(theme, job, actions)
