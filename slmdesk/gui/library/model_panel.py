"""What one model keeps, on its page: shown, changed at once, with Undo, and the forecast beside it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.gui.library.answer_card import AnswerCard
from slmdesk.gui.library.kept_controller import KeptController
from slmdesk.gui.library.load_card import LoadCard
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.widgets.cards import GroupCard
    from slmdesk.library.in_force import InForce
    from slmdesk.library.kept import FileSettings
    from slmdesk.library.records import LibraryFile
    from slmdesk.memory.fit import Fit


class ModelPanel(QWidget):
    """Two cards about the file that is shown.

    Attributes:
        load, answers: the cards, made when a file is shown for the first time.
        built: whether they are.
        in_force: what counts for the file, once it is known.

    Signals:
        load_wanted(object): the `LibraryFile` is to be loaded anew.
    """

    load_wanted = Signal(object)

    def __init__(self, services: WindowServices, *, compact: bool = False) -> None:
        """`compact`: for a narrow place beside a conversation, which has instructions of its own."""
        super().__init__()
        self._loaded = services.loaded
        self._file: LibraryFile | None = None
        self._known = False  # what counts for it
        self.in_force: InForce | None = None
        self.controller = KeptController(services, self)
        theme = services.theme
        self.load = LoadCard(services, compact=compact)
        self.answers = AnswerCard(services, compact=compact)
        self.load.edited.connect(self.controller.keep)
        self.load.load_wanted.connect(self._want_load)
        self.answers.edited.connect(self.controller.keep)
        self.let_go = Button(theme, "Reset all", kind="link", small=True)
        self.let_go.setToolTip("Let go of everything that is kept for this model")
        self.let_go.clicked.connect(self.controller.reset)
        self.more = Button(theme, "Show all", kind="link", small=True)
        self.more.setCheckable(True)
        self.more.toggled.connect(self._show_more)
        column = vbox(self, margins=0, spacing=SPACE.medium)
        sections: list[tuple[str, Button, GroupCard]] = [
            ("How it is loaded", self.let_go, self.load),
            ("How it answers", self.more, self.answers),
        ]
        for title, button, card in reversed(sections) if compact else sections:
            head = QHBoxLayout()
            head.addWidget(Label(theme, title, role="emphasis"))
            head.addStretch(1)
            head.addWidget(button)
            column.addLayout(head)
            column.addWidget(card)
        self.brought = Label(theme, "", role="small", tone="secondary", wrap=True)
        column.addWidget(self.brought)
        self.built = False
        self._building: Iterator[None] | None = None
        services.loaded.changed.connect(self._show_loaded)

    @property
    def file(self) -> LibraryFile | None:
        """The file that is shown."""
        return self._file

    def show_file(self, file: LibraryFile | None) -> None:
        """Show what is kept for a file; nothing for None, or one that is not run."""
        shown = file is not None and file.runs and file.problem is None
        self.setVisible(shown)
        another = file is None or self._file is None or file.id != self._file.id or not self._known
        self._file = file if shown else None
        if self._file is None:
            self.controller.show(None)
            return
        if not self.built:
            self._build()
            return
        if another:
            self.setEnabled(False)
            self.load.show_fit(None)
        self._show_loaded()
        self.controller.show(self._file)

    def _build(self) -> None:
        """Make the cards row by row, with the window's other work between; then show the file."""
        if self._building is None:
            self._building = chain(self.load.build(), self.answers.build())
            QTimer.singleShot(0, self, self._build_on)

    def _build_on(self) -> None:
        assert self._building is not None
        if next(self._building, self) is not self:
            QTimer.singleShot(0, self, self._build_on)
            return
        self.built = True
        self.show_file(self._file)

    # What the controller shows

    def show_in_force(self, file: LibraryFile, in_force: InForce, *, gpu: bool) -> None:
        self._known = True
        self.in_force = in_force
        self.setEnabled(True)
        self.load.show_in_force(in_force, file.context_length, gpu=gpu)
        self.answers.show_in_force(in_force)
        self.let_go.setVisible(bool(in_force.kept.own.items()))
        words = brought_words(in_force.kept)
        self.brought.setText(words)
        self.brought.setVisible(bool(words))

    def show_fit(self, found: Fit | None, problem: str = "") -> None:
        self.load.show_fit(found, problem)

    def _show_loaded(self) -> None:
        if self._file is not None and self.built:
            self.load.show_loaded(self._loaded.get(self._file.id))

    def _want_load(self) -> None:
        if self._file is not None:
            self.load_wanted.emit(self._file)

    def _show_more(self, on: bool) -> None:
        self.answers.show_all(on=on)
        self.more.setText("Show less" if on else "Show all")


def brought_words(kept: FileSettings) -> str:
    """What came with the model that has no row of its own, as sentences."""
    words = []
    if kept.template:
        words.append(
            f"{kept.source}'s chat template counts where it says something else than the file's own."
        )
    if kept.adapters:
        names = ", ".join(path.name for path in kept.adapters)
        words.append(f"It is loaded with {'the adapter' if len(kept.adapters) == 1 else 'adapters'} {names}.")
    if kept.unused:
        words.append(f"Not used here: {', '.join(kept.unused)}.")
    return " ".join(words)
