"""How to quantize, beyond the target: what is behind “More”, below the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField, TextArea, TextField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.switches import Switch
from slmdesk.gui.widgets.values import NumberField, Select
from slmdesk.quantize.protocol import Options
from slmdesk.quantize.request import AUTO, BY_TARGETS, NONE, PATTERN, Request
from slmdesk.quantize.targets import TENSOR_TYPE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.theme import Theme

_FILE = "file"
_FEWEST = 300
"""A column is at least so wide."""


def _name(path: str) -> str:
    from pathlib import Path

    return Path(path).name


class OptionsPanel(QWidget):
    """Shows a request and changes it.

    Signals:
        changed(dict): fields of `Request` that are others now.
        file_wanted(str): "imatrix", "text", "calibration_text" or "output": a path is to be chosen.
        open_wanted, save_wanted: a preset is to be opened, or what is asked for saved as one.
    """

    changed = Signal(dict)
    file_wanted = Signal(str)
    open_wanted = Signal()
    save_wanted = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self._request = Request("", ())
        self._fields: list[LabelledField] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(SPACE.large)
        self._grid.setVerticalSpacing(SPACE.medium)
        self._columns = 3
        self._column = vbox(self, margins=(0, SPACE.small, 0, 0), spacing=SPACE.medium)
        self._column.addLayout(self._grid)

    def build(self) -> Iterator[None]:
        """Make the controls, one at each step: all at once would hold up the window. To be run to its end before
        anything else is asked of the panel."""
        theme = self.theme
        kinds = [("", "As llama.cpp chooses"), *((name, name) for name in TENSOR_TYPE_NUMBERS)]
        own = [("", "Built-in text"), (_FILE, "A file of yours")]
        self.matrix = Select(
            theme,
            [
                (BY_TARGETS, "Where it helps"),
                (AUTO, "Computed here"),
                (NONE, "None"),
                (_FILE, "From a file"),
            ],
        )
        self._add(
            "Importance matrix", self.matrix, "Shows which weights matter; worth its time from Q4_0 down."
        )
        yield
        self.measure = Select(theme, [(None, "For models under 4 B"), (True, "Always"), (False, "Never")])
        self._add("Measure the loss", self.measure, "Perplexity, KL divergence and speed.")
        yield
        self.text = Select(theme, own)
        self._add("Text to measure with", self.text)
        yield
        self.calibration = Select(theme, own)
        self._add("Text for the matrix", self.calibration)
        yield
        self.output_type = Select(theme, kinds)
        self._add("Type of the output tensor", self.output_type)
        yield
        self.embedding_type = Select(theme, kinds)
        self._add("Type of the embeddings", self.embedding_type)
        yield
        self.threads = NumberField(theme, 0, most=512)
        self.threads.setSpecialValueText("All")
        self._add("Threads", self.threads)
        yield
        self.pattern = TextField(theme, PATTERN)
        self._add("Name of the files", self.pattern, "{name} and {quant} are filled in.")
        yield
        self.folder = Button(theme, "The model's own folder", icon="folder")
        self._add("Output folder", self.folder)
        yield
        self.overrides = TextArea(theme, placeholder="attn_v=Q8_0", lines=1, most=5)
        self._add(
            "Types of single tensors",
            self.overrides,
            "One pattern=type a line; the first that matches counts.",
        )
        yield
        self.pure = Switch(theme, "One type for all tensors")
        self.split = Switch(theme, "As many files as the source has")
        self._column.addLayout(self._switches())
        self._connect()
        yield

    def _add(self, label: str, control: QWidget, help_text: str = "") -> None:
        field = LabelledField(self.theme, label, control, help_text=help_text)
        self._fields.append(field)
        self._put(len(self._fields) - 1)
        for part in (field, *field.findChildren(QWidget)):
            part.ensurePolished()  # now, not when all of them are shown

    def _put(self, place: int) -> None:
        row, column = divmod(place, self._columns)
        self._grid.addWidget(self._fields[place], row, column, Qt.AlignmentFlag.AlignTop)

    def _switches(self) -> QHBoxLayout:
        row = hbox(spacing=SPACE.small)
        for switch in (self.pure, self.split):
            row.addWidget(switch)
            row.addWidget(Label(self.theme, switch.accessibleName()))
            row.addSpacing(SPACE.medium)
        row.addStretch(1)
        opens = Button(self.theme, "Open a preset", kind="quiet", icon="import", small=True)
        opens.clicked.connect(self.open_wanted)
        row.addWidget(opens)
        saves = Button(self.theme, "Save as preset", kind="quiet", icon="export", small=True)
        saves.clicked.connect(self.save_wanted)
        row.addWidget(saves)
        return row

    def _connect(self) -> None:
        self.matrix.chosen.connect(lambda value: self._path_or("imatrix", value))
        self.text.chosen.connect(lambda value: self._path_or("text", value))
        self.calibration.chosen.connect(lambda value: self._path_or("calibration_text", value))
        self.measure.chosen.connect(lambda value: self.changed.emit({"measure": value}))
        self.output_type.chosen.connect(lambda _: self._tell())
        self.embedding_type.chosen.connect(lambda _: self._tell())
        self.threads.valueChanged.connect(lambda _: self._tell())
        self.overrides.committed.connect(lambda _: self._tell())
        self.pure.clicked.connect(self._tell)
        self.split.clicked.connect(self._tell)
        self.pattern.editingFinished.connect(self._tell_pattern)
        self.folder.clicked.connect(lambda: self.file_wanted.emit("output"))

    def show_request(self, request: Request, parts: int) -> None:
        """Show what is asked for, without telling of a change."""
        self._request = request
        self._show_path(self.matrix, request.imatrix, (BY_TARGETS, NONE, AUTO))
        self._show_path(self.text, request.text, ("",))
        self._show_path(self.calibration, request.calibration_text, ("",))
        self.measure.setCurrentIndex({None: 0, True: 1, False: 2}[request.measure])
        self.calibration.setEnabled(request.matrix == AUTO)
        options = request.options
        self.output_type.set_value(options.output_type)
        self.embedding_type.set_value(options.embedding_type)
        self.threads.blockSignals(True)
        self.threads.setValue(options.threads)
        self.threads.blockSignals(False)
        self.pure.setChecked(options.pure)
        self.split.setChecked(options.keep_split)
        self.split.setEnabled(parts > 1)
        if not self.pattern.hasFocus():
            self.pattern.setText(request.pattern)
        if not self.overrides.hasFocus():
            self.overrides.setPlainText("\n".join(f"{name}={kind}" for name, kind in options.overrides))
        self.folder.setText(request.output or "The model's own folder")

    def show_problem(self, error: SlmDeskError | None) -> None:
        """Say at its field what cannot be done."""
        code = error.code if error is not None else ""
        text = f"{error.message} {error.hint}" if error is not None else ""
        calibrating = self._request.calibration_text and _name(self._request.calibration_text) in text
        texts = {"text_too_short", "text_unreadable"}
        for place, codes in (
            (0, {"imatrix_needed", "imatrix_missing", "imatrix_unreadable"}),
            (2, set() if calibrating else texts),
            (3, texts if calibrating else set()),
            (7, {"pattern_invalid"}),
            (9, {"tensor_type_unknown", "pattern_matches_nothing"}),
        ):
            self._fields[place].set_error(text if code in codes else "")

    def fit_width(self, width: int) -> None:
        """As many columns as there is room for."""
        self._arrange(max(1, min(3, width // _FEWEST)))

    def _arrange(self, columns: int) -> None:
        for place in range(3):
            self._grid.setColumnStretch(place, 1 if place < columns else 0)
        if columns == self._columns:
            return
        self._columns = columns
        for place, field in enumerate(self._fields):
            self._grid.removeWidget(field)
            self._put(place)

    @staticmethod
    def _show_path(select: Select, value: str, plain: tuple[str, ...]) -> None:
        at = select.findData(_FILE)
        if value in plain:
            select.set_value(value)
            select.setItemText(at, "From a file" if NONE in plain else "A file of yours")
        else:
            select.setItemText(at, _name(value))
            select.setCurrentIndex(at)

    def _path_or(self, name: str, value: str) -> None:
        if value == _FILE:
            self.file_wanted.emit(name)
        else:
            self.changed.emit({name: value})

    def _tell(self) -> None:
        overrides = []
        for line in self.overrides.toPlainText().splitlines():
            pattern, mark, kind = line.strip().rpartition("=")
            if line.strip():
                # A line without a type is told of when the request is checked.
                overrides.append((pattern, kind.strip().upper()) if mark else (line.strip(), "?"))
        options = Options(
            output_type=self.output_type.value,
            embedding_type=self.embedding_type.value,
            overrides=tuple(overrides),
            pure=self.pure.isChecked(),
            keep_split=self.split.isChecked(),
            threads=self.threads.value(),
        )
        if options != self._request.options:
            self.changed.emit({"options": options})

    def _tell_pattern(self) -> None:
        if self.pattern.text() != self._request.pattern:
            self.changed.emit({"pattern": self.pattern.text() or PATTERN})
