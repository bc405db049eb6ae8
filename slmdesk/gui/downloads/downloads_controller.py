"""What happens between the Downloads page and the jobs: every action on one job, or on all, is one method here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from slmdesk.core.made_with import differences
from slmdesk.gui.downloads import words

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.page import WindowServices

PARALLEL = "downloads.parallel"
RATE = "downloads.max_rate"

Move = Literal["first", "up", "down", "last"]


class DownloadsView(Protocol):
    """What the controller shows."""

    def show_jobs(self, jobs: Mapping[Section, Sequence[Job]]) -> None: ...
    def show_kept(self) -> None: ...
    def show_limits(self, parallel: int, rate: float) -> None: ...
    def fix_limits(self, *, parallel: bool, rate: bool) -> None: ...


class DownloadsController:
    """All jobs of this user."""

    def __init__(self, services: WindowServices, view: DownloadsView) -> None:
        self._services = services
        self._view = view
        self._today: Mapping[str, Any] = {}
        services.jobs.changed.connect(self.refresh)

    def activated(self) -> None:
        """The page is shown: what counts today may be another."""
        self._services.run(self._look_at_today(), "looking at the settings of jobs")
        self.show_limits()
        self.refresh()

    def refresh(self) -> None:
        """Show the jobs as they are now: those that run first, then in the order of the queue."""
        jobs: dict[Section, list[Job]] = {"active": [], "failed": [], "done": []}
        for job in self._services.jobs.jobs:
            section = words.section_of(job)
            if section:
                jobs[section].append(job)
        jobs["active"].sort(key=lambda job: (job.state != "running", job.position))
        self._view.show_jobs(jobs)

    def kept(self, job: Job) -> str:
        """Where a job that may go on differs from what it would be made with today."""
        known = self._today and job.state != "done"
        return differences(job.kind, job.made_with, self._today) if known else ""

    async def _look_at_today(self) -> None:
        today = await self._services.application.jobs.today()
        if today != self._today:
            self._today = today
            self._view.show_kept()

    # One job

    def pause(self, job: Job) -> None:
        self._do(self._services.application.jobs.pause(job.id), "pausing a job")

    def resume(self, job: Job, *, here: bool = False) -> None:
        """Go on; with `here` by the settings of today, not by those that it was made with."""
        application = self._services.application
        of = application.downloads if job.kind == "download" else application.jobs
        self._do(of.resume(job.id, here=here), "going on with a job")

    def cancel(self, job: Job, *, keep: bool = False) -> None:
        """End it; with `keep` what came stays."""
        self._do(self._services.application.jobs.cancel(job.id, keep=keep), "cancelling a job")

    def move(self, job: Job, where: Move) -> None:
        """Let it come earlier or later among those under way."""
        line = sorted(
            (one for one in self._services.jobs.jobs if words.section_of(one) == "active"),
            key=lambda one: (one.state != "running", one.position),
        )
        at = next((place for place, one in enumerate(line) if one.id == job.id), 0)
        others = [one for one in line if one.id != job.id]
        to = {"first": 0, "up": max(0, at - 1), "down": at + 1, "last": len(others)}[where]
        before = others[to].id if to < len(others) else None
        self._do(self._services.application.jobs.reorder(job.id, before), "moving a job")

    def copy_log(self, job: Job) -> None:
        from PySide6.QtGui import QGuiApplication

        QGuiApplication.clipboard().setText("\n".join(job.log))
        self._services.toast("The log is copied.")

    def chat(self, job: Job) -> None:
        """Begin a chat with what it brought."""
        self._services.run(self._chat(job), "opening a chat")

    async def _chat(self, job: Job) -> None:
        file = await self._services.application.library.resolve(words.runnable(job))
        self._services.visit.chat_with(file.id)

    def quantize(self, job: Job) -> None:
        """Go on with what it brought as a source."""
        self._services.visit.quantize(words.source(job))

    def show_folder(self, job: Job) -> None:
        """Show what it brought in the system's file manager."""
        if folder := words.folder(job):
            from slmdesk.gui.opening import open_path

            open_path(folder)

    def help(self, job: Job) -> None:
        """Do the one thing that helps most with its error."""
        repo = str(job.parameters.get("repo", ""))
        match words.help_for(job.error):
            case "retry":
                self.resume(job)
            case "page":
                from slmdesk.gui.opening import open_url

                open_url(self._services.application.hub.page_url(repo))
            case "token":
                self._services.visit.repository(repo, ask_token=True)
            case "catalog":
                self._services.visit.repository(repo)
            case "settings":
                self._services.go_to("settings")
            case "online":
                self._do(self._go_online(job), "working online")

    async def _go_online(self, job: Job) -> None:
        from asyncio import to_thread

        application = self._services.application
        await to_thread(application.settings.set, "network.offline", False)
        await application.jobs.resume(job.id)

    # All jobs

    def hold_all(self) -> None:
        """Pause everything that moves; when nothing does, go on with all."""
        self._services.run(self._hold_all(), "pausing the jobs")

    async def _hold_all(self) -> None:
        queue = self._services.application.jobs
        active = [
            job for job in self._services.jobs.jobs if words.section_of(job) == "active" and not job.wish
        ]
        moving = [job for job in active if job.state in {"queued", "running"}]
        for job in moving or active:
            await (queue.pause(job.id) if moving else queue.resume(job.id))

    def forget(self, jobs: Sequence[Job]) -> None:
        """Take jobs off the list; what they brought stays."""
        self._do(self._forget([job.id for job in jobs]), "clearing the list of jobs")

    async def _forget(self, job_ids: Sequence[str]) -> None:
        await self._services.application.jobs.forget(*job_ids)

    def clear_done(self) -> None:
        """Take off the list what is done."""
        self.forget([job for job in self._services.jobs.jobs if job.state == "done"])

    def _do(self, work: Coroutine[Any, Any, object], where: str) -> None:
        self._services.run(work, where)

    # Limits

    def show_limits(self) -> None:
        """Show how many downloads run at once and what they may take of the line."""
        settings = self._services.settings
        self._view.show_limits(int(settings.get(PARALLEL)), float(settings.get(RATE)))
        self._view.fix_limits(
            parallel=settings.source(PARALLEL) == "environment", rate=settings.source(RATE) == "environment"
        )

    def set_parallel(self, count: int) -> None:
        self._services.run(self._store(PARALLEL, count), f"changing {PARALLEL}")

    def set_rate(self, rate: float) -> None:
        """MB/s for all downloads together; 0 for no limit."""
        self._services.run(self._store(RATE, rate), f"changing {RATE}")

    async def _store(self, key: str, value: float) -> None:
        from asyncio import to_thread

        await to_thread(self._services.application.settings.set, key, value)
