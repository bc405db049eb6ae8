"""When the engine's arithmetic was tested last and what was found, with a button to test it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from slmdesk.core import amounts
from slmdesk.engines.self_test_outcome import BOUNDS
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import vbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.engines.self_test_outcome import Outcome
    from slmdesk.gui.theme import Theme

_SEARCHED = "self-test test engine weights processor gpu numbers check"
_NOT_YET = "Not tested yet"
_BY_ITSELF = "It is done by itself after an installation or an update, when nothing else is."
_MOST_TOLD = 4  # kinds of weights that failed


class SelfTestCard(QWidget):
    """The group of the Settings page; `test` is called for a test."""

    def __init__(self, theme: Theme, test: Callable[[], None]) -> None:
        super().__init__()
        layout = vbox(self, margins=0, spacing=SPACE.small)
        heading = Label(theme, "Self-test", role="emphasis")
        heading.setContentsMargins(0, SPACE.large, 0, 0)
        layout.addWidget(heading)
        card = GroupCard(theme)
        self.row = CardRow(theme, _NOT_YET, _BY_ITSELF)
        self.button = Button(theme, "Test now", kind="quiet")
        self.button.setAccessibleName("Test the engine now")
        self.button.clicked.connect(lambda _checked: test())
        self.row.trailing.addWidget(self.button)
        card.add_row(self.row)
        layout.addWidget(card)

    def found_by(self, search: Sequence[str]) -> bool:
        """Whether the group has to do with all of these words (in lower case)."""
        text = f"{_SEARCHED} {self.row.title.text()} {self.row.text.text()}".casefold()
        return all(word in text for word in search)

    def show_testing(self, family: str, number: int) -> None:
        """The test goes on; see `MachineView.show_testing`."""
        self.button.set_busy(True)
        self.row.text.setText(f"Testing … {family} ({number} of {len(BOUNDS)})" if family else "Testing …")

    def show_outcome(self, outcome: Outcome | None) -> None:
        """Show what was found; None: nothing was tested yet."""
        self.button.set_busy(False)
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
