"""How a model answers: its instructions, how freely it picks words, and where it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal

from slmdesk.gui.library.model_rows import ModelValueRow
from slmdesk.gui.widgets.cards import GroupCard
from slmdesk.inference.limits import SAMPLING, find_model_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.page import WindowServices
    from slmdesk.library.in_force import InForce

_FIRST = ("system_prompt", "temperature")
_FIRST_COMPACT = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "max_tokens")
_ORDER = (*_FIRST, *(s.key for s in SAMPLING if s.key not in _FIRST), "max_tokens", "stop")


class AnswerCard(GroupCard):
    """All of them, the first two until a person wants more.

    Attributes:
        rows: by the names of the settings; all of them once `build` has come to its end.

    Signals:
        edited(str, object): the name of a setting and the value a person chose; None lets go of it.
    """

    edited = Signal(str, object)

    def __init__(self, services: WindowServices, *, compact: bool = False) -> None:
        """`compact`: for a narrow place, without help in view and without the instructions."""
        super().__init__(services.theme)
        self._services = services
        self._compact = compact
        self._names = tuple(name for name in _ORDER if not (compact and name == "system_prompt"))
        self._first = _FIRST_COMPACT if compact else _FIRST
        self.rows: dict[str, ModelValueRow] = {}
        self.hide()

    def build(self) -> Iterator[None]:
        """Make the rows, a few milliseconds' work between two steps."""
        for name in self._names:
            self._add(name)
            yield
        self.show_all(on=False)

    def _add(self, name: str) -> None:
        row = self.rows[name] = ModelValueRow(self._services, find_model_setting(name), compact=self._compact)
        row.edited.connect(lambda value: self.edited.emit(name, value))
        row.reset.connect(lambda: self.edited.emit(name, None))
        self.add_row(row)
        self.hide()

    def show_in_force(self, in_force: InForce) -> None:
        """Show what counts for the model."""
        for row in self.rows.values():
            row.show_in_force(in_force)

    def show_all(self, *, on: bool) -> None:
        """Show every row, or the first ones."""
        shown: set[QWidget] = {row for name, row in self.rows.items() if on or name in self._first}
        self.show_rows(shown)
