"""What it cost: the chart, the table of every quant, export and the way to compare."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QBoxLayout, QHeaderView, QSizePolicy, QVBoxLayout, QWidget

from slmdesk.core import amounts
from slmdesk.engines.registry import KINDS
from slmdesk.gui.quantize import words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.base import Label, Pane
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.switches import SegmentedSwitch
from slmdesk.gui.widgets.table import Column, Table, TableModel
from slmdesk.quantize.results import ResultRow, comparable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PySide6.QtCore import QModelIndex, QPersistentModelIndex
    from PySide6.QtGui import QResizeEvent, QWheelEvent

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.quantize.chart import LossChart
    from slmdesk.gui.theme import Theme
    from slmdesk.gui.widgets.panels import ErrorPanel

FORMS = {
    "csv": "Table as CSV",
    "md": "Table as Markdown",
    "json": "Table as JSON",
    "png": "Chart as PNG",
}
_FAR = float("inf")


def _share(value: float | None) -> str:
    return "" if value is None else words.percent(value)


class _ResultModel(TableModel[ResultRow]):
    def data(
        self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.ToolTipRole:
            row = self.row(index.row())
            return "\n".join([str(row.path), *(f"{name}: {value}" for name, value in words.row_told(row))])
        return super().data(index, role)


class ResultTable(Table[ResultRow]):
    """Every quant with its figures; as high as its rows.

    Attributes:
        needed: pixels across in which every column is seen whole.
    """

    needed = 0

    def __init__(self, theme: Theme) -> None:
        self.rows_model = _ResultModel(
            (
                Column(
                    "Quant",
                    lambda row: row.name,
                    sort=lambda row: -row.size_bytes,
                    stretch=True,
                    icon=lambda row: "best" if row.recommended else "",
                    tone=lambda row: (
                        "accent_text" if row.recommended else "secondary" if row.is_source else "text"
                    ),
                ),
                Column(
                    "Size",
                    lambda row: amounts.size_parts(row.size_bytes)[0],
                    sort=lambda row: row.size_bytes,
                    unit=lambda row: amounts.size_parts(row.size_bytes)[1],
                    number=True,
                ),
                Column(
                    "KL div.",
                    lambda row: "" if row.is_source or row.kld is None else words.divergence(row.kld),
                    sort=lambda row: _FAR if row.kld is None else row.kld,
                    number=True,
                    unit=lambda row: "" if row.is_source else words.error(row, "kld_error").strip(),
                    tip="Mean Kullback-Leibler divergence from the source; 0 is no difference",
                ),
                Column(
                    "Perplexity",
                    lambda row: f"{row.perplexity:.3f}" if row.perplexity else "",
                    sort=lambda row: row.perplexity or _FAR,
                    number=True,
                    unit=lambda row: words.error(row, "perplexity_error").strip(),
                    tip="How surprised the model is by the text; ± is how sure the figure is",
                ),
                Column(
                    "Grew",
                    lambda row: "" if row.is_source or row.worse is None else words.signed(row.worse),
                    sort=lambda row: row.worse or 0.0,
                    number=True,
                    tip="By how much perplexity grew",
                ),
                Column(
                    "Same",
                    lambda row: "" if row.is_source else _share(row.top_1),
                    sort=lambda row: row.top_1 or 0.0,
                    number=True,
                    unit=lambda row: "" if row.is_source else words.error(row, "top_1_error", 100).strip(),
                    tip="How often its first choice is the source's",
                ),
                Column(
                    "Tokens/s",
                    lambda row: words.speed(row.speed) if row.speed else "",
                    sort=lambda row: row.speed or 0.0,
                    number=True,
                    tip="Generated on this machine",
                ),
            )
        )
        super().__init__(theme, self.rows_model, "What each quant cost")
        theme.changed.connect(self._fit_columns)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def show_rows(self, rows: Sequence[ResultRow]) -> None:
        self.rows_model.set_rows(rows)
        self._fit_columns()
        self.setFixedHeight(len(rows) * MEASURE.row + MEASURE.control + MEASURE.focus)

    def _fit_columns(self) -> None:
        """As wide as their contents; Qt's own way asks for every cell again and again."""
        self.needed = 2 * MEASURE.rail  # of the first column, which stretches
        numbers = QFontMetrics(self.theme.font(tabular=True))
        titles = QFontMetrics(self.theme.font("small", weight=WEIGHT_MEDIUM))
        header, model = self.horizontalHeader(), self.rows_model
        for place, column in enumerate(model.columns):
            if column.stretch:
                continue
            width = titles.horizontalAdvance(column.title) + MEASURE.icon_small
            for row in range(model.rowCount()):
                text, unit, *_ = model.cell(row, place)
                long = numbers.horizontalAdvance(text) + MEASURE.focus
                long += numbers.horizontalAdvance(unit) + SPACE.tiny if unit else 0
                width = max(width, long)
            header.setSectionResizeMode(place, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(place, width + 2 * SPACE.medium)
            self.needed += width + 2 * SPACE.medium

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the page scrolls


class ResultsPanel(Pane):
    """Hidden until there are results.

    Signals:
        export_wanted(str): "csv", "md", "json" or "png".
        compare_wanted: two quants on one prompt.
        chart_wanted: there is something to draw; `show_chart` is to be called with a chart, or `show_no_chart`.
    """

    export_wanted = Signal(str)
    compare_wanted = Signal()
    chart_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__(theme, kind="card")
        self.rows: list[ResultRow] = []
        self.chart: LossChart | None = None
        self._chart_asked = False
        self._trouble: ErrorPanel | None = None
        self.hide()

    def build(self) -> Iterator[None]:
        """Make the parts, one at each step: all at once would hold up the window. To be run to its end before
        anything else is asked of the panel."""
        theme = self.theme
        self.upward = SegmentedSwitch(
            theme, (("kld", "KL divergence"), ("worse", "Perplexity")), name="Loss shown upward"
        )
        self.upward.changed.connect(lambda _: self._draw())
        yield
        self.compare = Button(theme, "Compare", icon="compare", tip="Two quants on the same prompt")
        self.compare.clicked.connect(self.compare_wanted)
        self._export = Button(theme, "Export", icon="export")
        self._export.clicked.connect(self._open_menu)
        yield
        self.table = ResultTable(theme)
        self.table.setFrameShape(self.table.Shape.NoFrame)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._pick())
        yield
        self._note = Label(theme, "", role="small", tone="secondary", wrap=True)
        self._holder = QWidget()
        self._holder.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._holder.setMinimumHeight(MEASURE.chart)
        vbox(self._holder, margins=0)
        self._lay_out()
        yield

    def _lay_out(self) -> None:
        head = hbox(spacing=SPACE.small)
        head.addWidget(Label(self.theme, "What it cost", role="emphasis"))
        head.addStretch(1)
        for control in (self.upward, self.compare, self._export):
            head.addWidget(control)
        right = vbox(spacing=SPACE.small)
        right.addWidget(self.table)
        right.addWidget(self._note)
        right.addStretch(1)
        self._halves = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._halves.setSpacing(SPACE.large)
        self._halves.addWidget(self._holder, 1)
        self._halves.addLayout(right, 1)
        column = vbox(
            self, margins=(SPACE.large, SPACE.medium, SPACE.large, SPACE.large), spacing=SPACE.medium
        )
        column.addLayout(head)
        column.addLayout(self._halves)

    def show_rows(self, rows: list[ResultRow]) -> None:
        """Show these; with none the panel hides."""
        self.setVisible(any(not row.is_source for row in rows))
        if rows == self.rows:
            return
        self.rows = rows
        self.table.show_rows(rows)
        self.fit_width(self.width())
        drawn = comparable(rows)
        others = sum(1 for row in rows if row.measured and row not in drawn)
        told = [words.measured_with(drawn) if drawn else "Nothing was measured yet."]
        if any(row.recommended for row in rows):
            told.append("The ring and the star mark what is recommended here.")
        if drawn:
            told.append("The larger a dot, the quicker.")
        if others:
            told.append(f"Not drawn: {amounts.counted(others, 'quant')} measured with another text.")
        self._note.setText(" ".join(told))
        self._holder.setVisible(bool(drawn))
        self.compare.setEnabled(len([row for row in rows if KINDS.runs(row.path)]) > 1)
        if drawn and self.chart is None and not self._chart_asked:
            self._chart_asked = True
            self.chart_wanted.emit()
        self._draw()

    def show_chart(self, chart: LossChart) -> None:
        """The chart is there now."""
        self.chart = chart
        self._hold(chart)
        chart.pointed.connect(self._mark)
        self._draw()

    def show_no_chart(self, error: SlmDeskError) -> None:
        """There can be no chart; the next rows ask for one again."""
        from slmdesk.gui.widgets.panels import ErrorPanel

        self._chart_asked = False
        panel = ErrorPanel(self.theme, error, closable=False)
        self._hold(panel, top=True)
        self._trouble = panel

    def _hold(self, widget: QWidget, *, top: bool = False) -> None:
        """Into the chart's half, in place of what was told there."""
        layout = self._holder.layout()
        assert isinstance(layout, QVBoxLayout)
        if self._trouble is not None:
            layout.removeWidget(self._trouble)
            let_go(self._trouble)
            self._trouble = None
        layout.addWidget(widget, 0, Qt.AlignmentFlag.AlignTop if top else Qt.AlignmentFlag(0))

    def fit_width(self, width: int) -> None:
        """Side by side, or the table below the chart."""
        wide = width >= MEASURE.list_page and (width - 3 * SPACE.large) / 2 >= self.table.needed
        direction = QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom
        if self._halves.direction() != direction:
            self._halves.setDirection(direction)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.layout() is not None:
            self.fit_width(self.width())

    def _draw(self) -> None:
        if self.chart is not None:
            self.chart.show_rows(comparable(self.rows), self.upward.value)

    def _pick(self) -> None:
        if self.chart is not None:
            self.chart.point(self.table.chosen())

    def _mark(self, row: ResultRow | None) -> None:
        """The pointer is over a dot: its line in the table is marked too."""
        at = -1
        if row is not None:
            model = self.table.rows_model
            at = next((n for n in range(model.rowCount()) if model.row(n) is row), -1)
        self.table.hover(at)

    def _open_menu(self) -> None:
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for what, text in FORMS.items():
            drawn = what != "png" or self.chart is not None
            menu.add(text, partial(self.export_wanted.emit, what), enabled=drawn)
        menu.popup(self._export.mapToGlobal(self._export.rect().bottomLeft()))
