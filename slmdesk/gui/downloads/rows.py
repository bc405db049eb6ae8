"""One job on the Downloads page: under way, failed, or done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.gui import amounts
from slmdesk.gui.downloads import words
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.progress import ProgressRow

if TYPE_CHECKING:
    from slmdesk.core.jobs import Job
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.widgets.progress import JobState

_STATES: dict[str, JobState] = {
    "queued": "queued",
    "running": "running",
    "paused": "paused",
    "interrupted": "paused",
}


class ActiveRow(ProgressRow):
    """A job that runs, waits or is paused.

    Signals:
        asked(str): "pause", "resume", "cancel", "cancel_keep", "first", "up", "down", "last", or a help of `words`.
    """

    asked = Signal(str)

    def __init__(self, theme: Theme, job: Job) -> None:
        super().__init__(theme, job.title or job.kind)
        self.job = job
        self._more = IconButton(theme, "menu", f"More about {job.title}")
        self._more.clicked.connect(self._open_menu)
        self.buttons.addWidget(self._more)
        self._problem = Label(theme, role="small", tone="caution", wrap=True)
        self._problem.hide()
        self._help = Button(theme, "Try again", small=True)
        self._help.clicked.connect(lambda: self.asked.emit(words.help_for(self.job.error)))
        self._help.hide()
        foot = QHBoxLayout()
        foot.addWidget(self._help)
        foot.addStretch(1)
        self.body.addWidget(self._problem)
        self.body.addLayout(foot)
        self.pause.connect(lambda: self.asked.emit("pause"))
        self.resume.connect(lambda: self.asked.emit("resume"))
        self.cancel.connect(self._cancel)
        self.show_job(job)

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
            self.asked.emit("cancel")
            return
        menu = self._menu()
        came = amounts.size(self.job.done)
        menu.add(f"Cancel and delete the {came} that came", lambda: self.asked.emit("cancel"), icon="delete")
        menu.add("Cancel and keep what came", lambda: self.asked.emit("cancel_keep"), icon="archive")
        self._pop_up(menu, self._stop)

    def _open_menu(self) -> None:
        menu = self._menu()
        menu.add("To the front", lambda: self.asked.emit("first"), icon="arrow-up")
        menu.add("Up", lambda: self.asked.emit("up"), icon="chevron-up")
        menu.add("Down", lambda: self.asked.emit("down"), icon="chevron-down")
        menu.add("To the end", lambda: self.asked.emit("last"), icon="arrow-down")
        menu.addSeparator()
        menu.add("Copy its log", lambda: self.asked.emit("log"), icon="copy", enabled=bool(self.job.log))
        self._pop_up(menu, self._more)

    def _menu(self) -> Menu:
        from PySide6.QtCore import Qt

        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        return menu

    @staticmethod
    def _pop_up(menu: Menu, button: QWidget) -> None:
        corner = button.mapToGlobal(button.rect().bottomRight())
        menu.popup(corner - QPoint(menu.sizeHint().width(), 0))


class EndedRow(CardRow):
    """A job that is done, with what can be done with what it brought; or one that failed, with what helps.

    Signals:
        asked(str): "chat", "quantize", "folder", "forget", or a help of `words`.
    """

    asked = Signal(str)

    def __init__(self, theme: Theme, job: Job, *, quantize: bool) -> None:
        super().__init__(theme, job.title or job.kind, "…")
        self.job = job
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
        for what, text, icon in self._offers(quantize=quantize):
            button = Button(theme, text, icon=icon, small=False)
            button.setAccessibleName(f"{text}: {job.title}")
            button.clicked.connect(lambda _checked, what=what: self.asked.emit(what))
            self.trailing.addWidget(button)
        if not failed and words.folder(job):
            show = IconButton(theme, "folder", f"Show {job.title} in its folder")
            show.clicked.connect(lambda: self.asked.emit("folder"))
            self.trailing.addWidget(show)
        away = IconButton(theme, "close", f"Take {job.title} off the list")
        away.clicked.connect(lambda: self.asked.emit("forget"))
        self.trailing.addWidget(away)
        row.setContentsMargins(SPACE.large, SPACE.medium, SPACE.medium, SPACE.medium)
        self.setMinimumHeight(MEASURE.control + 2 * SPACE.medium)
        self.show_job(job)

    def show_job(self, job: Job) -> None:
        """Show the job as it is now; times pass."""
        self.job = job
        self.title.setText(job.title or job.kind)
        self.text.setText(words.problem_words(job) or words.done_words(job))
        if job.state == "failed":
            self.text.set_tone("bad")

    def _offers(self, *, quantize: bool) -> list[tuple[str, str, str]]:
        job = self.job
        if job.state == "failed":
            helps = words.help_for(job.error)
            return [(helps, words.HELP_WORDS[helps], "")]
        offers = [("chat", "Chat", "chat")] if words.runnable(job) else []
        if quantize and job.kind != "quantize" and words.source(job):
            offers.append(("quantize", "Quantize", "quantize"))
        return offers


JobRow = ActiveRow | EndedRow


def make_row(theme: Theme, job: Job, section: Section, *, quantize: bool) -> JobRow:
    """The row that suits where the job stands."""
    return ActiveRow(theme, job) if section == "active" else EndedRow(theme, job, quantize=quantize)
