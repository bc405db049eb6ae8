"""Two quants on the same prompt, side by side, with the first differing token marked."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QPlainTextEdit, QTextEdit, QVBoxLayout, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.quantize.difference import parting
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import TextField
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.place import WindowServices
    from slmdesk.gui.quantize.rows import ResultRow
    from slmdesk.gui.theme import Theme

QUESTION = "What is a quant, and which one should I choose?"
MOST_TOKENS = 256
LINES = 12


class _Side(Pane):
    """One quant and its answer."""

    def __init__(self, theme: Theme, name: str) -> None:
        super().__init__(theme, kind="card")
        self.pieces: list[str] = []
        self.quant = Select(theme)
        self.quant.setAccessibleName(f"{name} quant")
        self._words = Label(theme, "", role="small", tone="secondary")
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setProperty("kind", "bare")
        self.view.setAccessibleName(f"{name} answer")
        self.view.setPlaceholderText("Its answer comes here.")
        self.view.setMinimumHeight(LINES * self.view.fontMetrics().lineSpacing())
        head = QHBoxLayout()
        head.addWidget(self.quant)
        head.addStretch(1)
        head.addWidget(self._words)
        column = QVBoxLayout(self)
        column.setContentsMargins(SPACE.medium, SPACE.medium, SPACE.medium, SPACE.medium)
        column.setSpacing(SPACE.small)
        column.addLayout(head)
        column.addWidget(self.view, 1)

    @property
    def answer(self) -> str:
        return "".join(self.pieces)

    def clear(self) -> None:
        self.pieces = []
        self.view.clear()
        self.mark(0, 0)
        self._words.setText("")

    def say(self, text: str) -> None:
        self._words.setText(text)

    def add(self, text: str) -> None:
        self.pieces.append(text)
        cursor = QTextCursor(self.view.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text)

    def mark(self, start: int, end: int) -> None:
        """Mark these characters; none where both are equal."""
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


class CompareSheet(Sheet):
    """Asks two quants the same, one after the other, each always taking its likeliest token."""

    done = Signal()

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services.theme, "Two quants, one prompt", "Back to the results")
        theme = services.theme
        self._services = services
        self._task: Any = None
        self._panel: ErrorPanel | None = None
        self.prompt = TextField(theme, QUESTION, placeholder="Ask both the same")
        self.prompt.setAccessibleName("Prompt")
        self.prompt.returnPressed.connect(self.run)
        self.ask = Button(theme, "Ask both", kind="primary", icon="play")
        self.ask.clicked.connect(self.run)
        row = QHBoxLayout()
        row.setSpacing(SPACE.small)
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
        theme.changed.connect(self._show_parting)

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        """What can be compared: the source first, and the smallest quant beside it."""
        choices = [(str(row.path), row.name) for row in rows if row.path.suffix.lower() == ".gguf"]
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
        self.ask.set_busy(True)
        self._task = self._services.run(self._run(self.prompt.text().strip()), "comparing two quants")

    def stop(self) -> None:
        """End what is being answered."""
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        wide = self.width() >= MEASURE.reading
        self._halves.setDirection(
            QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        )

    async def _run(self, prompt: str) -> None:
        try:
            client = await self._services.application.connector.connect()
            for side in self.sides:
                await self._answer(client, side, prompt)
                self._show_parting()
            self._tell()
        except SlmDeskError as error:
            self._panel = ErrorPanel(self.theme, error, action=("Try again", self.run))
            self.body.insertWidget(1, self._panel)
        finally:
            self.ask.set_busy(False)
            self.done.emit()

    async def _answer(self, client: Any, side: _Side, prompt: str) -> None:
        from slmdesk.serving.client import AnswerFinished, ChatRequest, LoadProgress, TextDelta

        request = ChatRequest(
            model=side.quant.value,
            messages=[{"role": "user", "content": prompt}],
            sampling={"temperature": 0.0},
            max_tokens=MOST_TOKENS,
        )
        side.say("Loading")
        async with aclosing(client.chat(request)) as events:
            async for event in events:
                if isinstance(event, LoadProgress):
                    side.say(f"Loading, {event.fraction:.0%}")
                elif isinstance(event, TextDelta):
                    side.say("Answers")
                    side.add(event.text)
                    self._show_parting()
                elif isinstance(event, AnswerFinished):
                    count = int(event.usage.get("completion_tokens", 0))
                    side.say(f"{count} tokens")

    def _show_parting(self) -> None:
        first, second = self.sides
        found = parting(first.pieces, second.pieces, ended=not self.ask.busy) if second.pieces else None
        for number, side in enumerate(self.sides):
            side.mark(found.start, found.ends[number]) if found else side.mark(0, 0)

    def _tell(self) -> None:
        first, second = self.sides
        found = parting(first.pieces, second.pieces, ended=True)
        if found is None:
            self.verdict.setText("Both answers are the same, token for token.")
        else:
            self.verdict.setText(
                f"They part at token {found.token}; it is marked. What follows differs because of it."
            )

    def _forget(self) -> None:
        self.stop()
        for side in self.sides:
            side.clear()
        self.verdict.setText("Both take their likeliest token at each step.")
        if self._panel is not None:
            self.body.removeWidget(self._panel)
            self._panel.hide()
            self._panel.deleteLater()
            self._panel = None
