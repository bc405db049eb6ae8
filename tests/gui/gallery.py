"""Every piece in its states on one page.

`python -m tests.gui.gallery [light|dark]` shows it, and a test renders it in both schemes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from PySide6.QtWidgets import QApplication, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton, Kind, Spinner
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.chips import STATES, VERDICTS, Chip, MenuChip, StateChip, VerdictPill
from slmdesk.gui.widgets.fields import LabelledField, SearchField, TextArea, TextField
from slmdesk.gui.widgets.memory_bar import MemoryBar, Part
from slmdesk.gui.widgets.panels import EmptyState, ErrorPanel
from slmdesk.gui.widgets.progress import JobState, ProgressRow, ShareBar, TokenMeter
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch
from slmdesk.gui.widgets.table import Column, Table, TableModel
from slmdesk.gui.widgets.toast import Toast
from slmdesk.gui.widgets.values import DecimalField, NumberField, Select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.theme.theme import Choice


@dataclass(frozen=True, slots=True)
class _Quant:
    name: str
    gigabytes: float
    bits: float
    verdict: str


QUANTS = (
    _Quant("Q8_0", 4.28, 8.5, "fits"),
    _Quant("Q5_K_M", 2.89, 5.69, "fits"),
    _Quant("Q4_K_M", 2.5, 4.85, "fits"),
    _Quant("F16", 8.05, 16.0, "tight"),
)


class Gallery(QScrollArea):
    """The page. Its pieces show made-up names and numbers; no other page does."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        page = Pane(theme, ground="window")
        theme.dress(self)
        self._page = QVBoxLayout(page)
        self._page.setContentsMargins(SPACE.huge, SPACE.wide, SPACE.huge, SPACE.huge)
        self._page.setSpacing(SPACE.large)
        self.setWidget(page)
        for section in (
            self._texts,
            self._buttons,
            self._fields,
            self._switches,
            self._marks,
            self._cards,
            self._table,
            self._progress,
            self._panels,
        ):
            section()

    def _section(self, title: str) -> None:
        self._page.addSpacing(SPACE.small)
        self._page.addWidget(Label(self.theme, title, role="emphasis"))

    def _row(self, *widgets: QWidget, stretch: bool = True) -> None:
        row = QHBoxLayout()
        row.setSpacing(SPACE.small)
        for widget in widgets:
            row.addWidget(widget)
        if stretch:
            row.addStretch(1)
        self._page.addLayout(row)

    def _texts(self) -> None:
        theme = self.theme
        self._section("Text and icons")
        self._page.addWidget(Label(theme, "Title of a place", role="title"))
        self._page.addWidget(Label(theme, "Body text in the system's interface font."))
        self._page.addWidget(Label(theme, "Small text explains.", role="small", tone="secondary"))
        long = ElidedLabel(theme, "publisher/a-very-long-name-that-has-no-room:Q4_K_M", middle=True)
        long.setFixedWidth(MEASURE.field)
        self._page.addWidget(long)
        names = ("chat", "catalog", "download", "quantize", "settings", "model", "server", "folder")
        self._row(*(Icon(theme, name) for name in names), *(Icon(theme, name, filled=True) for name in names))

    def _buttons(self) -> None:
        theme = self.theme
        self._section("Buttons")
        kinds: tuple[Kind, ...] = ("primary", "secondary", "quiet", "danger", "link")
        self._row(*(Button(theme, kind.capitalize(), kind=kind) for kind in kinds))
        self._row(*(Button(theme, "Download", kind=kind, icon="download") for kind in kinds[:4]))
        disabled = [Button(theme, "Disabled", kind=kind, icon="download") for kind in kinds[:3]]
        busy = [Button(theme, "Loading", kind=kind) for kind in kinds[:2]]
        for each in disabled:
            each.setEnabled(False)
        for each in busy:
            each.set_busy(True)
        self._row(*disabled, *busy, Spinner(theme))
        self._row(
            Button(theme, "Small", small=True),
            Button(theme, "Copy", kind="quiet", icon="copy", small=True),
            IconButton(theme, "refresh", "Look again"),
            IconButton(theme, "delete", "Delete", small=True),
            IconButton(theme, "add", "New chat", kind="secondary"),
        )

    def _fields(self) -> None:
        theme = self.theme
        self._section("Fields")
        wrong = LabelledField(
            theme, "Temperature", DecimalField(theme, 0.8), help_text="0 always takes the likeliest word."
        )
        wrong.set_error("Must be between 0 and 2.")
        locked = TextField(theme, "127.0.0.1")
        locked.setEnabled(False)
        self._row(
            LabelledField(
                theme, "Name", TextField(theme, placeholder="publisher/name"), help_text="As in the library."
            ),
            wrong,
            LabelledField(theme, "Address", locked, help_text="Set by the environment."),
            stretch=False,
        )
        choice = Select(theme, [("f16", "16 bit"), ("q8_0", "8 bit")])
        self._row(
            SearchField(theme, "Search settings"),
            choice,
            NumberField(theme, 4096, step=256, unit="tokens"),
            stretch=False,
        )
        self._page.addWidget(TextArea(theme, "You are a helpful assistant.\nAnswer in plain words."))

    def _switches(self) -> None:
        theme = self.theme
        self._section("Switches")
        locked = [Switch(theme, "Locked", on=on) for on in (True, False)]
        for each in locked:
            each.setEnabled(False)
        segments = SegmentedSwitch(theme, [("system", "System"), ("light", "Light"), ("dark", "Dark")])
        self._row(segments, Switch(theme, "Offline", on=True), Switch(theme, "Offline"), *locked)

    def _marks(self) -> None:
        theme = self.theme
        self._section("Chips, states, verdicts")
        self._row(
            Chip(theme, "Micro", on=True),
            Chip(theme, "Small"),
            Chip(theme, "Fits here", on=True),
            MenuChip(theme, "Licence", [("", "Any"), ("mit", "MIT")], value="", default=""),
            MenuChip(theme, "Format", [("", "Any"), ("gguf", "GGUF")], value="gguf", default=""),
        )
        states = [StateChip(theme, state) for state in STATES]
        self._row(*states[:4])
        self._row(*states[4:])
        numbers = ("2.5 GB", "7.6 GB", "18.1 GB")
        pills = (VerdictPill(theme, each, number) for each, number in zip(VERDICTS, numbers, strict=True))
        self._row(*pills)

    def _cards(self) -> None:
        theme = self.theme
        self._section("Card")
        card = GroupCard(theme)
        row = CardRow(theme, "Theme", "Follows the system unless you choose one.")
        row.trailing.addWidget(SegmentedSwitch(theme, [("s", "System"), ("l", "Light"), ("d", "Dark")]))
        card.add_row(row)
        row = CardRow(theme, "Desk Guide", "A small model that came with the program.", icon="model")
        row.trailing.addWidget(StateChip(theme, "built_in"))
        row.trailing.addWidget(Button(theme, "Chat"))
        card.add_row(row)
        self._page.addWidget(card)

    def _table(self) -> None:
        self._section("Table")
        words = {key: (word, icon, tone) for key, (word, icon, tone) in VERDICTS.items()}
        columns: Sequence[Column[_Quant]] = (
            Column("Quant", lambda row: row.name, stretch=True),
            Column(
                "Size",
                lambda row: f"{row.gigabytes:.2f}",
                lambda row: row.gigabytes,
                lambda _: "GB",
                number=True,
            ),
            Column("Bits per weight", lambda row: f"{row.bits:.2f}", lambda row: row.bits, number=True),
            Column(
                "Here",
                lambda row: words[row.verdict][0],  # type: ignore[index]
                tone=lambda row: str(words[row.verdict][2]),  # type: ignore[index]
                icon=lambda row: words[row.verdict][1],  # type: ignore[index]
            ),
        )
        table = Table(self.theme, TableModel(columns, QUANTS), "Quants")
        table.setFixedHeight(MEASURE.row * (len(QUANTS) + 1))
        table.selectRow(2)
        self._page.addWidget(table)

    def _progress(self) -> None:
        theme = self.theme
        self._section("Progress and meters")
        card = GroupCard(theme)
        rows: tuple[tuple[str, JobState, float, str, str, str], ...] = (
            (
                "publisher/model:Q4_K_M",
                "running",
                0.48,
                "Downloading 1.2 of 2.5 GB",
                "11.4 MB/s",
                "2 min left",
            ),
            ("publisher/model:Q8_0", "paused", 0.2, "Paused at 0.9 of 4.3 GB", "", ""),
            ("publisher/other:F16", "failed", 0.7, "The connection was lost. Resume to go on.", "", ""),
            ("publisher/other:Q5_K_M", "done", 1.0, "Verified", "", ""),
        )
        for name, state, share, words, rate, left in rows:
            row = ProgressRow(theme, name)
            row.set_progress(share, words, rate=rate, remaining=left)
            row.set_state(state)
            card.add_row(row)
        self._page.addWidget(card)
        meters = [TokenMeter(theme), TokenMeter(theme)]
        for meter, used in zip(meters, (1204, 3900), strict=True):
            meter.set_tokens(used, 4096)
        memory = ShareBar(theme, "Memory", height=MEASURE.bar, colour="good")
        memory.set_share(0.6)
        self._row(*meters, memory, stretch=False)
        bar = MemoryBar(theme)
        parts = (
            Part("Weights", 2_500_000_000, "accent"),
            Part("KV cache", 600_000_000, "good"),
            Part("Compute", 300_000_000, "caution"),
            Part("Overhead", 100_000_000, "control"),
        )
        sentence = "Weights 2.5 GB + KV cache 0.6 GB + compute 0.3 GB + overhead 0.1 GB = 3.5 GB."
        bar.show_parts(parts, used=1_900_000_000, total=8_000_000_000, sentence=sentence)
        self._page.addWidget(bar)

    def _panels(self) -> None:
        theme = self.theme
        self._section("Panels")
        error = SlmDeskError(
            "out_of_memory",
            "The model needs 9.1 GB and 6.4 GB are free.",
            "Choose a smaller quant, or close other programs.",
            details="ggml: failed to allocate 9771050598 bytes",
        )
        self._page.addWidget(ErrorPanel(theme, error, action=("Choose a smaller quant", lambda: None)))
        self._page.addWidget(ErrorPanel(theme, ValueError("unexpected value")))
        empty = GroupCard(theme)
        empty.add_row(
            EmptyState(
                theme, "download", "Nothing is being downloaded.", action=("Find a model", lambda: None)
            )
        )
        self._page.addWidget(empty)
        stage = Pane(theme, ground="window")
        stage.setFixedHeight(2 * MEASURE.header)
        Toast(theme, stage).tell("Temperature changed to 0.7.", lambda: None)
        self._page.addWidget(stage)


def main(argv: list[str]) -> int:
    """Show the gallery in a window of its own."""
    app = QApplication([*argv[:1], "-style", "fusion"])
    choice = argv[1] if len(argv) > 1 else "system"
    gallery = Gallery(Theme(app, choice=cast("Choice", choice)))
    gallery.resize(MEASURE.window_width, MEASURE.window_height)
    gallery.setWindowTitle("SLM Desk: gallery")
    gallery.show()
    return app.exec()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
