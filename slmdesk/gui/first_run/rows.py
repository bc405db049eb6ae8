"""The rows of the page: the models folder, and a model to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt

from slmdesk.core import amounts
from slmdesk.gui.first_run import words
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.cards import CardRow
from slmdesk.gui.widgets.chips import StateChip, VerdictPill
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtWidgets import QWidget

    from slmdesk.catalog.advise import Advice
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.theme import Theme
    from slmdesk.library.new_folder import Room


class FolderRow(CardRow):
    """Where models are kept, with the room there and what was wrong with the last choice.

    Attributes:
        change: the button that asks for another folder.
    """

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Models folder", icon="folder")
        self._path = ElidedLabel(theme, middle=True)
        self._room = Label(theme, " ", role="small", tone="secondary", wrap=True)
        self._problem = Label(theme, role="small", tone="bad", wrap=True)
        self._problem.hide()
        for label in (self._path, self._room, self._problem):
            self.body.addWidget(label)
        self.change = Button(theme, "Change…", icon="folder")
        self.change.setAccessibleName("Change the models folder")
        self.trailing.addWidget(self.change)

    @property
    def path(self) -> str:
        return self._path.text()

    @property
    def problem(self) -> str:
        """What is wrong with the folder last chosen; "" when nothing is."""
        return "" if self._problem.isHidden() else self._problem.text()

    def show_folder(self, folder: Path, *, locked: bool) -> None:
        """The folder that counts; `locked` when the environment gives it."""
        self._path.setText(str(folder))
        self.change.setEnabled(not locked)
        self.change.setToolTip("Set by the environment" if locked else "")

    def show_room(self, room: Room | None) -> None:
        self._room.setText(words.room(room) if room else " ")

    def show_problem(self, error: SlmDeskError | None) -> None:
        """Why a folder was refused; None when all is well again."""
        self._problem.setText(" ".join(part for part in (error.message, error.hint) if part) if error else "")
        self._problem.setVisible(error is not None)
        self.setAccessibleDescription(self._problem.text())


class RecommendedRow(CardRow):
    """The recommended model: what it is, why, how much there is to download.

    Attributes:
        download: the button that fetches it and goes to the chat.
    """

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, "Looking for a model that fits…", " ", icon="model")
        self._facts = Label(theme, role="small", tone="secondary", wrap=True)
        self._facts.hide()
        self.body.insertWidget(1, self._facts)
        self._wait = Spinner(theme, "Looking for a model that fits")
        self.pill = VerdictPill(theme, "fits", "")
        self.pill.hide()
        self.download = Button(theme, "Download and chat", kind="primary", icon="download")
        self.download.hide()
        self.trailing.addWidget(self._wait)
        _stack(self, self.pill, self.download)

    def show_advice(self, advice: Advice | None) -> None:
        """The model that is recommended, or None when none fits."""
        self._wait.hide()
        for widget in (self._facts, self.pill, self.download):
            widget.setVisible(advice is not None)
        if advice is None:
            self.title.setText("No recommendation")
            self.text.setText(words.NOTHING_FITS)
            return
        self.title.setText(advice.model.name)
        self.text.setText(words.reasons(advice))
        self._facts.setText(words.facts(advice))
        self.pill.set_verdict(advice.fit.verdict, amounts.size(advice.fit.forecast.total_bytes))
        self.download.setAccessibleName(f"Download {advice.model.name} and chat")


class BuiltInRow(CardRow):
    """The model that is there already: the starter where an installation has it, otherwise Desk Guide.

    Attributes:
        start: the button that goes to the chat.
    """

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(theme, "Desk Guide", words.BUILT_IN, icon="built-in", parent=parent)
        self.start = Button(theme, "Start with the built-in model")
        self._chip = StateChip(theme, "built_in")
        _stack(self, self._chip, self.start)

    def show_starter(self, name: str) -> None:
        """The starter is there, and chats begin with it."""
        self.title.setText(name)
        self.text.setText(words.STARTER)
        self._chip.set_state("starter")
        self.start.setText("Start with this model")


def _stack(row: CardRow, mark: QWidget, button: Button) -> None:
    """What is known of a model above what can be done with it, at the right."""
    column = vbox(spacing=SPACE.small)
    for widget in (mark, button):
        column.addWidget(widget, 0, Qt.AlignmentFlag.AlignRight)
    row.trailing.addLayout(column)
    row.body.addStretch(1)
