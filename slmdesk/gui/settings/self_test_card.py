"""When the engine's arithmetic was tested last and what was found, with a button to test it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.engines.self_test_outcome import BOUNDS
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.self_test_outcome import FamilyResult, Outcome
    from slmdesk.gui.page import WindowServices
    from slmdesk.inference.steps import Step

_SEARCHED = "self-test test engine weights processor gpu numbers check"
_NOT_YET = "Not tested yet"
_BY_ITSELF = "It is done by itself after an installation or an update, when nothing else is."
_MOST_TOLD = 4  # kinds of weights that failed


class SelfTestCard(QWidget):
    """The group of the Settings page. `refresh` reads what was found last; nothing is read before.

    Signals:
        tested: a test that this group began is done; a safe step may be taken since.
    """

    tested = Signal()

    def __init__(self, services: WindowServices) -> None:
        super().__init__()
        self._services = services
        self._testing = False
        self._last: Outcome | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACE.small)
        heading = Label(services.theme, "Self-test", role="emphasis")
        heading.setContentsMargins(0, SPACE.large, 0, 0)
        layout.addWidget(heading)
        card = GroupCard(services.theme)
        self.row = CardRow(services.theme, _NOT_YET, _BY_ITSELF)
        self.button = Button(services.theme, "Test now", kind="quiet")
        self.button.setAccessibleName("Test the engine now")
        self.button.clicked.connect(lambda _checked: services.run(self.test(), "testing the engine"))
        self.row.trailing.addWidget(self.button)
        card.add_row(self.row)
        layout.addWidget(card)

    def found_by(self, search: Sequence[str]) -> bool:
        """Whether the group has to do with all of these words (in lower case)."""
        text = f"{_SEARCHED} {self.row.title.text()} {self.row.text.text()}".casefold()
        return all(word in text for word in search)

    async def refresh(self) -> None:
        """Show what was found last."""
        self._last = await self._services.application.self_test.latest()
        if not self._testing:
            self._show()

    async def test(self) -> None:
        """Test now and show what is found. Raises what the test cannot be made for."""
        if self._testing:
            return
        self._testing = True
        self.button.set_busy(True)
        self.row.text.setText("Testing …")
        heard: list[FamilyResult] = []

        def on_family(_step: Step, result: FamilyResult) -> None:
            heard.append(result)
            self.row.text.setText(f"Testing … {result.family} ({len(heard)} of {len(BOUNDS)})")

        try:
            self._last = await self._services.application.self_test.run(on_family=on_family)
            self.tested.emit()
        finally:
            self._testing = False
            self._show()
            self.button.set_busy(False)

    def _show(self) -> None:
        outcome = self._last
        if outcome is None:
            self.row.title.setText(_NOT_YET)
            self.row.text.setText(_BY_ITSELF)
            return
        said = outcome.words
        self.row.title.setText(f"{said[:1].upper()}{said[1:]}")
        failed = outcome.steps[0].failed
        lines = [f"{result.family}: {result.words}" for result in failed[:_MOST_TOLD]]
        if len(failed) > _MOST_TOLD:
            lines.append(f"and {len(failed) - _MOST_TOLD} more")
        when = f"Tested {amounts.moment(outcome.when)}, in {outcome.seconds:.1f} s."
        self.row.text.setText("\n".join([when, *lines]))
