"""Step 3: the run. What it will cost, then its steps as they are done, then what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.gui.quantize import words
from slmdesk.gui.quantize.step_card import NoticeLine, StepCard
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.progress import ShareBar

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.core.jobs.job_store import Job
    from slmdesk.gui.theme import Theme
    from slmdesk.quantize.planning import QuantizePlan

LOG_LINES = 6
TICK_MS = 500
MATRIX_HINT = "Choose “Computed here” as the importance matrix."


ROWS_A_TURN = 2
"""So many steps get their line in one turn of the event loop."""


class _Step(QWidget):
    """One step: a mark, its name, a bar while it runs, and its time."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._shown: tuple[object, ...] = ()
        self._mark = Icon(theme, "ring", size=MEASURE.icon_small, colour="disabled")
        self.name = ElidedLabel(theme, role="small")
        self._bar = ShareBar(theme, "Progress of the step")
        self._bar.setMaximumWidth(MEASURE.field)
        policy = self._bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._bar.setSizePolicy(policy)
        self._time = Label(theme, role="small", tone="secondary")
        self._time.setFont(theme.font("small", tabular=True))
        self._time.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._time.setMinimumWidth(MEASURE.rail)
        row = hbox(self, margins=0, spacing=SPACE.small)
        row.addWidget(self._mark)
        row.addWidget(self.name, 2)
        row.addWidget(self._bar, 1)
        row.addWidget(self._time)

    def show_step(self, entry: dict[str, Any], state: str, share: float) -> None:
        shown = (words.step(entry), state, entry.get("took"), entry.get("seconds"))
        if shown == self._shown:
            self._bar.set_share(share)  # mostly nothing else changed; styling a label anew is slow
            return
        self._shown = shown
        icon, tone = {
            "done": ("good", "good"),
            "running": ("play", "accent"),
            "waiting": ("ring", "disabled"),
        }[state]
        self._mark.set_icon(icon, tone)
        self.name.setText(str(shown[0]))
        self.name.set_tone("" if state == "running" else "secondary")
        self._bar.set_share(share)
        self._bar.setVisible(state == "running")
        took = entry.get("took")
        planned = f"~{amounts.duration(float(entry.get('seconds', 0.0)))}"
        self._time.setText(seconds(float(took)) if state == "done" and took is not None else planned)


def seconds(value: float) -> str:
    """ "0.8 s", "12 s", "3 min"."""
    return f"{value:.1f} s" if value < 10 else amounts.duration(value)


def progress(job: Job) -> list[tuple[dict[str, Any], str, float]]:
    """The steps of a job with their state and share, as far as the row tells."""
    steps: list[dict[str, Any]] = list(job.memory.get("steps", ()))
    done = job.done
    found: list[tuple[dict[str, Any], str, float]] = []
    current = False
    for entry in steps:
        planned = max(float(entry.get("seconds", 0.0)), 1e-6)
        if entry.get("state") == "done" or job.state == "done":
            found.append((entry, "done", 1.0))
            done -= planned
        elif not current and not job.ended:
            current = True
            share = min(max(done / planned, 0.0), 1.0)
            found.append((entry, "running" if job.state == "running" else "waiting", share))
        else:
            found.append((entry, "waiting", 0.0))
    return found


class RunCard(StepCard):
    """Signals:
    start_wanted: press of the one button.
    measure_wanted: quants that are there are to be measured.
    pause_wanted, resume_wanted, cancel_wanted: of the run that is shown.
    chat_wanted, folder_wanted: with what it brought; where that lies.
    """

    start_wanted = Signal()
    measure_wanted = Signal()
    pause_wanted = Signal()
    resume_wanted = Signal()
    cancel_wanted = Signal()
    chat_wanted = Signal()
    folder_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, 3, "Run")
        self.job: Job | None = None
        self.start = Button(theme, "Quantize", kind="primary", icon="quantize")
        self.start.clicked.connect(self.start_wanted)
        self.start.setEnabled(False)
        self.measure = Button(theme, "Measure quants you have", kind="quiet", icon="speed", small=True)
        self.measure.clicked.connect(self.measure_wanted)
        self.measure.setEnabled(False)
        self.head.addWidget(self.measure)
        self._cost = Label(theme, "", tone="secondary", wrap=True)
        top = hbox(spacing=SPACE.large)
        top.addWidget(self._cost, 1)
        top.addWidget(self.start, 0, Qt.AlignmentFlag.AlignTop)
        self._warning = NoticeLine(theme, "attention", "caution")
        self._panel: ErrorPanel | None = None
        self.body.addLayout(top)
        self.body.addWidget(self._warning)
        self._panel_place = QVBoxLayout()
        self.body.addLayout(self._panel_place)
        self.body.addWidget(self._running())
        self.body.addWidget(self._ended())
        self._rows: list[_Step] = []
        self._clock = QTimer(self)
        self._clock.setInterval(TICK_MS)
        self._clock.timeout.connect(self._tick)

    def _running(self) -> QWidget:
        theme = self.theme
        self._run = QWidget()
        self._title = ElidedLabel(theme, role="strong")
        self._rest = Label(theme, role="small", tone="secondary")
        self._rest.setFont(theme.font("small", tabular=True))
        self._bar = ShareBar(theme, "Progress of the run", height=MEASURE.bar)
        self._now = ElidedLabel(theme, role="small", tone="secondary")
        self._hold = IconButton(theme, "pause", "Pause after this step")
        self._hold.clicked.connect(self._toggle)
        self._stop = IconButton(theme, "close", "Cancel")
        self._stop.clicked.connect(self.cancel_wanted)
        self._log_button = Button(theme, "Show log", kind="link", small=True)
        self._log_button.clicked.connect(self._show_log)
        self._log = QPlainTextEdit()
        self._log.setProperty("kind", "code")
        self._log.setReadOnly(True)
        self._log.setAccessibleName("Log")
        self._log.setFont(theme.code_font())
        self._log.setFixedHeight(LOG_LINES * self._log.fontMetrics().lineSpacing() + SPACE.large)
        self._log.hide()
        across = hbox(spacing=SPACE.small)
        lines = vbox(spacing=SPACE.tiny)
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(self._rest)
        lines.addLayout(top)
        lines.addWidget(self._bar)
        below = QHBoxLayout()
        below.addWidget(self._now, 1)
        below.addWidget(self._log_button)
        lines.addLayout(below)
        across.addLayout(lines, 1)
        across.addWidget(self._hold)
        across.addWidget(self._stop)
        self._steps = QGridLayout()
        self._steps.setHorizontalSpacing(SPACE.wide)
        self._steps.setVerticalSpacing(SPACE.tiny)
        column = vbox(self._run, margins=(0, SPACE.tiny, 0, 0), spacing=SPACE.small)
        column.addLayout(across)
        column.addLayout(self._steps)
        column.addWidget(self._log)
        self._run.hide()
        return self._run

    def _ended(self) -> QWidget:
        theme = self.theme
        self._end = QWidget()
        row = hbox(self._end, margins=0, spacing=SPACE.small)
        row.addWidget(Icon(theme, "good", size=MEASURE.icon_small, colour="good"))
        self._made = Label(theme, "", wrap=True)
        row.addWidget(self._made, 1)
        chat = Button(theme, "Chat", kind="quiet", icon="chat", small=True)
        chat.clicked.connect(self.chat_wanted)
        row.addWidget(chat)
        folder = Button(theme, "Show in folder", kind="quiet", icon="folder", small=True)
        folder.clicked.connect(self.folder_wanted)
        row.addWidget(folder)
        self._end.hide()
        return self._end

    @property
    def cost(self) -> str:
        return self._cost.text()

    @property
    def made(self) -> str:
        """What the last run brought; "" while none has ended well."""
        return "" if self._end.isHidden() else self._made.text()

    @property
    def step_names(self) -> list[str]:
        """The steps shown now."""
        return [row.name.text() for row in self._rows if not row.isHidden()]

    def show_plan(
        self, targets: tuple[str, ...], plan: QuantizePlan | None, problem: SlmDeskError | None
    ) -> None:
        """What is going to happen, or why it cannot."""
        exists = [quant.quant for quant in plan.quants if quant.exists] if plan is not None else []
        self.start.setEnabled(bool(targets) and problem is None and not exists)
        self._warning.say("\n".join(quant.warning for quant in plan.quants if quant.warning) if plan else "")
        if not targets:
            self._cost.setText("Tick at least one target.")
        elif problem is not None:
            hint = MATRIX_HINT if problem.code == "imatrix_needed" else problem.hint
            self._cost.setText(f"{problem.message} {hint}")
        elif exists:
            are = "are" if len(exists) > 1 else "is"
            self._cost.setText(f"{', '.join(exists)} {are} there already; what exists is never replaced.")
        elif plan is not None:
            self._cost.setText(f"{', '.join(targets)}: {words.cost(plan)}\n{plan.matrix}")
        else:
            self._cost.setText(f"{', '.join(targets)}: converted first, then quantized.")

    def show_nothing(self) -> None:
        """There is no source to run with."""
        self.start.setEnabled(False)
        self.measure.setEnabled(False)
        self._warning.say("")
        self._cost.setText("Choose a model first.")

    def show_waiting(self) -> None:
        """A forecast is being made."""
        self.start.setEnabled(False)
        self._cost.setText("Working out sizes and times")

    def show_problem(self, error: SlmDeskError | None, retry: str = "") -> None:
        """A panel with what went wrong; None takes it away."""
        if self._panel is not None:
            if error is not None and str(self._panel.error) == str(error):
                return
            self._panel_place.removeWidget(self._panel)
            let_go(self._panel)
            self._panel = None
        if error is not None:
            action = (retry, self.resume_wanted.emit) if retry else None
            self._panel = ErrorPanel(self.theme, error, action=action)
            self._panel_place.addWidget(self._panel)

    def show_job(self, job: Job | None, *, own: bool) -> None:
        """The job as it is now. `own`: it is of the source that is shown."""
        fresh = job is not None and (self.job is None or self.job.id != job.id)
        self.job = job
        under_way = job is not None and not job.ended
        self._run.setVisible(under_way)
        self._end.setVisible(job is not None and job.state == "done" and own)
        if under_way:
            self._clock.start()
        else:
            self._clock.stop()
        if job is None:
            return
        if fresh:
            self.show_problem(None)
        if job.state == "done":
            self._made.setText(words.made(job))
        if under_way:
            self._show_steps(job)
        if job.error is not None and job.state in {"failed", "paused"} and (own or under_way):
            self.show_problem(job.error, "Try again" if job.state == "failed" else "Go on now")
        elif job.state in {"running", "done"}:
            self.show_problem(None)

    def _show_steps(self, job: Job) -> None:
        self._title.setText(job.title)
        total = job.total or 0.0
        self._bar.set_share(job.done / total if total else 0.0)
        states = {"queued": "Waits for its turn", "paused": "Paused", "interrupted": "Interrupted"}
        doing = states.get(job.state) or (
            job.detail[:1].upper() + job.detail[1:] if job.detail else "Starting"
        )
        if job.wish == "pause":
            doing = "Pauses after this step"
        elif job.wish.startswith("cancel"):
            doing = "Ending"
        self._now.setText(doing)
        held = job.state in {"paused", "interrupted"}
        self._hold.set_icon("play" if held else "pause")
        self._hold.rename("Resume" if held else "Pause after this step")
        self._hold.setEnabled(not job.wish)
        self._stop.setEnabled(not job.wish.startswith("cancel"))
        self._fill_rows(progress(job))
        text = "\n".join(job.log)
        if not self._log.isHidden() and text != self._log.toPlainText():
            self._log.setPlainText(text)
            self._log.verticalScrollBar().setValue(self._log.verticalScrollBar().maximum())
        self._tick()

    def _fill_rows(self, steps: list[tuple[dict[str, Any], str, float]]) -> None:
        missing = len(steps) - len(self._rows)
        for _ in range(min(missing, ROWS_A_TURN)):
            row = _Step(self.theme)
            self._steps.addWidget(row, len(self._rows), 0)
            self._rows.append(row)
        if missing > ROWS_A_TURN:
            QTimer.singleShot(0, self, self._more_rows)
        for place, row in enumerate(self._rows):
            if place < len(steps):
                row.show_step(*steps[place])
            if row.isHidden() == (place < len(steps)):
                row.setVisible(place < len(steps))

    def _more_rows(self) -> None:
        if self.job is not None and not self.job.ended:
            self._fill_rows(progress(self.job))

    def _tick(self) -> None:
        job = self.job
        if job is None or job.ended:
            return
        # Done and total are seconds as they were planned.
        left = job.remaining if job.remaining is not None else max((job.total or 0.0) - job.done, 0.0)
        parts = [f"{amounts.duration(max(time.time() - job.created_at, 1.0))} so far"]
        if job.state == "running" and left >= 1:
            parts.append(f"about {amounts.duration(left)} left")
        self._rest.setText(" · ".join(parts))

    def _toggle(self) -> None:
        held = self.job is not None and self.job.state in {"paused", "interrupted"}
        (self.resume_wanted if held else self.pause_wanted).emit()

    def _show_log(self) -> None:
        shown = self._log.isHidden()
        self._log.setVisible(shown)
        self._log_button.setText("Hide log" if shown else "Show log")
        if self.job is not None:
            self._show_steps(self.job)
