"""What a new chat shows: which model answers, one honest line about it, and questions to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.chat.names import STARTER
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.gui.widgets.sentence_button import SentenceButton

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.chat.model_entries import PickerEntry
    from slmdesk.gui.theme import Theme

GUIDE_QUESTIONS = (
    "What is Q4_K_M?",
    "Which quant should I use?",
    "How much memory does a 7B model need?",
)
STARTER_QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a short poem about the sea.",
)
OPEN_QUESTIONS = (
    "Explain in five sentences how a language model writes an answer.",
    "Write a polite message that moves a meeting to Friday.",
    "Write a Python function that counts the words in a file.",
)

ROOMY = 380
"""From this height on everything has room."""


def about(entry: PickerEntry | None) -> str:
    """One line that says what a model is, and nothing it is not."""
    if entry is None:
        return "It answers on this machine; nothing you type leaves it."
    count = entry.counted
    if entry.built_in:
        size = f" ({count})" if count else ""
        return (
            f"The tiny model that ships with SLM Desk{size}. It knows small language models and this application, "
            "and little else."
        )
    if entry.starter:
        size = f" ({count})" if count else ""
        return (
            f"A small general model to start with{size}. Short, plain questions suit it best, and it is sometimes "
            "wrong."
        )
    facts = ", ".join(part for part in (count, entry.size) if part)
    return f"{facts}. It answers on this machine; nothing you type leaves it." if facts else about(None)


class FirstStart(QWidget):
    """The empty state of a chat.

    Signals:
        question(str): one of the questions was pressed.
        guide_question(str): a question about this program or small models was; Desk Guide answers it best.
    """

    question = Signal(str)
    guide_question = Signal(str)

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        middle = Qt.AlignmentFlag.AlignHCenter
        self._title = Label(theme, role="title", wrap=True)
        self._title.setAlignment(middle)
        self._words = Label(theme, tone="secondary", wrap=True)
        self._words.setAlignment(middle)
        self._buttons = [SentenceButton(theme) for _ in GUIDE_QUESTIONS]
        # Large text in a low window: what has no room is scrolled to, never cut.
        area = ScrollingColumn(widest=MEASURE.dialog, top=SPACE.small, bottom=SPACE.small)
        self._column = column = area.column
        column.setContentsMargins(SPACE.small, SPACE.small, SPACE.small, SPACE.small)
        column.addStretch(2)
        self._icon = Icon(theme, "chat", size=MEASURE.icon_large, colour="accent")
        column.addWidget(self._icon, 0, middle)
        column.addWidget(self._title)
        column.addWidget(self._words)
        column.addSpacing(SPACE.medium)
        for button in self._buttons:
            button.clicked.connect(lambda _checked, button=button: self.question.emit(button.text()))
            column.addWidget(button)
        column.addWidget(self._guide_part())
        column.addStretch(3)
        layout = vbox(self, margins=0)
        layout.addWidget(area)
        self.show_model(None, "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In the lowest windows what only adorns makes room."""
        super().resizeEvent(event)
        roomy = self.height() >= ROOMY
        self._icon.setVisible(roomy)
        self._column.setSpacing(SPACE.small if roomy else SPACE.tiny)

    def _guide_part(self) -> QWidget:
        """Questions for Desk Guide below those for another model."""
        part = self._guide = QWidget()
        inner = vbox(part, margins=(0, SPACE.small, 0, 0), spacing=SPACE.tiny)
        told = "About SLM Desk and small models, answered by Desk Guide:"
        words = Label(self.theme, told, role="small", tone="secondary", wrap=True)
        words.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        inner.addWidget(words)
        self._guide_buttons = [SentenceButton(self.theme, text, kind="link") for text in GUIDE_QUESTIONS]
        for button in self._guide_buttons:
            button.clicked.connect(lambda _checked, button=button: self.guide_question.emit(button.text()))
            inner.addWidget(button)
        return part

    def show_model(self, entry: PickerEntry | None, name: str, *, guide: bool = False) -> None:
        """The model that would answer; `guide` when Desk Guide can be asked instead."""
        self._title.setText(name or (entry.title if entry else "Ask something"))
        self._words.setText(about(entry))
        is_guide = entry.built_in if entry else name.startswith("Desk Guide")
        is_starter = entry.starter if entry else name.startswith(STARTER.rpartition("/")[2])
        questions = GUIDE_QUESTIONS if is_guide else STARTER_QUESTIONS if is_starter else OPEN_QUESTIONS
        for button, question in zip(self._buttons, questions, strict=True):
            button.setText(question)
        self._guide.setVisible(guide and not is_guide)

    @property
    def questions(self) -> list[SentenceButton]:
        """The three buttons."""
        return self._buttons

    @property
    def guide_questions(self) -> list[SentenceButton]:
        """The buttons that ask Desk Guide; none where it is the model that answers anyway."""
        return [] if self._guide.isHidden() else self._guide_buttons
