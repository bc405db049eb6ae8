"""Presets of one kind: a button that offers them, and a field for the name of a new one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.menu import Menu
from slmdesk.gui.widgets.name_line import NameLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.theme import Theme


class PresetRow(QWidget):
    """A title with its presets.

    Signals:
        chosen(str), removed(str): a preset, by its name.
        named(str): what there is now is to be kept under this name.
    """

    chosen = Signal(str)
    removed = Signal(str)
    named = Signal(str)

    def __init__(self, theme: Theme, title: str) -> None:
        super().__init__()
        self._theme = theme
        self._title = title
        self._names: Sequence[str] = ()
        self.button = Button(theme, "Presets", kind="quiet", icon="chevron-down", small=True)
        self.button.setAccessibleName(f"Presets of {title.lower()}")
        self.button.clicked.connect(self._open)
        self.naming = NameLine(theme, f"Name of the preset of {title.lower()}")
        self.naming.named.connect(self.named)
        self.naming.left.connect(lambda: self.button.setFocus(Qt.FocusReason.OtherFocusReason))
        head = hbox(spacing=SPACE.small)
        head.addWidget(Label(theme, title, role="emphasis"), 1)
        head.addWidget(self.button)
        column = vbox(self, margins=0, spacing=SPACE.tiny)
        column.addLayout(head)
        column.addWidget(self.naming)

    def show_names(self, names: Sequence[str]) -> None:
        """The presets there are."""
        self._names = names

    def menu(self) -> Menu:
        """What the button opens."""
        menu = Menu(self._theme, parent=self)
        for name in self._names:
            menu.add(_escaped(name), partial(self.chosen.emit, name))
        if self._names:
            menu.addSeparator()
        menu.add("Keep as a preset…", self.naming.ask, icon="add")
        if self._names:
            below = Menu(self._theme, parent=menu)
            below.setTitle("Delete a preset")
            for name in self._names:
                below.add(_escaped(name), partial(self.removed.emit, name))
            menu.addMenu(below)
        return menu

    def _open(self) -> None:
        self.menu().open_below(self.button)


def _escaped(name: str) -> str:
    """In a menu "&" marks a letter."""
    return name.replace("&", "&&")
