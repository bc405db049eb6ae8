"""When a download is there: open it in a chat if the person asked for that, otherwise say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from slmdesk.gui.downloads import words

if TYPE_CHECKING:
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.core.state import StateFile
    from slmdesk.gui.page import WindowServices

KEY = "downloads.chat_when_ready"
MOST = 50


def wish_chat(state: StateFile, job_id: str) -> None:
    """Open a chat with what this job brings, also when the window was closed in between."""
    state.set(KEY, [*[one for one in _wishes(state) if one != job_id], job_id][-MOST:])


def _wishes(state: StateFile) -> list[str]:
    found = state.get(KEY)
    return [str(one) for one in found] if isinstance(found, list) else []


class WhenReady(QObject):
    """Listens to the jobs' ends, for the whole window."""

    def __init__(self, services: WindowServices, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        services.jobs.ended.connect(self._ended)

    def _ended(self, job: Job) -> None:
        if job.kind == "download" and job.state == "done":
            self._services.run(self._ready(job), "showing a finished download")
        elif job.state == "failed":
            go = self._services.go_to
            self._services.toast(f"{job.title} failed.", lambda: go("downloads"), "Show")

    async def _ready(self, job: Job) -> None:
        self._services.application.library.forget_listing()
        path, state = words.runnable(job), self._services.state
        if not path:
            self._services.toast(f"{job.title} is here.")
            return
        file = await self._services.application.library.resolve(path)
        if job.id in (wishes := _wishes(state)):
            state.set(KEY, [one for one in wishes if one != job.id])
            self._services.visit.chat_with(file.id)
        else:
            chat = self._services.visit.chat_with
            self._services.toast(f"{job.title} is here.", lambda: chat(file.id), "Chat")
