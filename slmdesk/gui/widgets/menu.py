"""Context and drop-down menus with round corners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QMenu, QWidget

from slmdesk.gui.widgets.round_popup import round_corners

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QAction

    from slmdesk.gui.theme import Theme


class Menu(QMenu):
    """A menu to be shown with `popup` (never `exec`, which would stop every other task)."""

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setWindowFlags(
            self.windowFlags() | Qt.WindowType.FramelessWindowHint | Qt.WindowType.NoDropShadowWindowHint
        )
        round_corners(self)

    def open_below(self, button: QWidget) -> None:
        """Open under the right end of `button`; the menu is gone when it closes."""
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        corner = button.mapToGlobal(button.rect().bottomRight())
        self.popup(corner - QPoint(self.sizeHint().width(), 0))

    def add(
        self,
        text: str,
        run: Callable[[], object],
        *,
        icon: str = "",
        shortcut: str = "",
        enabled: bool = True,
    ) -> QAction:
        """Add an entry that calls `run`."""
        from PySide6.QtGui import QAction, QKeySequence

        action = QAction(text, self)
        if icon:
            action.setIcon(self.theme.icon(icon))
        if shortcut:
            action.setShortcut(QKeySequence(shortcut))
        action.setEnabled(enabled)
        action.triggered.connect(lambda _checked: run())
        self.addAction(action)
        return action
