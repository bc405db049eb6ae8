"""One model of the library: its files, their states, and what can be done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QFormLayout, QStackedWidget, QWidget

from slmdesk.core import amounts
from slmdesk.gui.library.file_step import step_for
from slmdesk.gui.library.library_list import state_of
from slmdesk.gui.library.model_panel import ModelPanel
from slmdesk.gui.loaded import memory_words
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.chips import STATES
from slmdesk.gui.widgets.flow import FlowLayout
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.scrolling import ScrollingColumn
from slmdesk.gui.widgets.table import Column, Table, TableModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.gui.page import WindowServices
    from slmdesk.gui.widgets.chips import State
    from slmdesk.library.records import LibraryFile, LibraryModel
    from slmdesk.library.usage import ModelUsage

MOST_ROWS = 10
BUILDING_MS = 20
"""How often to look whether the cards about a file are there."""
_SOURCES = {
    "program": "SLM Desk",
    "hub": "The hub",
    **dict.fromkeys(
        ("quantize", "split", "join", "imatrix", "imatrix sum", "convert", "adapter", "adapter merge"),
        "Made here",
    ),
    "ollama": "Ollama",
    "lm-studio": "LM Studio",
    "hf-cache": "The Hugging Face cache",
    "file": "A file of yours",
    "folder": "A folder of yours",
}


class FileActions(Protocol):
    """What can be done with a file of the library."""

    def chat(self, file: LibraryFile) -> None: ...
    def load(self, file: LibraryFile) -> None: ...
    def eject(self, file: LibraryFile) -> None: ...
    def verify(self, files: list[LibraryFile], title: str) -> None: ...
    def remove(self, files: list[LibraryFile], title: str) -> None: ...
    def quantize(self, file: LibraryFile) -> None: ...
    def open_tool(self, tool: str, file: LibraryFile) -> None: ...
    def fetch_again(self, file: LibraryFile) -> None: ...
    def show_folder(self, file: LibraryFile | None) -> None: ...


class LibraryDetail(QWidget):
    """The pane at the right."""

    def __init__(self, services: WindowServices, actions: FileActions) -> None:
        super().__init__()
        self._actions = actions
        theme = self.theme = services.theme
        self._loaded = services.loaded
        self.panel = ModelPanel(services)
        self.panel.load_wanted.connect(actions.load)
        self.model: LibraryModel | None = None
        self._title = Label(theme, role="title", wrap=True, selectable=True)
        self._publisher = ElidedLabel(theme, tone="secondary")
        self._problem = Label(theme, role="small", tone="bad", wrap=True)
        self._chat = self._button("Chat", "chat", actions.chat, primary=True)
        self._verify = self._button("Verify", "verified", self._verify_file)
        self._quantize = self._button("Quantize", "quantize", actions.quantize)
        self._step = self._button("Merge parts", "merge", self._take_step)
        self._memory = self._button("Load", "memory", self._load_or_eject)
        self._folder = self._button("Show in folder", "folder", actions.show_folder)
        self._update = self._button("Fetch the new version", "refresh", actions.fetch_again)
        self._delete = self._button("Delete", "delete", self._remove_file)
        self._delete.set_kind("danger")
        columns: Sequence[Column[LibraryFile]] = (
            Column("File", lambda file: file.label, stretch=True),
            Column(
                "Size",
                lambda file: amounts.size_parts(file.size_bytes)[0],
                lambda file: file.size_bytes,
                lambda file: amounts.size_parts(file.size_bytes)[1],
                number=True,
            ),
            Column(
                "Context",
                lambda file: amounts.tokens(file.context_length) if file.context_length else "",
                lambda file: file.context_length,
                number=True,
            ),
            Column(
                "State",
                lambda file: STATES[self._state(file)][0],
                icon=lambda file: STATES[self._state(file)][1],
                tone=self._tone,
            ),
        )
        self._files: TableModel[LibraryFile] = TableModel(columns)
        self._table: Table[LibraryFile] = Table(theme, self._files, "Files of the model")
        self._table.selectionModel().currentRowChanged.connect(lambda *_: self._show_file())
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(SPACE.large)
        self._form.setVerticalSpacing(SPACE.small)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._usage: ModelUsage | None = None
        self._kept_of: LibraryFile | None = None
        self._stack = QStackedWidget()
        self._stack.addWidget(
            EmptyState(
                theme,
                "library",
                "Choose a model to see its files, where they came from and whether they are whole.",
                action=("Find more models", lambda: services.go_to("catalog")),
            )
        )
        self._stack.addWidget(self._area())
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)
        self._loaded.changed.connect(self._show_file)

    @property
    def chosen(self) -> LibraryFile | None:
        """The file chosen in the table."""
        return self._table.chosen()

    def show_model(self, model: LibraryModel | None, usage: ModelUsage | None = None) -> None:
        """Show a model, with the same file chosen when it was shown before."""
        before = self.chosen
        if model is not None and (self.model is None or model.id != self.model.id):
            self._scroll.verticalScrollBar().setValue(0)
        self.model, self._usage = model, usage
        self._stack.setCurrentIndex(0 if model is None else 1)
        if model is None:
            return
        self._title.setText(model.name)
        self._publisher.setText(model.publisher)
        self._files.set_rows(model.files)
        shown = min(len(model.files), MOST_ROWS)
        self._table.setFixedHeight(MEASURE.control + shown * MEASURE.row + 2 * MEASURE.line)
        rows = [self._files.row(row).id for row in range(self._files.rowCount())]
        kept = before is not None and before.id in rows
        self._table.selectRow(rows.index(before.id) if kept and before is not None else 0)
        self._show_file()

    def show_kept(self, file_id: str) -> None:
        """Choose a file of the model that is shown, and bring into sight what it keeps."""
        rows = [self._files.row(row).id for row in range(self._files.rowCount())]
        if file_id in rows:
            self._table.selectRow(rows.index(file_id))
        # The page has its height once the layout was done.
        QTimer.singleShot(0, self.panel, self._scroll_to_kept)

    def _scroll_to_kept(self) -> None:
        if not self.panel.built:
            QTimer.singleShot(BUILDING_MS, self.panel, self._scroll_to_kept)
            return
        self._scroll.verticalScrollBar().setValue(self.panel.y() - SPACE.medium)
        self.panel.load.context.switch.setFocus(Qt.FocusReason.OtherFocusReason)

    def set_busy(self, *, on: bool) -> None:
        """The chosen file is being loaded or ejected."""
        self._memory.set_busy(on)

    def _area(self) -> QWidget:
        theme = self.theme
        self._scroll = ScrollingColumn(top=SPACE.large, spacing=SPACE.medium)
        column = self._scroll.column
        names = vbox(spacing=0)
        names.addWidget(self._title)
        names.addWidget(self._publisher)
        column.addLayout(names)
        column.addWidget(self._problem)
        actions = QWidget()
        self._action_flow = FlowLayout(actions)
        for button in (
            self._chat,
            self._memory,
            self._update,
            self._verify,
            self._quantize,
            self._step,
            self._folder,
            self._delete,
        ):
            self._action_flow.addWidget(button)
        column.addWidget(actions)
        column.addSpacing(SPACE.small)
        column.addWidget(Label(theme, "Files", role="emphasis"))
        column.addWidget(self._table)
        column.addSpacing(SPACE.small)
        column.addWidget(self.panel)
        column.addSpacing(SPACE.small)
        column.addWidget(Label(theme, "About this file", role="emphasis"))
        column.addLayout(self._form)
        column.addStretch(1)
        return self._scroll

    def _button(
        self, text: str, icon: str, act: Callable[[LibraryFile], object], *, primary: bool = False
    ) -> Button:
        """A button that does something with the file chosen."""
        button = Button(self.theme, text, kind="primary" if primary else "secondary", icon=icon)
        button.clicked.connect(lambda _checked: self.chosen is not None and act(self.chosen))
        return button

    def _verify_file(self, file: LibraryFile) -> None:
        self._actions.verify([file], self._title_of(file))

    def _remove_file(self, file: LibraryFile) -> None:
        self._actions.remove([file], self._title_of(file))

    def _take_step(self, file: LibraryFile) -> None:
        self._actions.open_tool(step_for(file)[0], file)

    def _load_or_eject(self, file: LibraryFile) -> None:
        loaded = self._loaded.get(file.id) is not None
        (self._actions.eject if loaded else self._actions.load)(file)

    def _title_of(self, file: LibraryFile) -> str:
        return f"{self.model.name} {file.label}" if self.model is not None else file.label

    def _state(self, file: LibraryFile) -> State:
        return state_of(file, built_in=bool(self.model and self.model.built_in))

    def _tone(self, file: LibraryFile) -> str:
        tone = str(STATES[self._state(file)][2])
        return "accent_text" if tone == "accent" else tone

    def _show_file(self) -> None:
        file, model = self.chosen, self.model
        if file is None or model is None:
            return
        self._show_kept(file)
        problem = file.problem
        self._problem.setText(f"{problem.message} {problem.hint}".strip() if problem else "")
        self._problem.setVisible(problem is not None)
        self._chat.setVisible(file.runs)
        self._chat.setEnabled(problem is None)
        loaded = self._loaded.get(file.id)
        self._memory.setVisible(file.runs and (problem is None or loaded is not None))
        self._memory.setText("Eject" if loaded is not None else "Load")
        self._memory.set_icon("eject" if loaded is not None else "memory")
        self._memory.setToolTip(
            "Give its memory back"
            if loaded is not None
            else "Load it now, so that the first answer comes at once"
        )
        self._update.setVisible(
            file.state in {"changed upstream", "damaged", "partial"} and bool(_repo(file))
        )
        self._update.setText(
            "Fetch it again" if file.state != "changed upstream" else "Fetch the new version"
        )
        self._quantize.setVisible(not model.built_in and problem is None)
        tool, step_words, icon = step_for(file)
        self._step.setVisible(bool(tool))
        self._step.setText(step_words)
        self._step.set_icon(icon or "merge")
        gone = problem is not None and problem.code in {"folder_missing", "import_missing"}
        self._verify.setEnabled(not gone)
        self._folder.setEnabled(not gone)
        self._delete.setVisible(not file.shipped)
        several = len(model.files) > 1
        self._delete.setText(f"Delete {file.label}" if several else "Delete")
        if file.in_place:
            self._delete.setText("Take off the list")
        self._show_facts(file)

    def _show_kept(self, file: LibraryFile) -> None:
        """Once for each listing: what is kept is read from the disk."""
        if file is not self._kept_of:
            self._kept_of = file
            self.panel.show_file(file)

    def _show_facts(self, file: LibraryFile) -> None:
        while self._form.rowCount():
            self._form.removeRow(0)
        origin = file.origins[0] if file.origins else None
        loaded = self._loaded.get(file.id)
        facts = [
            ("In memory", memory_words(loaded) if loaded is not None else ""),
            ("Parameters", amounts.parameters(file.parameters)),
            ("Architecture", file.architecture),
            ("Licence", file.licence or (origin.licence if origin else "")),
            ("Came from", _source_words(file)),
            ("Revision", origin.revision[:12] if origin else ""),
            ("Checked", _checked_words(file)),
            ("SHA-256", origin.sha256 if origin else ""),
            ("Lies at", str(file.path)),
        ]
        if self._usage is not None and self._usage.shared:
            facts.append(
                ("Shared", f"{amounts.size(self._usage.shared)} of the model lie under other names, too")
            )
        if file.shipped:
            facts = [fact for fact in facts if fact[0] not in {"Checked", "Revision"}]
        for name, value in facts:
            if value:
                shown = ElidedLabel(self.theme, value, middle=True)
                shown.setAccessibleName(f"{name}: {value}")
                self._form.addRow(Label(self.theme, name, role="small", tone="secondary"), shown)


def _repo(file: LibraryFile) -> str:
    return next((origin.repo for origin in file.origins if origin.repo), "")


def _checked_words(file: LibraryFile) -> str:
    """When the file was compared with its publisher's checksum; where it is unverified all the same, why."""
    origin = file.origins[0] if file.origins else None
    if origin is None or not origin.checked_at:
        return "never"
    when = amounts.moment(origin.checked_at)
    if file.state != "unverified":
        return when
    return (
        f"{when}, and the file was changed since"
        if origin.published
        else f"{when}, with no checksum of a publisher to compare"
    )


def _source_words(file: LibraryFile) -> str:
    origin = file.origins[0] if file.origins else None
    if origin is None:
        return ""
    named = _SOURCES.get(origin.source, origin.source)
    words = f"{named}, {origin.repo}" if origin.repo and named else origin.repo or named
    return f"{words}; used where it lies" if file.in_place and words else words
