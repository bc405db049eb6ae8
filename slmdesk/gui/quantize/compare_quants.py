"""Two quants on the same prompt, side by side, with the first differing token marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QPlainTextEdit, QTextEdit, QWidget

from slmdesk.engines.registry import KINDS
from slmdesk.gui.quantize.compare_controller import CompareController
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.fields import TextField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QResizeEvent

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.theme import Theme
    from slmdesk.quantize.results import ResultRow
    from slmdesk.quantize.room import Compared, GreedyAnswer

QUESTION = "How do I compare two quants?"
LINES = 12


class _Side(Pane):
    """One quant and its answer."""

    def __init__(self, theme: Theme, name: str) -> None:
        super().__init__(theme, kind="card")
        self._marked = (0, 0)
        self.quant = Select(theme)
        self.quant.setAccessibleName(f"{name} quant")
        self._words = Label(theme, "", role="small", tone="secondary")
        self._spinner = Spinner(theme, f"{name} answer is written", size=MEASURE.icon_small)
        self._spinner.hide()
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setProperty("kind", "bare")
        self.view.setAccessibleName(f"{name} answer")
        self.view.setPlaceholderText("Its answer comes here.")
        self.view.setMinimumHeight(LINES * self.view.fontMetrics().lineSpacing())
        head = QHBoxLayout()
        head.addWidget(self.quant)
        head.addStretch(1)
        head.addWidget(self._spinner)
        head.addWidget(self._words)
        column = vbox(self, margins=SPACE.medium, spacing=SPACE.small)
        column.addLayout(head)
        column.addWidget(self.view, 1)

    @property
    def answer(self) -> str:
        return self.view.toPlainText()

    @property
    def marked(self) -> str:
        """The token that is marked; "" for none."""
        start, end = self._marked
        return self.answer[start:end]

    def wait(self, waiting: bool) -> None:
        self._spinner.setVisible(waiting)

    def clear(self) -> None:
        self.view.clear()
        self._marked = (0, 0)
        self.mark()
        self._words.setText("")

    def show_answer(self, answer: GreedyAnswer, differs_at: int | None) -> None:
        """The answer, with the token marked in which it parts from the other one."""
        text = answer.text
        lead = len(text) - len(text.lstrip())
        self.view.setPlainText(text.lstrip())
        count = len(answer.pieces)
        self._words.setText(f"{count} tokens" if answer.stopped else f"{count} tokens, cut here")
        self._marked = (0, 0)
        if differs_at is not None and differs_at < count:
            start = sum(map(len, answer.pieces[:differs_at])) - lead
            self._marked = (max(start, 0), max(start + len(answer.pieces[differs_at]), 0))
        self.mark()

    def mark(self) -> None:
        """Draw the mark in the theme's colours."""
        start, end = self._marked
        if end <= start:
            self.view.setExtraSelections([])
            return
        selection: Any = QTextEdit.ExtraSelection()
        form = QTextCharFormat()
        form.setBackground(self.theme.colour("caution"))
        form.setForeground(self.theme.colour("surface"))
        cursor = QTextCursor(self.view.document())
        cursor.setPosition(start)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        selection.cursor, selection.format = cursor, form
        self.view.setExtraSelections([selection])


class CompareQuantsSheet(Sheet):
    """Asks two quants the same, one after the other, each always taking its likeliest token."""

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services.theme, "Two quants, one prompt", "Back to the results")
        theme = services.theme
        self.controller = CompareController(services, self)
        self.compared: Compared | None = None
        self._panel: ErrorPanel | None = None
        self.prompt = TextField(theme, QUESTION, placeholder="Ask both the same")
        self.prompt.setAccessibleName("Prompt")
        self.prompt.returnPressed.connect(self.run)
        self.ask = Button(theme, "Ask both", kind="primary", icon="play")
        self.ask.clicked.connect(self.run)
        row = hbox(spacing=SPACE.small)
        row.addWidget(self.prompt, 1)
        row.addWidget(self.ask)
        self.verdict = Label(
            theme, "Both take their likeliest token at each step.", tone="secondary", wrap=True
        )
        self.sides = (_Side(theme, "First"), _Side(theme, "Second"))
        self._halves = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._halves.setSpacing(SPACE.medium)
        for side in self.sides:
            side.quant.chosen.connect(lambda _: self._forget())
            self._halves.addWidget(side, 1)
        self.body.addLayout(row)
        self.body.addWidget(self.verdict)
        holder = QWidget()
        holder.setLayout(self._halves)
        self._halves.setContentsMargins(0, 0, 0, 0)
        self.body.addWidget(holder, 1)
        theme.changed.connect(self._remark)

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        """What can be compared: the source first, and the smallest quant beside it."""
        choices = [(str(row.path), row.name) for row in rows if KINDS.runs(row.path)]
        for side, at in zip(self.sides, (0, len(choices) - 1), strict=True):
            before = side.quant.value
            side.quant.set_choices(
                choices, before if any(path == before for path, _ in choices) else choices[at][0]
            )

    def run(self) -> None:
        """Ask both."""
        if not self.prompt.text().strip() or self.ask.busy:
            return
        self._forget()
        self.show_asking(on=True)
        first, second = self.sides
        self.controller.ask(first.quant.value, second.quant.value, self.prompt.text().strip())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        wide = self.width() >= MEASURE.reading
        self._halves.setDirection(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        )

    # What the controller shows

    def show_asking(self, *, on: bool) -> None:
        self.ask.set_busy(on)
        for side in self.sides:
            side.wait(on)

    def show_problem(self, error: SlmDeskError) -> None:
        self._panel = ErrorPanel(self.theme, error, action=("Try again", self.run))
        self.body.insertWidget(1, self._panel)

    def show_who_answers(self, name: str) -> None:
        self.verdict.setText(f"{name} answers.")

    def show_compared(self, found: Compared) -> None:
        self.compared = found
        at = found.differs_at
        for side, answer in zip(self.sides, (found.first, found.second), strict=True):
            side.show_answer(answer, at)
        if at is None:
            self.verdict.setText(f"Both answers are the same, all {len(found.first.pieces)} tokens.")
        else:
            self.verdict.setText(
                f"The answers part at token {at + 1}, which is marked. What follows differs because of it."
            )

    def _remark(self) -> None:
        """The theme is another one."""
        if self.compared is not None:
            for side in self.sides:
                side.mark()

    def _forget(self) -> None:
        self.controller.stop()
        self.compared = None
        for side in self.sides:
            side.clear()
            side.wait(False)
        self.verdict.setText("Both take their likeliest token at each step.")
        if self._panel is not None:
            self.body.removeWidget(self._panel)
            let_go(self._panel)
            self._panel = None
