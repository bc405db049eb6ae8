"""The About page: version, where the program keeps its files, and what it is built from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

import slmdesk
from slmdesk.gui.page import Page, WindowServices
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from pathlib import Path

COMPONENTS: tuple[tuple[str, str, str, str], ...] = (
    # what it is called, its distribution, its licence, what it does here
    ("Qt and PySide", "PySide6-Essentials", "LGPL-3.0", "the window"),
    ("llama.cpp and llama-cpp-python", "llama-cpp-python", "MIT", "runs the models"),
    ("Material Design Icons and QtAwesome", "qtawesome", "Apache-2.0, MIT", "the icons"),
    ("aiohttp", "aiohttp", "Apache-2.0, MIT", "the service and its clients"),
    ("huggingface_hub", "huggingface_hub", "Apache-2.0", "talks to the hub"),
    ("httpx2", "httpx2", "BSD-3-Clause", "carry what is asked of the hub"),
    ("httpcore2", "httpcore2", "BSD-3-Clause", "connections to the hub"),
    ("hf-xet", "hf-xet", "Apache-2.0", "transfers files"),
    ("filelock", "filelock", "MIT", "keeps two programs apart"),
    ("Jinja", "jinja2", "BSD-3-Clause", "chat templates"),
    ("keyring", "keyring", "MIT", "keeps secrets in the system's keyring"),
    ("markdown-it-py", "markdown-it-py", "MIT", "reads Markdown"),
    ("msgspec", "msgspec", "BSD-3-Clause", "JSON between the program's processes"),
    ("NumPy", "numpy", "BSD-3-Clause", "numbers"),
    ("platformdirs", "platformdirs", "MIT", "finds the system's folders"),
    ("prometheus-client", "prometheus-client", "Apache-2.0, BSD-2-Clause", "the metrics of the service"),
    ("prompt-toolkit", "prompt-toolkit", "BSD-3-Clause", "the chat in the terminal"),
    ("psutil", "psutil", "BSD-3-Clause", "memory and processes"),
    ("Pygments", "pygments", "BSD-2-Clause", "colours code"),
    ("PyQtGraph", "pyqtgraph", "MIT", "draws the chart of quants"),
    ("qasync", "qasync", "BSD-2-Clause", "joins Qt and asyncio"),
    ("Send2Trash", "send2trash", "BSD-3-Clause", "hands removed files to the system's trash"),
    ("SocksiO", "socksio", "MIT", "speaks to a SOCKS proxy"),
    ("Tomli-W", "tomli-w", "MIT", "writes settings"),
    ("Shiboken", "shiboken6", "LGPL-3.0", "binds Qt to Python"),
    ("uv", "uv", "Apache-2.0, MIT", "makes the environments of converters"),
)


def component_versions() -> dict[str, str]:
    """The installed version of each component, by distribution; "" where it cannot be told. Reads files."""
    from importlib import metadata

    versions = {}
    for _, distribution, _, _ in COMPONENTS:
        try:
            versions[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[distribution] = ""
    return versions


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
        self._filled = False
        area = ScrollingColumn(widest=MEASURE.pages, focus=Qt.FocusPolicy.TabFocus)
        self._column = area.column
        self._column.addWidget(self._introduction())
        self._heading("Folders")
        self._column.addWidget(self._folders)
        self._heading("Made with")
        self._column.addWidget(self._components())
        self._column.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)

    def header_widgets(self) -> list[QWidget]:
        back = Button(self.theme, "Settings", kind="quiet", icon="chevron-left")
        back.clicked.connect(lambda: self.services.go_to("settings"))
        return [back]

    def activated(self) -> None:
        if not self._filled:
            self._filled = True
            self._fill_folders()
            self._offer_licences(self.services.application.paths.resources / "licences.html")
            self.services.run(self._fill_versions(), "reading versions")

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

    def _offer_licences(self, page: Path) -> None:
        """Only a packaged program carries the page: it alone brings the parts along."""
        self._licences.setVisible(page.is_file())
        self._licences.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(page))))

    def _fill_folders(self) -> None:
        paths = self.services.application.paths
        for title, folder in (
            ("Settings", paths.config),
            ("Conversations", paths.data),
            ("Models", paths.models),
            ("Logs", paths.logs),
        ):
            row = QWidget()
            layout = QHBoxLayout(row)
            layout.setContentsMargins(SPACE.large, SPACE.small, SPACE.medium, SPACE.small)
            layout.setSpacing(SPACE.medium)
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

    async def _fill_versions(self) -> None:
        import asyncio

        for distribution, version in (await asyncio.to_thread(component_versions)).items():
            self._versions[distribution].setText(re.sub(r"\+.*", "", version))
