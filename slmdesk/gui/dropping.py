"""Files dropped anywhere on the window are offered for import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QDropEvent

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.widgets.landing import Landing
    from slmdesk.gui.window import MainWindow


class Dropping(QObject):
    """Takes files that hang over the window, says where they will land, and hands them to the Library."""

    # Events still come when Python has already taken the object's attributes away at its end.
    _window: MainWindow | None = None

    def __init__(self, window: MainWindow, content: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._content = content
        self._landing: Landing | None = None
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    @property
    def landing(self) -> Landing | None:
        """What says where the files will land; None before the first drag."""
        return self._landing

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Drags over the window; everything else goes its way."""
        if self._window is None or watched is not self._window:
            return False
        if event.type() == QEvent.Type.DragLeave:
            self._hide()
        if not isinstance(event, QDropEvent):  # what enters and moves is of this class too
            return False
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if not paths:
            event.ignore()
            return True
        # "Copy", whatever the source proposes: one that hears "move" deletes its file afterwards.
        event.setDropAction(Qt.DropAction.CopyAction)
        event.accept()
        if event.type() == QEvent.Type.Drop:
            self._hide()
            self._window.visit.imports([Path(path) for path in paths])
        elif event.type() == QEvent.Type.DragEnter:
            self._show()
        return True

    def _show(self) -> None:
        window = self._window
        assert window is not None
        if self._landing is None:
            from slmdesk.gui.widgets.landing import Landing

            self._landing = Landing(window.theme, self._content)
        folders = window.application.library.folders if window.has_application else ()
        where = f"Nothing is moved. You choose next whether a copy goes to {folders[0]}." if folders else ""
        self._landing.show_over("Drop to add to the library", where)

    def _hide(self) -> None:
        if self._landing is not None:
            self._landing.hide()
