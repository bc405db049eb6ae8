"""Python's cycle collector, kept on the main thread.

It destroys what it finds in whichever thread it happens to run, and Qt's objects must be destroyed in their own: a
timer that ends in a worker's thread ends the program. So it does not run by itself while there is a window.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from types import TracebackType

INTERVAL_MS = 500


class MainThreadCollector(QObject):
    """`with MainThreadCollector(parent):` around the event loop."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._ran_by_itself = True
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.collect)

    def __enter__(self) -> None:
        self._ran_by_itself = gc.isenabled()
        gc.disable()
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.stop()
        if self._ran_by_itself:
            gc.enable()

    def collect(self) -> None:
        """Collect the oldest generation that is due."""
        counts, limits = gc.get_count(), gc.get_threshold()
        for generation in (2, 1, 0):
            if counts[generation] > limits[generation]:
                gc.collect(generation)
                return
