"""Taking a widget away while the window goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget


def holds_focus(widget: QWidget) -> bool:
    """Whether the focus is on the widget or inside it."""
    focused = QApplication.focusWidget()
    return focused is not None and (focused is widget or widget.isAncestorOf(focused))


def let_go(widget: QWidget, heir: QWidget | None = None) -> None:
    """Hide a widget and delete it with the next turn of the event loop. Whoever knows it must have forgotten it.

    The focus inside it goes to `heir`, or nowhere. Left to itself Qt hands it to the next widget in the tab order
    while this one is being hidden: a list then scrolls to that one, in the middle of its own change.
    """
    if holds_focus(widget):
        if heir is not None and heir.isVisible():
            heir.setFocus(Qt.FocusReason.MouseFocusReason)
        else:
            focused = QApplication.focusWidget()
            if focused is not None:
                focused.clearFocus()
    widget.hide()
    widget.deleteLater()
