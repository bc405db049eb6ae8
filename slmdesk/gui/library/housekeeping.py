"""What the window does for the library now and then: what was deleted goes to the system's trash after a while."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from slmdesk.gui.page import WindowServices

FIRST_MS = 8_000
EVERY_MS = 3_600_000
_log = logging.getLogger(__name__)


class Housekeeping(QObject):
    """Runs while the window is open. Until its turn comes a deletion can be undone."""

    def __init__(self, services: WindowServices, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._timer = QTimer(self)
        self._timer.setInterval(FIRST_MS)
        self._timer.timeout.connect(self._turn)
        self._timer.start()

    def _turn(self) -> None:
        self._timer.setInterval(EVERY_MS)
        self._services.run(self._hand_over(), "handing deletions to the trash")

    async def _hand_over(self) -> None:
        try:
            await self._services.application.trash.hand_over()
        except SlmDeskError as error:
            # It stays where it is and can still be undone.
            _log.info("deleted models stay in the models folder: %s", error.message)
