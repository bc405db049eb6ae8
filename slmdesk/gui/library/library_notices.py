"""Lines above the list that say what is to be done about the library: missing folders, leftovers, equal files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import Icon, Label, Pane
from slmdesk.gui.widgets.buttons import Button, IconButton
from slmdesk.gui.widgets.layouts import hbox, vbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from slmdesk.gui.library.notice import LibraryNotice
    from slmdesk.gui.theme import Theme


class LibraryNotices(QWidget):
    """Holds them, the newest below."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.theme = theme
        self._shown: dict[str, QWidget] = {}
        self._layout = vbox(self, margins=(SPACE.large, 0, SPACE.medium, 0), spacing=SPACE.small)
        self.hide()

    @property
    def keys(self) -> list[str]:
        return list(self._shown)

    def put(self, notice: LibraryNotice) -> None:
        """Show a notice, or take away the one with its key."""
        self.take_away(notice.key)
        if notice.words:
            row = self._row(notice)
            self._shown[notice.key] = row
            self._layout.addWidget(row)
        self.setVisible(bool(self._shown))

    def take_away(self, key: str) -> None:
        old = self._shown.pop(key, None)
        if old is not None:
            self._layout.removeWidget(old)
            let_go(old, self.parentWidget())
        self.setVisible(bool(self._shown))

    def _row(self, notice: LibraryNotice) -> QWidget:
        theme = self.theme
        pane = Pane(theme, kind="panel", parent=self)
        if notice.tone != "secondary":
            pane.setProperty("tone", notice.tone)
        row = hbox(pane, margins=(SPACE.medium, SPACE.small, SPACE.tiny, SPACE.small), spacing=SPACE.small)
        row.addWidget(Icon(theme, notice.icon, colour=notice.tone))
        row.addWidget(Label(theme, notice.words, role="small", wrap=True), 1)
        run = notice.run
        if notice.action and run is not None:
            button = Button(theme, notice.action, small=True)
            button.clicked.connect(lambda _checked: run())
            row.addWidget(button)
        away = IconButton(theme, "close", "Put this away", small=True)
        away.clicked.connect(lambda: self.take_away(notice.key))
        row.addWidget(away)
        return pane
