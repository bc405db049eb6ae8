"""The fields of a tool's form: paths that are typed or chosen, several of them, choices and words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.quantize.tool_forms import FormEntry, ToolForm, lines_of
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.fields import LabelledField, TextArea, TextField
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.values import Select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.gui.theme import Theme

MOST_OFFERED = 14


class _Path(QWidget):
    """A field for a path or a library id, and a button that offers some."""

    changed = Signal()
    wanted = Signal(bool)  # whether a folder is wanted

    def __init__(self, theme: Theme, entry: FormEntry) -> None:
        super().__init__()
        self.theme = theme
        self._entry = entry
        self._offers: Sequence[tuple[str, str]] = ()
        self.text = TextField(theme, entry.value, placeholder=entry.placeholder)
        self.text.textChanged.connect(self.changed)
        self._choose = Button(theme, "Choose", icon="folder")
        self._choose.setAccessibleName(f"Choose: {entry.label}")
        self._choose.clicked.connect(self._open)
        self.chain: list[QWidget] = [self.text, self._choose]
        row = hbox(self, margins=0, spacing=SPACE.small)
        row.addWidget(self.text, 1)
        row.addWidget(self._choose)
        self.setFocusProxy(self.text)

    @property
    def value(self) -> str:
        return self.text.text().strip()

    def set_value(self, value: str) -> None:
        self.text.setText(value)

    def offer(self, offers: Sequence[tuple[str, str]]) -> None:
        """Library ids and what they are called."""
        self._offers = offers

    def _open(self) -> None:
        if not self._offers:
            self.wanted.emit(self._entry.kind == "folder")
            return
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for reference, title in self._offers[:MOST_OFFERED]:
            menu.add(title, partial(self.set_value, reference), icon="model")
        menu.addSeparator()
        if self._entry.kind == "folder":
            menu.add("A folder on this disk …", lambda: self.wanted.emit(True), icon="folder")
        else:
            menu.add("A file on this disk …", lambda: self.wanted.emit(False), icon="file")
        menu.popup(self._choose.mapToGlobal(self._choose.rect().bottomLeft()))


class _Paths(QWidget):
    """Several paths, one a line."""

    changed = Signal()
    wanted = Signal(bool)

    def __init__(self, theme: Theme, entry: FormEntry) -> None:
        super().__init__()
        self.area = TextArea(theme, entry.value, lines=2, most=6)
        self.area.textChanged.connect(self.changed)
        add = Button(theme, "Add", icon="add")
        add.setAccessibleName(f"Add: {entry.label}")
        add.clicked.connect(lambda: self.wanted.emit(False))
        self.chain: list[QWidget] = [self.area, add]
        row = hbox(self, margins=0, spacing=SPACE.small)
        row.addWidget(self.area, 1)
        row.addWidget(add, 0, Qt.AlignmentFlag.AlignTop)
        self.setFocusProxy(self.area)

    @property
    def value(self) -> str:
        return "\n".join(lines_of(self.area.toPlainText()))

    def set_value(self, value: str) -> None:
        self.area.setPlainText(value)

    def add(self, path: str) -> None:
        self.set_value("\n".join([*lines_of(self.value), path]))


class FormFields(QWidget):
    """Signals:
    changed: something was entered.
    path_wanted(str, bool): the field of this key wants a file, or a folder.
    """

    changed = Signal()
    path_wanted = Signal(str, bool)

    def __init__(self, theme: Theme, form: ToolForm) -> None:
        super().__init__()
        self.form = form
        self._controls: dict[str, _Path | _Paths | Select | TextField] = {}
        self._fields: dict[str, LabelledField] = {}
        column = vbox(self, margins=0, spacing=SPACE.medium)
        for entry in form.entries:
            control = self._made(theme, entry)
            field = LabelledField(theme, entry.label, control, help_text=entry.help)
            if isinstance(control, _Path | _Paths):
                typed = control.text if isinstance(control, _Path) else control.area
                typed.setAccessibleName(entry.label)
                typed.setAccessibleDescription(entry.help)
            self._controls[entry.key], self._fields[entry.key] = control, field
            column.addWidget(field)

    @property
    def values(self) -> dict[str, str]:
        return {
            key: control.text().strip() if isinstance(control, TextField) else str(control.value or "")
            for key, control in self._controls.items()
        }

    @property
    def chain(self) -> list[QWidget]:
        """What the focus goes through, in order."""
        return [part for control in self._controls.values() for part in getattr(control, "chain", [control])]

    @property
    def complete(self) -> bool:
        values = self.values
        return all(values[entry.key] for entry in self.form.entries if entry.needed)

    def set_values(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            control = self._controls.get(key)
            if isinstance(control, TextField):
                control.setText(value)
            elif control is not None:
                control.set_value(value)

    def take_path(self, key: str, path: str) -> None:
        control = self._controls[key]
        if isinstance(control, _Paths):
            control.add(path)
        elif isinstance(control, _Path):
            control.set_value(path)

    def offer(self, models: Sequence[tuple[str, str]], folders: Sequence[tuple[str, str]]) -> None:
        for entry in self.form.entries:
            control = self._controls[entry.key]
            if isinstance(control, _Path) and entry.kind in {"model", "folder"}:
                control.offer(models if entry.kind == "model" else folders)

    def _made(self, theme: Theme, entry: FormEntry) -> _Path | _Paths | Select | TextField:
        if entry.kind == "choice":
            select = Select(theme, entry.choices, value=entry.value)
            select.chosen.connect(lambda _: self.changed.emit())
            return select
        if entry.kind == "words":
            field = TextField(theme, entry.value)
            field.textChanged.connect(lambda _: self.changed.emit())
            return field
        control: _Path | _Paths = _Paths(theme, entry) if entry.kind == "files" else _Path(theme, entry)
        control.changed.connect(self.changed)
        control.wanted.connect(lambda folder: self.path_wanted.emit(entry.key, folder))
        return control
