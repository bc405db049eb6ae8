"""What an importance matrix holds, as a table: a row for each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QWidget

from slmdesk.core import amounts
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.table import Column, Table, TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.theme import Theme

Row = dict[str, Any]
MOST_ROWS = 14
LEGEND = (
    "Active: inputs that are not next to nothing. Evenness: how evenly the inputs count (entropy, of what it could be)."
    " Outliers: inputs far above the mean. Like the layer before: cosine of both."
)


def facts_words(found: Row) -> str:
    """ "210 weights, 38 chunks of 512 tokens, from cal.txt. Each of them was used."."""
    chunk = f" of {found['chunk_size']} tokens" if found["chunk_size"] else ""
    texts = ", ".join(dict.fromkeys(found["datasets"])) or "a text it does not name"
    weights = amounts.counted(len(found["tensors"]), "weight matrix", "weight matrices")
    words = [f"{weights}, {found['chunks']} chunks{chunk}, from {texts}."]
    if found["untouched"]:
        words.append(f"{found['untouched']:.1%} of the matrices were never touched.")
    if "uncovered" in found:
        missing = len(found["uncovered"])
        words.append(
            f"{amounts.counted(missing, 'weight')} of {found['model']} "
            f"{'is' if missing == 1 else 'are'} not covered, such as {found['uncovered'][0]}."
            if missing
            else f"All weights in the layers of {found['model']} are covered."
        )
        if found["foreign"]:
            words.append(f"{amounts.counted(found['foreign'], 'tensor')} of it are none of this model's.")
    return " ".join(words)


def _percent(key: str) -> Any:
    return lambda row: f"{100 * row[key]:.1f}" if key in row else ""


class MatrixTable(QWidget):
    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.facts = Label(theme, "", wrap=True)
        columns: Sequence[Column[Row]] = (
            Column("Weight", lambda row: str(row["name"]), stretch=True),
            Column("Used", lambda row: f"{row['count_most']:,}", lambda row: row["count_most"], number=True),
            Column(
                "Mean",
                lambda row: f"{row['mean']:.4g}" if "mean" in row else "",
                lambda row: row.get("mean", 0.0),
                number=True,
            ),
            Column(
                "Active", _percent("active"), lambda row: row.get("active", 0.0), lambda _: "%", number=True
            ),
            Column(
                "Evenness",
                _percent("entropy_share"),
                lambda row: row.get("entropy_share", 0.0),
                lambda _: "%",
                number=True,
            ),
            Column(
                "Outliers",
                _percent("outliers"),
                lambda row: row.get("outliers", 0.0),
                lambda _: "%",
                number=True,
            ),
            Column(
                "Like before",
                lambda row: f"{row['cosine']:.3f}" if "cosine" in row else "",
                lambda row: row.get("cosine", 0.0),
                number=True,
            ),
        )
        self.model: TableModel[Row] = TableModel(columns)
        self.table: Table[Row] = Table(theme, self.model, "Weights of the importance matrix")
        column = vbox(self, margins=0, spacing=SPACE.medium)
        column.addWidget(self.facts)
        column.addWidget(self.table)
        column.addWidget(Label(theme, LEGEND, role="small", tone="secondary", wrap=True))
        self.hide()

    def show_matrix(self, found: Row) -> None:
        self.facts.setText(facts_words(found))
        self.model.set_rows(found["tensors"])
        shown = min(len(found["tensors"]), MOST_ROWS)
        self.table.setFixedHeight(MEASURE.control + shown * MEASURE.row + 2 * MEASURE.line)
        self.show()
