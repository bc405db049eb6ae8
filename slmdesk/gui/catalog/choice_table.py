"""The files of a model as a table: quant, size, bits per weight, memory at the chosen context, verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal

from slmdesk.core import amounts
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.chips import VERDICTS
from slmdesk.gui.widgets.table import Column, Table, TableModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QWheelEvent

    from slmdesk.catalog.choices import Choice
    from slmdesk.gui.theme import Theme

MOST_ROWS = 12
_KINDS = {
    "projector": "Vision projector",
    "draft": "Draft head",
    "matrix": "Importance matrix",
    "other": "Not for chat",
    "safetensors": "Safetensors",
    "mlx": "MLX",
    "onnx": "ONNX",
    "adapter": "Adapter",
    "pickle": "Pickle",
}
_USES = {
    "pickle": "Unsafe format",
    "projector": "Adds pictures",
    "draft": "Speeds a model up",
    "adapter": "Changes a model",
    "matrix": "For quantizing",
    "other": "Not for chat",
}
_ORDER = {"fits": 0, "tight": 1, "too_big": 2, None: 3}


def name_of(choice: Choice) -> str:
    """What a choice is called in the table."""
    if choice.kind == "gguf":
        return choice.id
    kind = _KINDS[choice.kind]
    return kind if choice.id.lower() == choice.kind else f"{kind}: {choice.id}"


def use_of(choice: Choice) -> str:
    """What can be said of a choice in the last column."""
    if choice.level in {"unsafe", "suspicious"}:
        return "Warned of"
    if choice.missing_parts:
        return "Parts missing"
    if choice.verdict:
        return VERDICTS[choice.verdict][0]
    return "" if choice.runs else _USES.get(choice.kind, "To convert")


def _tone(choice: Choice) -> str:
    if choice.level in {"unsafe", "suspicious"} or choice.kind == "pickle" or choice.missing_parts:
        return "bad"
    return str(VERDICTS[choice.verdict][2]) if choice.verdict else "secondary"


def _icon(choice: Choice) -> str:
    if choice.level in {"unsafe", "suspicious"} or choice.missing_parts:
        return "damaged"
    return VERDICTS[choice.verdict][1] if choice.verdict else ""


def _memory(choice: Choice) -> int:
    return choice.fit.forecast.total_bytes if choice.fit else 0


class ChoiceTable(Table["Choice"]):
    """As high as its rows, so that the page scrolls and not the table in it.

    Signals:
        picked(Choice): another row is the current one.
    """

    picked = Signal(object)

    def __init__(self, theme: Theme, is_here: Callable[[Choice], bool]) -> None:
        columns: Sequence[Column[Choice]] = (
            Column(
                "File",
                name_of,
                stretch=True,
                icon=lambda choice: "check" if is_here(choice) else "best" if choice.best else "",
                tone=lambda choice: "accent_text" if choice.best else "text",
            ),
            Column(
                "Size",
                lambda choice: amounts.size_parts(choice.size_bytes)[0],
                lambda choice: choice.size_bytes,
                lambda choice: amounts.size_parts(choice.size_bytes)[1],
                number=True,
            ),
            Column(
                "Bits",
                lambda choice: f"{choice.bits_per_weight:.1f}" if choice.bits_per_weight else "",
                lambda choice: choice.bits_per_weight,
                number=True,
                tip="Bits per weight: more is closer to the original",
            ),
            Column(
                "Memory",
                lambda choice: amounts.size_parts(_memory(choice))[0] if choice.fit else "",
                _memory,
                lambda choice: amounts.size_parts(_memory(choice))[1] if choice.fit else "",
                number=True,
                tip="What it takes at the chosen context",
            ),
            Column("Here", use_of, lambda choice: _ORDER[choice.verdict], tone=_tone, icon=_icon),
        )
        self._choices: TableModel[Choice] = TableModel(columns)
        super().__init__(theme, self._choices, "Files of the model")
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.selectionModel().currentRowChanged.connect(self._changed)

    def show_choices(self, choices: Sequence[Choice], wanted: str = "") -> None:
        """Show these, with the one whose id is `wanted` (or the best one) chosen."""
        self._choices.set_rows(choices)
        rows = [self._choices.row(row) for row in range(self._choices.rowCount())]
        chosen = next((row for row, choice in enumerate(rows) if choice.id == wanted), None)
        if chosen is None:
            chosen = next((row for row, choice in enumerate(rows) if choice.best), None)
        if chosen is None:
            chosen = next((row for row, choice in enumerate(rows) if choice.runs), 0 if rows else None)
        shown = min(len(rows), MOST_ROWS)
        self.setFixedHeight(MEASURE.control + shown * MEASURE.row + 2 * MEASURE.line)
        if chosen is not None:
            self.selectRow(chosen)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.verticalScrollBar().maximum() == 0:
            event.ignore()
        else:
            super().wheelEvent(event)

    def _changed(self) -> None:
        choice = self.chosen()
        if choice is not None:
            self.picked.emit(choice)
