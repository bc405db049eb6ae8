"""What one model keeps, on its page: shown, changed at once, with Undo, and the forecast beside it."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.library.answer_card import AnswerCard
from slmdesk.gui.library.load_card import LoadCard
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.inference.limits import find_model_setting
from slmdesk.library.in_force import InForce

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slmdesk.gui.page import WindowServices
    from slmdesk.library.kept import FileSettings
    from slmdesk.library.records import LibraryFile

DEBOUNCE_MS = 150
"""A forecast is made when nothing changed for so long."""


class ModelPanel(QWidget):
    """Two cards about the file that is shown.

    Attributes:
        load, answers: the cards, made when a file is shown for the first time.
        built: whether they are.

    Signals:
        load_wanted(object): the `LibraryFile` is to be loaded anew.
    """

    load_wanted = Signal(object)

    def __init__(self, services: WindowServices) -> None:
        super().__init__()
        self._services = services
        self._file: LibraryFile | None = None
        self._in_force: InForce | None = None
        self._fitting: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        theme = services.theme
        self.load = LoadCard(services)
        self.answers = AnswerCard(services)
        self.load.edited.connect(self._edited)
        self.load.load_wanted.connect(self._want_load)
        self.answers.edited.connect(self._edited)
        self.let_go = Button(theme, "Reset all", kind="link", small=True)
        self.let_go.setToolTip("Let go of everything that is kept for this model")
        self.let_go.clicked.connect(self._reset)
        self.more = Button(theme, "Show all", kind="link", small=True)
        self.more.setCheckable(True)
        self.more.toggled.connect(self._show_more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACE.medium)
        for title, button, card in (
            ("How it is loaded", self.let_go, self.load),
            ("How it answers", self.more, self.answers),
        ):
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
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(DEBOUNCE_MS)
        self._pause.timeout.connect(self._forecast)
        services.loaded.changed.connect(self._show_loaded)

    @property
    def file(self) -> LibraryFile | None:
        """The file that is shown."""
        return self._file

    def show_file(self, file: LibraryFile | None) -> None:
        """Show what is kept for a file; nothing for None, or one that is not run."""
        shown = file is not None and file.runs and file.problem is None
        self.setVisible(shown)
        another = file is None or self._file is None or file.id != self._file.id or self._in_force is None
        self._file = file if shown else None
        if self._file is None:
            return
        if not self.built:
            self._build()
            return
        if another:
            self.setEnabled(False)
            self.load.show_fit(None)
        self._show_loaded()
        self._services.run(self._look(), "reading what is kept for a model")

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

    async def _look(self) -> None:
        file, app = self._file, self._services.application
        if file is None:
            return
        in_force = await asyncio.to_thread(InForce.of, file, app.library, app.settings)
        best = (await app.devices.now()).best
        if file is not self._file:
            return
        self._in_force = in_force
        self.setEnabled(True)
        self.load.show_in_force(in_force, file.context_length, gpu=best is not None)
        self.answers.show_in_force(in_force)
        self.let_go.setVisible(bool(in_force.kept.own.items()))
        words = brought_words(in_force.kept)
        self.brought.setText(words)
        self.brought.setVisible(bool(words))
        self._pause.start()

    def _forecast(self) -> None:
        if self._fitting is not None and not self._fitting.done():
            self._fitting.cancel()
        self._fitting = self._services.run(self._fit(), "forecasting a model's memory")

    async def _fit(self) -> None:
        file, in_force = self._file, self._in_force
        if file is None or in_force is None:
            return
        loaded = self._services.loaded.get(file.id)
        freed = loaded.memory_bytes if loaded is not None else 0
        try:
            found = await self._services.application.fitting.of_file(
                file, in_force.kept.effective, freed=freed
            )
        except SlmDeskError as error:
            self.load.show_fit(None, error.message)
            return
        if file is self._file:
            self.load.show_fit(found)

    def _edited(self, name: str, value: object) -> None:
        if self._file is not None:
            self._services.run(self._keep(self._file, {name: value}), "keeping a model's settings")

    def _reset(self) -> None:
        if self._file is not None:
            self._services.run(self._keep(self._file, None), "resetting a model's settings")

    async def _keep(self, file: LibraryFile, changes: Mapping[str, object] | None) -> None:
        """Keep other values, or (None) none at all, and offer Undo. A value that is refused is said, and what counts
        is shown again."""
        store = self._services.application.library.kept
        everything = changes is None
        try:
            async with self._writing:
                before = (await asyncio.to_thread(store.of, file)).own
                changes = dict.fromkeys(before.items()) if changes is None else changes
                await asyncio.to_thread(store.change, file, changes)
                self._tell(file, {name: before.get(name) for name in changes}, changes, everything=everything)
        finally:
            await self._look()

    def _tell(
        self,
        file: LibraryFile,
        old: Mapping[str, object],
        new: Mapping[str, object],
        *,
        everything: bool,
    ) -> None:
        """Say what was changed, in the order of the changes, with a way back."""
        if old == dict(new):
            return
        name = file.id.partition("/")[2] or file.path.name
        titles = ", ".join(find_model_setting(key).title for key in new)
        self._services.toast(
            f"{name} keeps nothing of its own now." if everything else f"{titles} changed for {name}.",
            lambda: self._services.run(self._undo(file, old), "undoing a change"),
        )

    async def _undo(self, file: LibraryFile, old: Mapping[str, object]) -> None:
        async with self._writing:
            await asyncio.to_thread(self._services.application.library.kept.change, file, old)
        await self._look()

    def _show_loaded(self) -> None:
        if self._file is not None and self.built:
            self.load.show_loaded(self._services.loaded.get(self._file.id))

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
