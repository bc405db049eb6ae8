"""The control of a setting that holds a list of folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from slmdesk.gui.page import WindowServices


class FolderList(QWidget):
    """Folders with a button each to take them off the list, and one to add another.

    Signals:
        edited: the list as the setting keeps it (joined by the system's path separator).
    """

    edited = Signal(str)

    def __init__(self, services: WindowServices, name: str, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.services = services
        self.theme: Theme = services.theme
        self._folders: list[str] = []
        self.setAccessibleName(name)
        layout = vbox(self, margins=(0, SPACE.tiny, 0, 0), spacing=SPACE.tiny)
        self._rows = vbox(spacing=0)
        layout.addLayout(self._rows)
        add = Button(self.theme, "Add folder…", icon="folder-add", small=True)
        add.clicked.connect(self._add)
        below = QHBoxLayout()
        below.addWidget(add)
        below.addStretch(1)
        layout.addLayout(below)

    def set_value(self, value: str) -> None:
        """Show a list as the setting keeps it; empty means the program's own folder."""
        self._folders = [folder for folder in value.split(os.pathsep) if folder]
        while self._rows.count():
            item = self._rows.takeAt(0)
            old = item.widget() if item else None
            if old is not None:
                let_go(old, self)
        for folder in self._folders:
            self._rows.addWidget(self._row(folder))
        if not self._folders:
            self._rows.addWidget(
                Label(self.theme, "The program's own folder", role="small", tone="secondary")
            )

    def add_folder(self, folder: Path) -> None:
        """Put a folder at the end of the list, unless it is there already."""
        if str(folder) not in self._folders:
            self._change([*self._folders, str(folder)])

    def _row(self, folder: str) -> QWidget:
        row = QWidget()
        layout = hbox(row, margins=0, spacing=SPACE.small)
        there = Path(folder).is_absolute()
        layout.addWidget(Icon(self.theme, "folder", size=MEASURE.icon_small, colour="secondary"))
        layout.addWidget(ElidedLabel(self.theme, folder, middle=True), 1)
        if not there:
            layout.addWidget(Label(self.theme, "Not a full path", role="small", tone="caution"))
        remove = IconButton(self.theme, "close", f"Take {folder} off the list", small=True)
        remove.clicked.connect(lambda: self._remove(folder))
        layout.addWidget(remove)
        return row

    def _remove(self, folder: str) -> None:
        self._change([each for each in self._folders if each != folder])

    def _change(self, folders: list[str]) -> None:
        # Remembered at once: the next change may come before this one is stored and shown.
        self._folders = folders
        self.edited.emit(os.pathsep.join(folders))

    def _add(self) -> None:
        self.services.run(self._ask(), "choosing a folder")

    async def _ask(self) -> None:
        from slmdesk.gui.dialogs import choose_folder

        folder = await choose_folder(self.services.window(), "Add a folder of models")
        if folder is not None:
            self.add_folder(folder)
