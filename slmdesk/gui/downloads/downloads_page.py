"""The Downloads page: what is coming, what went wrong, and what is here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from slmdesk.core.made_with import differences
from slmdesk.gui.actions import Action
from slmdesk.gui.downloads import words
from slmdesk.gui.downloads.rows import EndedRow, make_row
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import GroupCard
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.downloads.rows import JobRow
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.page import WindowServices

TITLES: dict[Section, str] = {"active": "Under way", "failed": "Needs you", "done": "Done"}
AT_FIRST = 20
"""Rows of a section before “Show more”."""
A_TURN = 3
"""Rows built in one turn of the event loop."""
PARALLEL = "downloads.parallel"
RATE = "downloads.max_rate"
RATES = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0)


class _Section(QWidget):
    """A heading, a card of rows, and a way to see more of them."""

    def __init__(self, place: DownloadsPage, section: Section) -> None:
        super().__init__()
        self._place = place
        self._section = section
        self._most = AT_FIRST
        self._jobs: list[Job] = []
        self._rows: dict[str, JobRow] = {}
        theme = place.theme
        self._heading = Label(theme, TITLES[section], role="emphasis")
        self._clear = Button(theme, "Clear the list", kind="link", small=True)
        self._clear.clicked.connect(lambda: place.forget([job.id for job in self._jobs]))
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, SPACE.large)
        layout.setSpacing(SPACE.small)
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

    def show_jobs(self, jobs: list[Job]) -> None:
        self._jobs = jobs
        known = {job.id for job in jobs[: self._most]}
        gone = [job_id for job_id in self._rows if job_id not in known]
        leaving = [self._rows.pop(job_id) for job_id in gone]
        for job in jobs:
            row = self._rows.get(job.id)
            if row is not None and row.job != job:
                row.show_job(job)
                row.show_kept(self._place.kept(job))
        self._arrange()
        for row in leaving:
            let_go(row, self)
        self.setVisible(bool(jobs))
        self._build()

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
            kept = self._place.kept(job)
            row = make_row(self._place.theme, job, self._section, kept, quantize=self._place.quantizes)
            row.asked.connect(lambda what, job_id=job.id: self._place.do(job_id, what))
            self._rows[job.id] = row
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


class DownloadsPage(Page):
    """All jobs of this user: those under way first, then failed ones, then what is done."""

    id: ClassVar[str] = "downloads"
    title: ClassVar[str] = "Downloads"
    icon: ClassVar[str] = "download"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self._parallel = Select(theme, [(count, f"{count} at once") for count in range(1, 9)])
        self._parallel.setAccessibleName("Downloads at once")
        self._parallel.setToolTip("How many downloads run at the same time")
        self._parallel.chosen.connect(lambda value: self._set(PARALLEL, value))
        self._rate = Select(theme, [(rate, _rate_words(rate)) for rate in RATES])
        self._rate.setAccessibleName("Bandwidth limit")
        self._rate.setToolTip("What all downloads together may take of the line")
        self._rate.chosen.connect(lambda value: self._set(RATE, value))
        self._hold = Button(theme, "Pause all", icon="pause")
        self._hold.clicked.connect(self.hold_all)
        self._hold.setEnabled(False)
        self._sections: dict[Section, _Section] = {
            section: _Section(self, section) for section in ("active", "failed", "done")
        }
        self._empty = EmptyState(
            theme,
            "download",
            "Nothing is being downloaded. Models you choose in the catalog come here, whole and verified.",
            action=("Find a model", lambda: services.go_to("catalog")),
        )
        self._stack = QStackedWidget()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self._page())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self._today: Mapping[str, Any] = {}
        self._clock = QTimer(self)
        self._clock.setInterval(30_000)
        self._clock.timeout.connect(self._tell_times)
        services.jobs.changed.connect(self._refresh)
        self._show_settings()
        self._refresh()

    @property
    def quantizes(self) -> bool:
        """Whether there is a place that quantizes."""
        from importlib.util import find_spec

        return find_spec("slmdesk.gui.quantize") is not None

    @property
    def rows(self) -> list[JobRow]:
        """The rows built so far, from the top."""
        return [row for section in self._sections.values() for row in section.rows]

    def header_widgets(self) -> list[QWidget]:
        return [self._parallel, self._rate, self._hold]

    def commands(self) -> list[Action]:
        return [
            Action("downloads.hold", "Pause or resume all downloads", self.hold_all, icon="pause"),
            Action("downloads.clear", "Clear the list of finished downloads", self._clear_done, icon="clear"),
        ]

    def kept(self, job: Job) -> str:
        """Where a job that may go on differs from what it would be made with today."""
        return (
            differences(job.kind, job.made_with, self._today) if self._today and job.state != "done" else ""
        )

    async def _look_at_today(self) -> None:
        today = await self.services.application.jobs.today()
        if today != self._today:
            self._today = today
            for row in self.rows:
                row.show_kept(self.kept(row.job))

    def activated(self) -> None:
        self.services.run(self._look_at_today(), "looking at the settings of jobs")
        self._show_settings()
        self._clock.start()
        self._refresh()
        self._tell_times()

    def deactivated(self) -> None:
        self._clock.stop()

    def _page(self) -> QWidget:
        area = ScrollingColumn(widest=MEASURE.list_page, bottom=SPACE.wide, spacing=0)
        for section in self._sections.values():
            area.column.addWidget(section)
        area.column.addStretch(1)
        return area

    def _refresh(self) -> None:
        jobs: dict[Section, list[Job]] = {"active": [], "failed": [], "done": []}
        for job in self.services.jobs.jobs:
            section = words.section_of(job)
            if section:
                jobs[section].append(job)
        jobs["active"].sort(key=lambda job: (job.state != "running", job.position))
        for section, found in jobs.items():
            self._sections[section].show_jobs(found)
        self._stack.setCurrentIndex(1 if any(jobs.values()) else 0)
        moving = any(job.state in {"queued", "running"} for job in jobs["active"])
        self._hold.setEnabled(bool(jobs["active"]))
        self._hold.setText("Pause all" if moving or not jobs["active"] else "Resume all")
        self._hold.set_icon("pause" if moving or not jobs["active"] else "play")

    def _tell_times(self) -> None:
        self._refresh()
        for section in self._sections.values():
            section.tell_times()

    # What can be done

    def do(self, job_id: str, what: str) -> None:
        """Something a row offers."""
        job = self.services.jobs.get(job_id)
        if job is None:
            return
        match what:
            case "folder":
                _open_folder(words.folder(job))
            case "log":
                from PySide6.QtGui import QGuiApplication

                QGuiApplication.clipboard().setText("\n".join(job.log))
                self.services.toast("The log is copied.")
            case "quantize":
                self.services.ask("quantize", "source", words.source(job))
            case "settings":
                self.services.go_to("settings")
            case "catalog" | "token":
                self.services.ask("catalog", what, str(job.parameters.get("repo", "")))
            case _:
                self.services.run(self._do(job, what), f"{what} of a job")

    async def _do(self, job: Job, what: str) -> None:
        application = self.services.application
        queue = application.jobs
        match what:
            case "pause":
                await queue.pause(job.id)
            case "resume" | "retry" | "here":
                of = application.downloads if job.kind == "download" else queue
                await of.resume(job.id, here=what == "here")
            case "cancel" | "cancel_keep":
                await queue.cancel(job.id, keep=what == "cancel_keep")
            case "first" | "up" | "down" | "last":
                await self._move(job, what)
            case "forget":
                await queue.forget(job.id)
            case "online":
                from asyncio import to_thread

                await to_thread(application.settings.set, "network.offline", False)
                await queue.resume(job.id)
            case "page":
                from PySide6.QtGui import QDesktopServices

                QDesktopServices.openUrl(QUrl(application.hub.page_url(str(job.parameters.get("repo", "")))))
            case "chat":
                file = await application.library.resolve(words.runnable(job))
                self.services.ask("chat", "chat_with", file.id)

    async def _move(self, job: Job, where: str) -> None:
        line = sorted(
            (one for one in self.services.jobs.jobs if words.section_of(one) == "active"),
            key=lambda one: (one.state != "running", one.position),
        )
        at = next((place for place, one in enumerate(line) if one.id == job.id), 0)
        others = [one for one in line if one.id != job.id]
        to = {"first": 0, "up": max(0, at - 1), "down": at + 1, "last": len(others)}[where]
        before = others[to].id if to < len(others) else None
        await self.services.application.jobs.reorder(job.id, before)

    def hold_all(self) -> None:
        """Pause everything that moves; when nothing does, go on with all."""
        self.services.run(self._hold_all(), "pausing the jobs")

    async def _hold_all(self) -> None:
        queue = self.services.application.jobs
        active = [
            job for job in self.services.jobs.jobs if words.section_of(job) == "active" and not job.wish
        ]
        moving = [job for job in active if job.state in {"queued", "running"}]
        for job in moving or active:
            await (queue.pause(job.id) if moving else queue.resume(job.id))

    def forget(self, job_ids: list[str]) -> None:
        """Take jobs off the list; what they brought stays."""
        self.services.run(self._forget(job_ids), "clearing the list of jobs")

    async def _forget(self, job_ids: list[str]) -> None:
        await self.services.application.jobs.forget(*job_ids)

    def _clear_done(self) -> None:
        self.forget([job.id for job in self.services.jobs.jobs if job.state == "done"])

    # Limits

    def _show_settings(self) -> None:
        settings = self.services.settings
        self._parallel.set_value(settings.get(PARALLEL))
        rate = float(settings.get(RATE))
        if self._rate.findData(rate) < 0:
            self._rate.set_choices([(each, _rate_words(each)) for each in sorted({*RATES, rate})])
        self._rate.set_value(rate)
        self._parallel.setEnabled(settings.source(PARALLEL) != "environment")
        self._rate.setEnabled(settings.source(RATE) != "environment")

    def _set(self, key: str, value: object) -> None:
        self.services.run(self._store(key, value), f"changing {key}")

    async def _store(self, key: str, value: object) -> None:
        from asyncio import to_thread

        await to_thread(self.services.application.settings.set, key, value)


def _rate_words(rate: float) -> str:
    return f"At most {rate:g} MB/s" if rate else "No limit"


def _open_folder(path: str) -> None:
    from PySide6.QtGui import QDesktopServices

    if path:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(path))))
