"""Asks the service, while the window can be seen, what it has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import asyncio

    from slmdesk.application import Application
    from slmdesk.gui.window import MainWindow

EVERY_MS = 2000


class StatusPoll(QObject):
    """Keeps the strip true. It attaches to a service that runs and never starts one.

    A service that is gone is no error here: the strip then says that nothing is loaded.
    """

    def __init__(self, window: MainWindow, application: Application) -> None:
        super().__init__(window)
        self._window = window
        self._application = application
        self._task: asyncio.Task[None] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(EVERY_MS)
        self._timer.timeout.connect(self.ask)

    def start(self) -> None:
        self._timer.start()
        self.ask()

    def stop(self) -> None:
        self._timer.stop()

    def ask(self) -> None:
        """Ask once, unless the last question is still open or nobody could see the answer."""
        if self._task is not None or not self._window.isVisible() or self._window.isMinimized():
            return
        self._task = self._window.run(self._ask(), "asking the service for its state")
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        del task
        self._task = None

    async def _ask(self) -> None:
        try:
            client = await self._application.connector.attached()
            loaded = (await client.status()).loaded if client is not None else []
        except SlmDeskError:
            loaded = []
        self._window.strip.show_loaded(loaded)
        self._window.loaded.take(loaded)
        self._window.strip.set_reached(reached=self._application.hub.reached)
