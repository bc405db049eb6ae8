"""What stands below an answer that did not simply end: waiting, stopped, cut off, failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from slmdesk.chat.turns import tool_limit_words
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.families import in_words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.panels import ErrorPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.page import Remedy
    from slmdesk.gui.theme import Theme


class Waiting(QWidget):
    """A turning circle and what is being waited for."""

    def __init__(self, theme: Theme, words: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = hbox(self, margins=(0, SPACE.tiny, 0, SPACE.tiny), spacing=SPACE.small)
        self._words = Label(theme, words, tone="secondary")
        layout.addWidget(Spinner(theme, size=MEASURE.icon_small))
        layout.addWidget(self._words, 1)

    @property
    def words(self) -> str:
        return self._words.text()

    def set_words(self, words: str) -> None:
        self._words.setText(words)
        self.setAccessibleName(words)


class Ended(QWidget):
    """One quiet line: "Stopped", with what may be done about it."""

    def __init__(
        self, theme: Theme, words: str, offers: Sequence[Remedy], *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        layout = hbox(self, margins=(0, SPACE.tiny, 0, 0), spacing=SPACE.small)
        self.words = words
        self.setAccessibleName(words)
        layout.addWidget(Label(theme, words, role="small", tone="secondary"))
        for text, run in offers:
            layout.addWidget(_button(theme, text, run))
        layout.addStretch(1)


class Told(QWidget):
    """One quiet line about how an answer came about."""

    def __init__(self, theme: Theme, words: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.words = words
        self.setAccessibleName(words)
        layout = hbox(self, margins=(0, SPACE.tiny, 0, 0))
        layout.addWidget(Label(theme, words, role="small", tone="secondary", wrap=True))


class CutOff(Pane):
    """An answer that ended too early: why, and how to go on."""

    def __init__(
        self, theme: Theme, error: SlmDeskError, offers: Sequence[Remedy], *, parent: QWidget | None = None
    ) -> None:
        super().__init__(theme, kind="panel", parent=parent)
        self.setProperty("tone", "caution")
        self.words = f"{error.message} {error.hint}".strip()
        self.setAccessibleName(self.words)
        layout = hbox(
            self, margins=(SPACE.medium, SPACE.small, SPACE.small, SPACE.small), spacing=SPACE.small
        )
        top = Qt.AlignmentFlag.AlignTop
        layout.addWidget(Icon(theme, "attention", colour="caution"), 0, top)
        lines = vbox(spacing=0)
        lines.addWidget(Label(theme, error.message, wrap=True, selectable=True))
        if error.hint:
            lines.addWidget(Label(theme, error.hint, role="small", tone="secondary", wrap=True))
        layout.addLayout(lines, 1)
        for text, run in offers:
            button = Button(theme, text, small=True)
            button.clicked.connect(lambda _checked, run=run: run())
            layout.addWidget(button, 0, top)


def _button(theme: Theme, text: str, run: Callable[[], object]) -> Button:
    button = Button(theme, text, kind="link", small=True)
    button.clicked.connect(lambda _checked: run())
    return button


def note_for(
    theme: Theme,
    item: MessageItem,
    *,
    go_on: Callable[[], object],
    again: Callable[[], object],
    mend: Callable[[SlmDeskError], Remedy | None],
) -> QWidget | None:
    """The note an answer needs, or None. `mend` may know a better button for an error than "Try again"."""
    message = item.message
    if item.tools_left and message.state == "complete" and not item.asking:
        return Ended(theme, "It stopped at its tools", [("Go on", go_on)])
    begun = bool(message.text.strip() or message.reasoning)
    continued: list[Remedy] = [("Continue", go_on)] if item.last and begun else []
    retried: list[Remedy] = [("Try again", again)]
    if message.state == "stopped":
        return Ended(theme, "Stopped", continued or (retried if item.last else []))
    if item.cut_short:
        return Ended(theme, "The answer reached the most tokens it may have", continued)
    error = SlmDeskError.from_json(message.error) if message.error else None
    if message.state == "interrupted":
        error = error or SlmDeskError("answer_interrupted", "The answer was cut off.")
        better = mend(error)
        return CutOff(theme, error, [better] if better else [*continued, *retried])
    if message.state == "failed":
        error = error or SlmDeskError("unknown", "There is no answer, and nothing says why.")
        return ErrorPanel(theme, error, action=mend(error) or retried[0], closable=False)
    if steps := int(message.stats.get("tool_steps", 0)):
        return Told(theme, tool_limit_words(steps))
    return Told(theme, in_words(item.chat_form)) if item.chat_form else None
