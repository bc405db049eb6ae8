"""What engines leave out on this machine because native code failed, with a way back for each."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QVBoxLayout, QWidget

from slmdesk.engines.safe_steps import words
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.safe_steps import Remembered, SafeSteps
    from slmdesk.gui.page import WindowServices

_SEARCHED = "safe steps crash fault gpu amx flash attention processor native"


class SafeStepsCard(QWidget):
    """The group of the Settings page. `refresh` reads what is remembered; nothing is read before."""

    def __init__(self, services: WindowServices) -> None:
        super().__init__()
        self._services = services
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(SPACE.small)
        heading = Label(services.theme, "Safe steps", role="emphasis")
        heading.setContentsMargins(0, SPACE.large, 0, 0)
        self._layout.addWidget(heading)
        self._card: GroupCard | None = None
        self._shown: list[Remembered] | None = None
        self._show([])

    @property
    def rows(self) -> list[CardRow]:
        """One for each thing remembered; one that says so when there is none."""
        return self._card.findChildren(CardRow) if self._card is not None else []

    def found_by(self, search: Sequence[str]) -> bool:
        """Whether the group has to do with all of these words (in lower case)."""
        texts = [f"{row.title.text()} {row.text.text()}" for row in self.rows]
        return all(word in f"{_SEARCHED} {' '.join(texts)}".casefold() for word in search)

    async def refresh(self) -> None:
        """Show what is remembered now."""
        self._show((await self._steps()).remembered())

    async def forget(self, entry: Remembered) -> None:
        """A way back: the engine tries everything again with the next question."""
        gone = await asyncio.to_thread((await self._steps()).forget, entry.key)
        await self.refresh()
        if gone:
            self._services.toast(
                "The next question tries it again.",
                lambda: self._services.run(self._put_back(gone), "undoing a forgotten safe step"),
            )

    async def _put_back(self, gone: list[Remembered]) -> None:
        await asyncio.to_thread((await self._steps()).put_back, gone)
        await self.refresh()

    async def _steps(self) -> SafeSteps:
        """The store, read in a thread."""

        def read() -> SafeSteps:
            steps = self._services.application.safe_steps
            steps.remembered()
            return steps

        return await asyncio.to_thread(read)

    def _show(self, entries: list[Remembered]) -> None:
        if entries == self._shown:
            return
        self._shown = entries
        if self._card is not None:
            self._card.hide()
            self._card.deleteLater()
        self._card = GroupCard(self._services.theme, parent=self)
        for entry in entries:
            self._card.add_row(self._row(entry))
        if not entries:
            self._card.add_row(
                CardRow(
                    self._services.theme,
                    "None taken",
                    "Should the engine fail on this machine, it goes on without a part of what the machine offers."
                    " What helped stands here, and can be undone.",
                )
            )
        self._layout.addWidget(self._card)
        self._card.show()

    def _row(self, entry: Remembered) -> CardRow:
        theme = self._services.theme
        day = time.strftime("%Y-%m-%d", time.localtime(entry.when))
        row = CardRow(theme, f"{_who(entry)} runs {words(entry.step)}", f"Since {day}. {entry.why}")
        button = Button(theme, "Try again", kind="quiet")
        button.setAccessibleName(f"Try {_who(entry)} {words('all')} again")
        button.clicked.connect(
            lambda _checked: self._services.run(self.forget(entry), "forgetting a safe step")
        )
        row.trailing.addWidget(button)
        return row


def _who(entry: Remembered) -> str:
    if entry.file is None:
        return "Every model"
    return Path(entry.model).name if Path(entry.model).is_absolute() else entry.model or Path(entry.key).name
