"""The Quantize page: source, targets, run on one page; then what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QTimer

from slmdesk.engines.registry import KINDS
from slmdesk.gui.actions import Action
from slmdesk.gui.page import Page
from slmdesk.gui.quantize import exporting
from slmdesk.gui.quantize.measure_menu import offer
from slmdesk.gui.quantize.quantize_controller import QuantizeController
from slmdesk.gui.quantize.results import ResultsPanel
from slmdesk.gui.quantize.run_card import RunCard
from slmdesk.gui.quantize.sheets import Sheets
from slmdesk.gui.quantize.source_card import SourceCard
from slmdesk.gui.quantize.targets_card import TargetsCard
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from PySide6.QtWidgets import QWidget

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.quantize.looking import SourceOffer, Subject
    from slmdesk.quantize.planning import QuantizePlan
    from slmdesk.quantize.recommending import Recommendation
    from slmdesk.quantize.results import ResultRow


class QuantizePage(Page):
    """Translates between widgets and `QuantizeController`.

    Attributes:
        source, targets, run_card: the three steps.
        sheets: what opens over the page.
    """

    id: ClassVar[str] = "quantize"
    title: ClassVar[str] = "Quantize"
    icon: ClassVar[str] = "quantize"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        theme = self.theme
        self.controller = QuantizeController(services, self)
        self._size = 0
        self._under_way = ""
        self._results_due = False
        self._run_due = False
        self.source = SourceCard(theme)
        self.targets = TargetsCard(theme)
        self.targets.show_nothing()
        self.run_card = RunCard(theme)
        self.run_card.show_nothing()
        self._results: ResultsPanel | None = None
        self._result_steps: Iterator[None] = iter(())
        self._newest: list[ResultRow] = []
        self._connect()
        self.sheets = Sheets(services, self._page())
        layout = vbox(self, margins=0)
        layout.addWidget(self.sheets)
        services.jobs.ended.connect(self._job_ended)

    def _connect(self) -> None:
        services, controller, card = self.services, self.controller, self.run_card
        self.source.chosen.connect(self.choose)
        self.source.file_wanted.connect(lambda: services.run(self._open(folder=False), "opening a model"))
        self.source.folder_wanted.connect(lambda: services.run(self._open(folder=True), "opening a folder"))
        self.source.hub_wanted.connect(lambda: services.go_to("catalog"))
        self.targets.toggled.connect(self._toggle)
        self.targets.opened.connect(self._opened)
        self.targets.built.connect(self._options_built)
        card.start_wanted.connect(self.start)
        card.measure_wanted.connect(self.measure)
        card.pause_wanted.connect(controller.pause)
        card.resume_wanted.connect(controller.resume)
        card.cancel_wanted.connect(controller.cancel)
        card.chat_wanted.connect(controller.chat)
        card.folder_wanted.connect(controller.show_folder)

    @property
    def results(self) -> ResultsPanel:
        """Chart and table; built when they are first needed."""
        for _ in self._build_results():
            pass
        assert self._results is not None
        return self._results

    def _build_results(self) -> Iterator[None]:
        """The panel, piece by piece; what another caller began is gone on with."""
        if self._results is None:
            services = self.services
            self._results = panel = ResultsPanel(self.theme)
            panel.export_wanted.connect(
                lambda form: services.run(exporting.export(self, form), "exporting results")
            )
            panel.compare_wanted.connect(self.compare)
            panel.chart_wanted.connect(lambda: services.run(self._make_chart(), "making the chart"))
            self._result_steps = panel.build()
            self._column.insertWidget(self._column.indexOf(self.run_card) + 1, panel)
        yield from self._result_steps

    def header_widgets(self) -> list[QWidget]:
        tools = Button(self.theme, "Tools", icon="tune", tip="Split, merge, convert, matrices, adapters")
        tools.clicked.connect(lambda _checked: self.open_tools())
        return [tools]

    def commands(self) -> list[Action]:
        return [
            Action("quantize.start", "Quantize what is chosen", self.start, icon="quantize"),
            Action("quantize.measure", "Measure quants that exist", self.measure, icon="speed"),
            Action("quantize.compare", "Compare two quants on one prompt", self.compare, icon="compare"),
            Action(
                "quantize.tools",
                "Split, merge, convert, importance matrices, adapters",
                self.open_tools,
                icon="tune",
            ),
        ]

    def begin(self) -> None:
        self._show_hint()
        self.controller.follow_jobs()

    def activated(self) -> None:
        self.controller.refresh()

    def choose_source(self, source: str) -> None:
        """Show the page itself, with this source."""
        self.close_compare()
        self.choose(source)

    async def shut_down(self) -> None:
        self.sheets.stop()

    def _page(self) -> QWidget:
        self.area = area = ScrollingColumn(
            widest=MEASURE.quantize_page, top=SPACE.large, bottom=SPACE.wide, spacing=SPACE.medium
        )
        self._column = column = area.column
        for step in (self.source, self.targets, self.run_card):
            column.addWidget(step)
        self._hint = EmptyState(
            self.theme,
            "speed",
            "What each quant costs comes here: its size against its measured loss, and how quick it is.",
        )
        column.addWidget(self._hint, 1)
        self._hint.hide()  # until the page is shown: see `begin`
        column.addStretch(1)
        return area

    # What the person does

    def choose(self, reference: str) -> None:
        """Take this source: a library id, or the path of a GGUF file or of a safetensors folder."""
        if reference:
            self.run_card.show_problem(None)
            self.run_card.show_waiting()
            self.controller.choose(reference)

    def start(self) -> None:
        """The one click."""
        if self.controller.subject is not None and self.run_card.start.isEnabled():
            self.run_card.show_problem(None)
            self.run_card.start.setEnabled(False)
            self._run_due = True
            self.controller.start()

    def measure(self) -> None:
        """Offer the quants that exist, to be measured."""
        offered = offer(self.services, self.controller, self.run_card.measure)
        self.services.run(offered, "looking for quants to measure")

    def compare(self) -> None:
        """Open two quants on the same prompt."""
        rows = [row for row in self.results.rows if KINDS.runs(row.path)]
        if len(rows) < 2:
            self.services.toast("There are no two quants of this model to compare yet.")
            return
        self.sheets.open_compare(rows)

    def close_compare(self) -> None:
        """Back to the page."""
        self.sheets.to_page()

    def open_tools(self, tool: str = "", values: Mapping[str, str] | None = None) -> None:
        """The sheet of single steps, with one of them and what is known for it."""
        self.services.go_to(self.id)
        self.sheets.open_tools(tool, values)

    def _toggle(self, quant: str) -> None:
        self.run_card.show_waiting()
        self.controller.tick(quant)

    def _change(self, changes: dict[str, object]) -> None:
        self.run_card.show_waiting()
        self.controller.change(**changes)

    def _opened(self, shown: bool) -> None:
        self._show_hint()
        self.targets.show_rows(self.controller)
        self.controller.open_table(self.targets.shown if shown else frozenset())

    def _options_built(self) -> None:
        options = self.targets.options
        if options is None:
            return
        options.changed.connect(self._change)
        options.file_wanted.connect(
            lambda name: self.services.run(self._choose_path(name), f"choosing {name}")
        )
        options.open_wanted.connect(self.controller.open_preset)
        options.save_wanted.connect(self.controller.save_preset)
        self.targets.show_rows(self.controller)

    async def _open(self, *, folder: bool) -> None:
        from slmdesk.gui.quantize import choosing

        window = self.services.window()
        path = await (choosing.model_folder(window) if folder else choosing.model_file(window))
        if path is not None:
            self.choose(str(path))

    async def _choose_path(self, name: str) -> None:
        from slmdesk.gui.quantize import choosing

        path = await choosing.for_option(self.services.window(), name)
        if path is not None:
            self._change({name: str(path)})
        elif name == "output":
            self._change({name: ""})
        else:
            self.targets.show_rows(self.controller)

    def exported(self, form: str) -> str | bytes:
        """The results as "csv", "md" or "json", or the chart as "png"."""
        if form == "png":
            from PySide6.QtCore import QBuffer, QByteArray, QIODevice

            data = QByteArray()
            buffer = QBuffer(data)
            buffer.open(QIODevice.OpenModeFlag.WriteOnly)
            if self.results.chart is not None:
                self.results.chart.picture().save(buffer, "PNG")  # type: ignore[call-overload]
            return bytes(data.data())
        from slmdesk.quantize.export import exported

        subject = self.controller.subject
        title = subject.title if subject is not None else ""
        return exported(self.results.rows, form, title)  # type: ignore[arg-type]

    # What the controller shows

    def show_offers(self, offers: list[SourceOffer], current: str) -> None:
        self.source.show_offers(offers, current)

    def show_subject(self, subject: Subject) -> None:
        self.source.show_subject(subject)
        self.run_card.show_waiting()
        self.run_card.measure.setEnabled(not subject.hub)
        self.show_job(self.run_card.job)  # what came of another model goes with it
        if self._results is not None:
            self.show_results([])
        self._show_hint()

    def show_refused(self, error: SlmDeskError) -> None:
        self.source.show_refused(error)
        self.targets.show_nothing()
        self.targets.fold(away=True)
        self.run_card.show_nothing()
        self.show_job(self.run_card.job)
        self.show_results([])

    def show_advice(self, advice: Recommendation | None, size: int) -> None:
        del advice
        self._size = size
        self.show_targets()

    def show_targets(self) -> None:
        self.targets.show_advice(self.controller, self._size)
        self.targets.show_rows(self.controller)

    def show_plan(self, plan: QuantizePlan | None, problem: SlmDeskError | None) -> None:
        if self.controller.subject is not None:
            self.run_card.show_plan(self.controller.request.targets, plan, problem)
            if self.targets.options is not None:
                self.targets.options.show_problem(problem)

    def show_results(self, rows: list[ResultRow]) -> None:
        if rows or self._results is not None:
            self.services.run(self._show_results(rows), "showing results")
        else:
            self._show_hint()

    async def _show_results(self, rows: list[ResultRow]) -> None:
        """A piece a turn of the event loop; the newest rows win."""
        from asyncio import sleep

        self._newest = rows
        for _ in self._build_results():
            await sleep(0)
        if self._newest is not rows:
            return
        self.results.show_rows(rows)
        self._show_hint()
        if self._results_due and not self.results.isHidden():
            # A run came to its end: what it cost is what the person waits for.
            self._results_due = False
            QTimer.singleShot(0, self, self.to_results)

    def to_results(self) -> None:
        """Scroll so that the results are in sight."""
        bar = self.area.verticalScrollBar()
        page = self.results.parentWidget()
        top = self.results.y() + (page.y() if page is not None else 0)
        bar.setValue(min(top - SPACE.large, bar.maximum()))

    def to_run(self) -> None:
        """Scroll so that the run is in sight, its lower end first."""
        page = self.area.widget()
        if page is not None and (layout := page.layout()) is not None:
            layout.activate()
        self.area.ensureWidgetVisible(self.run_card, 0, SPACE.large)

    def _show_hint(self) -> None:
        none = self._results is None or self._results.isHidden()
        self._hint.setVisible(none and not self.targets.unfolded)

    def show_job(self, job: Job | None) -> None:
        subject = self.controller.subject
        own = (
            job is not None
            and subject is not None
            and job.parameters.get("source") == str(subject.origin.path)
        )
        ended = own and job is not None and job.state == "done" and job.id == self._under_way
        self._under_way = job.id if job is not None and not job.ended else ""
        self.run_card.show_job(job, own=own)
        if self._run_due and own:
            # It began at the lower edge of a long page: what happens now is in sight.
            self._run_due = False
            QTimer.singleShot(0, self, self.to_run)
        self._results_due = self._results_due or ended

    def start_failed(self, error: SlmDeskError) -> None:
        self.run_card.start.setEnabled(True)
        self.run_card.show_problem(error)

    async def _make_chart(self) -> None:
        from slmdesk.core.errors import SlmDeskError
        from slmdesk.gui.quantize.charting import made_chart

        try:
            self.results.show_chart(await made_chart(self.theme))
        except SlmDeskError as error:
            self.results.show_no_chart(error)

    def _job_ended(self, job: Job) -> None:
        if job.kind in {"quantize", "file tool"} and job.state == "done" and not self.isVisible():
            go = self.services.go_to
            self.services.toast(f"{job.title}: done.", lambda: go(self.id), "Show")
