"""The yardstick of the window: an empty PySide6 window with four tabs, and nothing else.

Prints one JSON line: seconds from `started` (seconds since 1970, given as argument) to the first paint, and the
peak resident memory two seconds later.
"""

from __future__ import annotations

import json
import sys
import time

from PySide6.QtCore import QTimer
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QTabWidget, QWidget


def peak_bytes() -> int:
    """The peak of this process's resident memory so far."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Page(QWidget):
    """A page that notes when it is painted first."""

    painted = 0.0

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if not Page.painted:
            Page.painted = time.time()


def main() -> None:
    started = float(sys.argv[1])
    application = QApplication(sys.argv[:1])
    window = QMainWindow()
    tabs = QTabWidget()
    for title in ("Chat", "Catalog", "Downloads", "Quantize"):
        tabs.addTab(Page(), title)
    window.setCentralWidget(tabs)
    window.resize(1280, 800)
    window.show()
    QTimer.singleShot(2000, application.quit)
    application.exec()
    print(json.dumps({"first_paint_s": Page.painted - started, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
