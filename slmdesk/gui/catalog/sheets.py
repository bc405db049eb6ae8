"""Pages that take the place of list and detail for a while: models side by side, and the three questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label, Line
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.chips import VERDICTS, VerdictPill
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.sheet import Sheet
from slmdesk.gui.widgets.switches import SegmentedSwitch
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.catalog.advise import Advice
    from slmdesk.catalog.pages import Comparison, Row
    from slmdesk.gui.theme import Theme

USES = (
    ("chat", "Conversation"),
    ("writing", "Writing"),
    ("code", "Code"),
    ("reasoning", "Hard questions"),
    ("tools", "Using tools"),
)
PRIORITIES = (("speed", "Quick answers"), ("balanced", "Balanced"), ("quality", "Best answers"))
LANGUAGES = (
    ("", "English is enough"),
    ("de", "German"),
    ("fr", "French"),
    ("es", "Spanish"),
    ("it", "Italian"),
    ("pt", "Portuguese"),
    ("nl", "Dutch"),
    ("pl", "Polish"),
    ("ru", "Russian"),
    ("tr", "Turkish"),
    ("ar", "Arabic"),
    ("hi", "Hindi"),
    ("zh", "Chinese"),
    ("ja", "Japanese"),
    ("ko", "Korean"),
    ("vi", "Vietnamese"),
)


def _clear(layout: QVBoxLayout) -> None:
    while (item := layout.takeAt(0)) is not None:
        old = item.widget()
        if old is not None:
            old.hide()
            old.deleteLater()


class CompareModelsSheet(Sheet):
    """Two to four models side by side; the better value of a line is marked.

    Signals:
        opened(str): the repository to show.
    """

    opened = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Side by side", "Back to the catalog")
        self._wait = Spinner(theme, "Comparing")
        self.body.addWidget(self._wait)

    def wait(self) -> None:
        """The models are being looked at."""
        _clear(self.body)
        self.body.addWidget(Spinner(self.theme, "Comparing"), 0, Qt.AlignmentFlag.AlignHCenter)

    def show_comparison(self, found: Comparison) -> None:
        """Show the table."""
        _clear(self.body)
        theme = self.theme
        table = QWidget()
        grid = QGridLayout(table)
        grid.setContentsMargins(SPACE.large, SPACE.medium, SPACE.large, SPACE.medium)
        grid.setHorizontalSpacing(SPACE.large)
        grid.setVerticalSpacing(SPACE.small)
        for column, page in enumerate(found.pages, 1):
            name = Label(theme, page.entry.name, role="strong", wrap=True)
            grid.addWidget(name, 0, column)
            grid.setColumnStretch(column, 1)
            choose = Button(theme, "Show", small=True)
            choose.setAccessibleName(f"Show {page.repo}")
            choose.clicked.connect(lambda _checked, repo=page.repo: self.opened.emit(repo))
            grid.addWidget(choose, 1, column, Qt.AlignmentFlag.AlignLeft)
        line = 2
        for row in found.rows:
            if all(value in {None, "", 0} for value in row.values):
                continue
            grid.addWidget(Line(theme), line, 0, 1, len(found.pages) + 1)
            grid.addWidget(Label(theme, row.title, role="small", tone="secondary", wrap=True), line + 1, 0)
            for column, value in enumerate(row.values):
                cell = self._cell(row, value, better=column in row.better)
                grid.addWidget(cell, line + 1, column + 1)
            line += 2
        card = GroupCard(theme)
        card.add_row(table)
        self.body.addWidget(card)
        self.body.addWidget(
            Label(theme, "A star marks the better value of a line.", role="small", tone="secondary")
        )

    def _cell(self, row: Row, value: float | str | None, *, better: bool) -> QWidget:
        theme = self.theme
        if row.key == "verdict" and value in VERDICTS:
            word, icon, tone = VERDICTS[value]
            return _marked(theme, word, icon, str(tone))
        words = cell_words(row.key, value)
        return _marked(theme, words, "best", "accent_text") if better else Label(theme, words, wrap=True)


def _marked(theme: Theme, words: str, icon: str, tone: str) -> QWidget:
    cell = QWidget()
    row = hbox(cell, margins=0, spacing=SPACE.tiny)
    label_tone: Any = "accent" if tone == "accent_text" else tone
    row.addWidget(Icon(theme, icon, size=MEASURE.icon_small, colour=tone))
    row.addWidget(Label(theme, words, tone=label_tone))
    row.addStretch(1)
    return cell


def cell_words(key: str, value: float | str | None) -> str:
    """A value of the comparison as it is shown."""
    if value is None or value == "":
        return "not known"
    if key == "parameters" and isinstance(value, int):
        return amounts.parameters(value)
    if key.endswith("_bytes") and isinstance(value, int | float):
        return amounts.size(value)
    if key == "context_length" and isinstance(value, int):
        return amounts.tokens(value)
    if not isinstance(value, str):
        return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"
    if key == "languages" and value.count(",") >= 6:
        return f"{value.count(',') + 1} languages"
    return value[:1].upper() + value[1:] if value in {"yes", "no", "micro", "small", "medium"} else value


class AdviceSheet(Sheet):
    """Three questions and the short list that follows from the answers.

    Signals:
        answered: an answer is another one.
        opened(str): the model to show.
    """

    answered = Signal()
    opened = Signal(str)

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Help me choose", "Back to the catalog")
        self._machine = Label(theme, "", tone="secondary", wrap=True)
        self.use = Select(theme, USES)
        self.priority = SegmentedSwitch(theme, PRIORITIES, value="balanced", name="What matters more")
        self.language = Select(theme, LANGUAGES)
        card = GroupCard(theme)
        for title, text, control in (
            ("What for?", "What you will ask of it most.", self.use),
            ("What matters more?", "Small models answer at once, large ones know more.", self.priority),
            ("Which language?", "A model that was not made for a language writes it badly.", self.language),
        ):
            control.setAccessibleName(title)
            row = CardRow(theme, title, text)
            row.trailing.addWidget(control)
            card.add_row(row)
        self.body.addWidget(self._machine)
        self.body.addWidget(card)
        self._found = vbox(spacing=SPACE.small)
        self.body.addLayout(self._found)
        self.use.chosen.connect(lambda _: self.answered.emit())
        self.priority.changed.connect(lambda _: self.answered.emit())
        self.language.chosen.connect(lambda _: self.answered.emit())

    def show_machine(self, words: str) -> None:
        """Say what was found of this machine."""
        self._machine.setText(words)

    def show_advice(self, found: Sequence[Advice]) -> None:
        """Show the short list."""
        _clear(self._found)
        theme = self.theme
        if not found:
            self._found.addWidget(
                EmptyState(
                    theme,
                    "memory",
                    "No model of the list fits into the memory that is free now and speaks that language. "
                    "Close other programs, or choose English.",
                )
            )
            return
        card = GroupCard(theme)
        for place, advice in enumerate(found, 1):
            row = CardRow(theme, f"{place}. {advice.model.name}", _sentence(advice))
            pill = VerdictPill(theme, advice.fit.verdict, amounts.size(advice.fit.forecast.total_bytes))
            row.trailing.addWidget(pill)
            show = Button(theme, "Show", kind="primary" if place == 1 else "secondary")
            show.setAccessibleName(f"Show {advice.model.name}")
            show.clicked.connect(lambda _checked, model=advice.model.id: self.opened.emit(model))
            row.trailing.addWidget(show)
            card.add_row(row)
        self._found.addWidget(card)


def _sentence(advice: Advice) -> str:
    parts = [part.rstrip(".") for part in advice.reasons if part]
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)
