"""One job on the Downloads page: under way, failed, or done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.gui.downloads import words
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.progress import ProgressRow

if TYPE_CHECKING:
    from slmdesk.core.jobs.job_store import Job
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
        asked(str): "pause", "resume", "cancel", "cancel_keep", "first", "up", "down", "last", "here", or a help of
            `words`.
    """

    asked = Signal(str)

    def __init__(self, theme: Theme, job: Job, kept: str = "") -> None:
        super().__init__(theme, job.title or job.kind, icon=words.running_icon(job))
        self.job = job
        self._kept = Label(theme, role="small", tone="secondary", wrap=True)
        self._here = Button(theme, "Use what counts today", kind="link", small=True)
        self._here.clicked.connect(lambda: self.asked.emit("here"))
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
        foot.addWidget(self._here)
        foot.addStretch(1)
        self.body.addWidget(self._kept)
        self.body.addWidget(self._problem)
        self.body.addLayout(foot)
        self.pause.connect(lambda: self.asked.emit("pause"))
        self.resume.connect(lambda: self.asked.emit("resume"))
        self.cancel.connect(self._cancel)
        self.show_job(job)
        self.show_kept(kept)

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

    def __init__(self, theme: Theme, job: Job, kept: str = "", *, quantize: bool) -> None:
        super().__init__(theme, job.title or job.kind, "…")
        self.job = job
        self._kept = kept
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

    def _offers(self, *, quantize: bool) -> list[tuple[str, str, str]]:
        job = self.job
        if job.state == "failed":
            helps = words.help_for(job.error)
            again = [("here", "Try again as of today", "")] if self._kept else []
            return [*again, (helps, words.HELP_WORDS[helps], "")]
        offers = [("chat", "Chat", "chat")] if words.runnable(job) else []
        if quantize and job.kind != "quantize" and words.source(job):
            offers.append(("quantize", "Quantize", "quantize"))
        return offers


JobRow = ActiveRow | EndedRow


def make_row(theme: Theme, job: Job, section: Section, kept: str = "", *, quantize: bool) -> JobRow:
    """The row that suits where the job stands; `kept` is that of `show_kept`."""
    if section == "active":
        return ActiveRow(theme, job, kept)
    return EndedRow(theme, job, kept, quantize=quantize)
