"""The About page: version, where the program keeps its files, and what it is built from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QWidget

import slmdesk
from slmdesk.gui.about.about_controller import AboutController
from slmdesk.gui.about.components import COMPONENTS
from slmdesk.gui.page import Page, WindowServices
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class AboutPage(Page):
    """Version, folders, licences. Reached from the palette and from Settings."""

    id = "about"
    title = "About"
    icon = "about"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        self._versions: dict[str, Label] = {}
        self._folders = GroupCard(self.theme)
        self._licences = Button(self.theme, "All licences", icon="link", kind="quiet", small=True)
        self._licences.setToolTip("Open the page with the licence of everything inside this program")
        self._licences.hide()
        area = ScrollingColumn(widest=MEASURE.pages, focus=Qt.FocusPolicy.TabFocus)
        self._column = area.column
        self._column.addWidget(self._introduction())
        self._heading("Folders")
        self._column.addWidget(self._folders)
        self._heading("Made with")
        self._column.addWidget(self._components())
        self._column.addStretch(1)
        layout = vbox(self, margins=0)
        layout.addWidget(area)
        self.controller = AboutController(services, self)

    def header_widgets(self) -> list[QWidget]:
        back = Button(self.theme, "Settings", kind="quiet", icon="chevron-left")
        back.clicked.connect(lambda: self.services.go_to("settings"))
        return [back]

    def begin(self) -> None:
        self.controller.begin()

    def _heading(self, text: str) -> None:
        self._column.addSpacing(SPACE.large)
        self._column.addWidget(Label(self.theme, text, role="emphasis"))

    def _introduction(self) -> QWidget:
        card = GroupCard(self.theme)
        row = CardRow(
            self.theme,
            "SLM Desk",
            "Small language models on your own machine: pick one that fits, talk with it, serve it.",
        )
        row.text.set_tone("secondary")
        version = Label(
            self.theme, f"Version {slmdesk.__version__}", role="small", tone="secondary", selectable=True
        )
        licence = Label(self.theme, "Licence: Apache-2.0", role="small", tone="secondary")
        row.body.addWidget(version)
        row.body.addWidget(licence)
        copy = Button(self.theme, "Copy version", icon="copy", kind="quiet", small=True)
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(f"SLM Desk {slmdesk.__version__}"))
        row.trailing.addWidget(self._licences)
        row.trailing.addWidget(copy)
        card.add_row(row)
        return card

    def _components(self) -> QWidget:
        card = GroupCard(self.theme)
        for name, distribution, licence, purpose in COMPONENTS:
            row = CardRow(self.theme, name, f"{purpose[0].upper()}{purpose[1:]}")
            version = Label(self.theme, "", role="small", tone="secondary")
            self._versions[distribution] = version
            row.trailing.addWidget(version)
            row.trailing.addWidget(Label(self.theme, licence, role="small"))
            card.add_row(row)
        return card

    # What the controller shows

    def offer_licences(self, page: Path) -> None:
        self._licences.show()
        self._licences.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(page))))

    def show_folders(self, folders: Sequence[tuple[str, Path]]) -> None:
        for title, folder in folders:
            row = QWidget()
            layout = hbox(
                row, margins=(SPACE.large, SPACE.small, SPACE.medium, SPACE.small), spacing=SPACE.medium
            )
            layout.addWidget(Icon(self.theme, "folder", colour="secondary"))
            name = Label(self.theme, title, role="strong")
            name.setFixedWidth(MEASURE.field_small)
            layout.addWidget(name)
            where = ElidedLabel(self.theme, str(folder), tone="secondary", middle=True)
            layout.addWidget(where, 1)
            show = IconButton(self.theme, "link", f"Show the folder {title}")
            show.clicked.connect(self._shower(folder))
            layout.addWidget(show)
            self._folders.add_row(row)

    def _shower(self, folder: Path) -> object:
        return lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def show_versions(self, versions: Mapping[str, str]) -> None:
        for distribution, version in versions.items():
            self._versions[distribution].setText(re.sub(r"\+.*", "", version))
