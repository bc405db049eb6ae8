"""The Downloads page: what is coming, what went wrong, and what is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QStackedWidget, QWidget

from slmdesk.gui.actions import Action
from slmdesk.gui.downloads.downloads_controller import DownloadsController
from slmdesk.gui.downloads.job_section import TITLES, JobSection
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.downloads.rows import JobRow
    from slmdesk.gui.downloads.words import Section
    from slmdesk.gui.page import WindowServices

RATES = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0)


class DownloadsPage(Page):
    """All jobs of this user: those under way first, then failed ones, then what is done."""

    id: ClassVar[str] = "downloads"
    title: ClassVar[str] = "Downloads"
    icon: ClassVar[str] = "download"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.controller = controller = DownloadsController(services, self)
        self._parallel = Select(theme, [(count, f"{count} at once") for count in range(1, 9)])
        self._parallel.setAccessibleName("Downloads at once")
        self._parallel.setToolTip("How many downloads run at the same time")
        self._parallel.chosen.connect(controller.set_parallel)
        self._rate = Select(theme, [(rate, _rate_words(rate)) for rate in RATES])
        self._rate.setAccessibleName("Bandwidth limit")
        self._rate.setToolTip("What all downloads together may take of the line")
        self._rate.chosen.connect(controller.set_rate)
        self._hold = Button(theme, "Pause all", icon="pause")
        self._hold.clicked.connect(controller.hold_all)
        self._hold.setEnabled(False)
        self._sections: dict[Section, JobSection] = {
            section: JobSection(theme, section, controller) for section in TITLES
        }
        self._empty = EmptyState(
            theme,
            "download",
            "Nothing is being downloaded. Models you choose in the catalog come here, whole and verified.",
            action=("Find a model", lambda: services.go_to("catalog")),
        )
        area = ScrollingColumn(widest=MEASURE.list_page, bottom=SPACE.wide, spacing=0)
        for section in self._sections.values():
            area.column.addWidget(section)
        area.column.addStretch(1)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(area)
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)
        self._clock = QTimer(self)
        self._clock.setInterval(30_000)
        self._clock.timeout.connect(self._tell_times)
        controller.show_limits()
        controller.refresh()

    @property
    def rows(self) -> list[JobRow]:
        """The rows built so far, from the top."""
        return [row for section in self._sections.values() for row in section.rows]

    def header_widgets(self) -> list[QWidget]:
        return [self._parallel, self._rate, self._hold]

    def commands(self) -> list[Action]:
        controller = self.controller
        return [
            Action("downloads.hold", "Pause or resume all downloads", controller.hold_all, icon="pause"),
            Action(
                "downloads.clear", "Clear the list of finished downloads", controller.clear_done, icon="clear"
            ),
        ]

    def activated(self) -> None:
        self.controller.activated()
        self._clock.start()
        self._tell_times()

    def deactivated(self) -> None:
        self._clock.stop()

    def _tell_times(self) -> None:
        self.controller.refresh()
        for section in self._sections.values():
            section.tell_times()

    # What the controller shows

    def show_jobs(self, jobs: Mapping[Section, Sequence[Job]]) -> None:
        for section, found in jobs.items():
            self._sections[section].show_jobs(found)
        self._stack.setCurrentIndex(1 if any(jobs.values()) else 0)
        active = jobs["active"]
        pauses = not active or any(job.state in {"queued", "running"} for job in active)
        self._hold.setEnabled(bool(active))
        self._hold.setText("Pause all" if pauses else "Resume all")
        self._hold.set_icon("pause" if pauses else "play")

    def show_kept(self) -> None:
        for section in self._sections.values():
            section.show_kept()

    def show_limits(self, parallel: int, rate: float) -> None:
        self._parallel.set_value(parallel)
        if self._rate.findData(rate) < 0:
            self._rate.set_choices([(each, _rate_words(each)) for each in sorted({*RATES, rate})])
        self._rate.set_value(rate)

    def fix_limits(self, *, parallel: bool, rate: bool) -> None:
        self._parallel.setEnabled(not parallel)
        self._rate.setEnabled(not rate)


def _rate_words(rate: float) -> str:
    return f"At most {rate:g} MB/s" if rate else "No limit"
