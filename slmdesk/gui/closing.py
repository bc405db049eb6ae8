"""Closing the window while something is under way: it is said what goes on, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.job_watch import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.widgets.question import QuestionPanel
    from slmdesk.gui.window import MainWindow


class Closing:
    """Asks before the window closes, where that means something for a job. Closing once more answers "go on"."""

    def __init__(self, window: MainWindow, close: Callable[[], None]) -> None:
        self._window = window
        self._close = close
        self._question: QuestionPanel | None = None
        self._asked: list[str] = []  # the jobs that it is asked for

    @property
    def question(self) -> QuestionPanel | None:
        """What is being asked now."""
        return self._question

    def wanted(self) -> None:
        """The person closed the window."""
        active = self._active()
        if self._question is not None or not active:
            self._close()
            return
        from slmdesk.gui.widgets.question import QuestionPanel

        one = len(active) == 1
        asked = QuestionPanel(
            self._window.theme,
            self._window,
            f"{named(active)} under way",
            f"{'It goes' if one else 'They go'} on in the background when the window is closed, and can be seen here "
            "again at the next start.",
            (
                ("close", "Close, let it go on" if one else "Close, let them go on"),
                ("pause", "Pause and close"),
                ("stay", "Stay"),
            ),
        )
        asked.answered.connect(self._answered)
        self._question = asked
        self._asked = [job.id for job in active]
        self._window.jobs.changed.connect(self._look_again)

    def _look_again(self) -> None:
        """Jobs went on while it was asked. With the last one the question goes, and the window as it was wanted;
        it stays where one ended badly, so that this is seen."""
        if self._question is None:
            return
        active = self._active()
        if active:
            self._question.retitle(f"{named(active)} under way")
            return
        ends = [self._window.jobs.get(job_id) for job_id in self._asked]
        well = all(job is None or job.state in {"done", "cancelled"} for job in ends)
        self._question.answer("close" if well else "stay")

    def _active(self) -> list[Job]:
        return [job for job in self._window.jobs.jobs if job.state in {"queued", "running"}]

    def _answered(self, answer: str) -> None:
        self._question = None
        self._window.jobs.changed.disconnect(self._look_again)
        if answer == "close":
            self._close()
        elif answer == "pause":
            self._window.run(self._pause_and_close(), "pausing before closing")

    async def _pause_and_close(self) -> None:
        queue = self._window.application.jobs
        for job in self._active():
            try:
                await queue.pause(job.id)
            except SlmDeskError as error:
                if error.code != "job_state":  # it ended by itself meanwhile
                    raise
        self._close()
