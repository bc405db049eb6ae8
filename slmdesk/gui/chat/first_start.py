"""What a new chat shows: which model answers, one honest line about it, and three questions to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from slmdesk.gui.chat.model_entries import parameter_words, size_words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label
from slmdesk.gui.widgets.buttons import Button

if TYPE_CHECKING:
    from slmdesk.gui.chat.model_entries import ModelEntry
    from slmdesk.gui.theme import Theme

GUIDE_QUESTIONS = (
    "What is Q4_K_M?",
    "Which quant should I use?",
    "How much memory does a 7B model need?",
)
OPEN_QUESTIONS = (
    "Explain in five sentences how a language model writes an answer.",
    "Write a polite message that moves a meeting to Friday.",
    "Write a Python function that counts the words in a file.",
)


def about(entry: ModelEntry | None) -> str:
    """One line that says what a model is, and nothing it is not."""
    if entry is None:
        return "It answers on this machine; nothing you type leaves it."
    count = parameter_words(entry.parameters)
    if entry.built_in:
        size = f" ({count})" if count else ""
        return (
            f"The tiny model that ships with SLM Desk{size}. It knows small language models and this application, "
            "and little else."
        )
    facts = ", ".join(part for part in (count, size_words(entry.size_bytes)) if part)
    return f"{facts}. It answers on this machine; nothing you type leaves it." if facts else about(None)


class FirstStart(QWidget):
    """The empty state of a chat.

    Signals:
        asked(str): one of the questions was pressed.
    """

    asked = Signal(str)

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        middle = Qt.AlignmentFlag.AlignHCenter
        self._title = Label(theme, role="title")
        self._title.setAlignment(middle)
        self._words = Label(theme, tone="secondary", wrap=True)
        self._words.setAlignment(middle)
        self._buttons = [Button(theme, "") for _ in GUIDE_QUESTIONS]
        column = QVBoxLayout()
        column.setSpacing(SPACE.small)
        column.addStretch(2)
        column.addWidget(Icon(theme, "chat", size=MEASURE.icon_large, colour="accent"), 0, middle)
        column.addWidget(self._title)
        column.addWidget(self._words)
        column.addSpacing(SPACE.large)
        for button in self._buttons:
            button.clicked.connect(lambda _checked, button=button: self.asked.emit(button.text()))
            column.addWidget(button)
        column.addStretch(3)
        middle_part = QWidget()
        middle_part.setLayout(column)
        middle_part.setMaximumWidth(MEASURE.dialog)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SPACE.wide, SPACE.small, SPACE.wide, SPACE.small)
        layout.addStretch(1)
        layout.addWidget(middle_part, MEASURE.dialog)
        layout.addStretch(1)
        self.show_model(None, "")

    def show_model(self, entry: ModelEntry | None, name: str) -> None:
        """The model that would answer."""
        self._title.setText(name or (entry.title if entry else "Ask something"))
        self._words.setText(about(entry))
        guide = entry.built_in if entry else name.startswith("Desk Guide")
        for button, question in zip(self._buttons, GUIDE_QUESTIONS if guide else OPEN_QUESTIONS, strict=True):
            button.setText(question)

    @property
    def questions(self) -> list[Button]:
        """The three buttons."""
        return self._buttons
