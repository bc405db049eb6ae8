"""The targets as a table with ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QHeaderView

from slmdesk.core import amounts
from slmdesk.gui.quantize import words
from slmdesk.gui.quantize.rows import TargetRow
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.chips import VERDICTS
from slmdesk.gui.widgets.table import Column, Table, TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QModelIndex, QPersistentModelIndex
    from PySide6.QtGui import QKeyEvent, QMouseEvent, QWheelEvent

    from slmdesk.gui.theme import Theme

_SAMPLES = (
    ("IQ3_XXS · advised", True),
    ("~888.8 GB", False),
    ("88 min ±88 %", False),
    ("Too big", True),
    ("Context", False),
)
_ORDER = {"fits": 0, "tight": 1, "too_big": 2}


def _size(row: TargetRow) -> str:
    number = amounts.size_parts(row.bytes)[0]
    return number if row.exact else f"~{number}"


def _seconds(row: TargetRow) -> str:
    return words.time(row.forecast.seconds, row.forecast.error).removeprefix("about ") if row.forecast else ""


class _TargetModel(TableModel[TargetRow]):
    def data(
        self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.ToolTipRole:
            return words.whole_note(self.row(index.row()))
        if role == Qt.ItemDataRole.CheckStateRole:
            return None
        return super().data(index, role)

    def update_rows(self, rows: Sequence[TargetRow]) -> bool:
        """Put other facts into the rows there are, each in its place; False where they are not the same quants.

        Only what changed is painted again.
        """
        known = {row.name: row for row in rows}
        if set(known) != {row.name for row in self._rows}:
            return False
        last = len(self.columns) - 1
        for place, row in enumerate(self._rows):
            if known[row.name] != row:
                self._rows[place] = known[row.name]
                self.dataChanged.emit(self.index(place, 0), self.index(place, last))
        return True


class TargetTable(Table[TargetRow]):
    """As high as its rows: the page scrolls, not the table. A click or Space ticks a row.

    Signals:
        toggled(str): a quant was ticked or left.
    """

    toggled = Signal(str)

    def __init__(self, theme: Theme) -> None:
        self._targets: _TargetModel = _TargetModel(
            (
                Column(
                    "Quant",
                    lambda row: f"{row.name} · advised" if row.recommended else row.name,
                    sort=lambda row: -row.target.bits,
                    icon=lambda row: "ticked" if row.ticked else "unticked",
                    tone=lambda row: "accent_text" if row.ticked else "text",
                ),
                Column(
                    "Size",
                    _size,
                    sort=lambda row: row.bytes,
                    number=True,
                    unit=lambda row: amounts.size_parts(row.bytes)[1],
                    tip="By llama.cpp's dry run; ~ is an estimate",
                ),
                Column(
                    "Time",
                    _seconds,
                    sort=lambda row: row.forecast.seconds if row.forecast else 0.0,
                    number=True,
                    tip="To quantize, with how far such forecasts were off here",
                ),
                Column(
                    "Here",
                    lambda row: VERDICTS[row.fit.verdict][0] if row.fit else "",
                    sort=lambda row: _ORDER[row.fit.verdict] if row.fit else 3,
                    tone=lambda row: VERDICTS[row.fit.verdict][2] if row.fit else "secondary",
                    icon=lambda row: VERDICTS[row.fit.verdict][1] if row.fit else "",
                    tip="Whether it runs in the memory that is free now",
                ),
                Column(
                    "Context",
                    lambda row: amounts.tokens(row.fit.max_context) if row.fit else "",
                    sort=lambda row: row.fit.max_context if row.fit else 0,
                    number=True,
                    tip="The longest context that fits, in tokens",
                ),
                Column(
                    "To know",
                    words.note,
                    stretch=True,
                    tone=lambda row: (
                        "caution"
                        if row.target.ternary or row.gains_nothing or (row.forecast and row.forecast.exists)
                        else "secondary"
                    ),
                ),
            )
        )
        super().__init__(theme, self._targets, "Targets")
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(self.SelectionMode.NoSelection)
        theme.changed.connect(self._fit_columns)
        self._fit_columns()

    def _fit_columns(self) -> None:
        """Columns as wide as their longest contents may be: measuring them at every change would take a frame."""
        metrics = QFontMetrics(self.theme.font(tabular=True))
        header = self.horizontalHeader()
        for place, (sample, icon) in enumerate(_SAMPLES):
            width = metrics.horizontalAdvance(sample) + 2 * SPACE.medium
            header.setSectionResizeMode(place, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(place, width + (MEASURE.icon_small + SPACE.tiny if icon else 0))

    @property
    def rows(self) -> list[TargetRow]:
        return [self._targets.row(place) for place in range(self._targets.rowCount())]

    def show_rows(self, rows: Sequence[TargetRow]) -> None:
        """Show these rows; the current one stays."""
        if self._targets.update_rows(rows):
            return
        current = self.currentIndex()
        name = self._targets.row(current.row()).name if current.isValid() else ""
        self._targets.set_rows(rows)
        self.setFixedHeight(len(rows) * MEASURE.row + MEASURE.control + MEASURE.focus)
        at = next((place for place, row in enumerate(self.rows) if row.name == name), -1)
        if at >= 0:
            self.setCurrentIndex(self._targets.index(at, 0))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        super().mousePressEvent(event)
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and event.button() == Qt.MouseButton.LeftButton:
            self.toggled.emit(self._targets.row(index.row()).name)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        index = self.currentIndex()
        if event.key() in {Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter} and index.isValid():
            self.toggled.emit(self._targets.row(index.row()).name)
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the page scrolls
