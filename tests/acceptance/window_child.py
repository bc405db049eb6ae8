"""A first start watched from within: the real window without a screen, and what a person would read in it.

`python -m tests.acceptance.window_child BEGAN_AT WANTED_JSON LATER_JSON [stay]` starts the program as `slmdesk` does,
looks at its windows until every wanted piece of text is to be read in one of them, visits all pages unless it is to
stay, waits in each for its piece of LATER (a page's id to text), closes the window as a person does, and prints one
line of JSON:

    seconds: from BEGAN_AT (`time.time()`) to the first visible window, and to each wanted piece; from the arrival in
        a page to its piece of LATER; absent if never
    first: the texts in sight when the last wanted piece was
    pages: the texts in sight in each page
    defects: what the report panels of unexpected exceptions hold
    stall_ms: the longest time the window heard nothing, from the first look on
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QAbstractButton, QAbstractItemView, QApplication, QLabel, QWidget

from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.app import qt_application, run
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.window import MainWindow

LOOK_MS = 20
PATIENCE_S = 60.0
REST_S = 0.7  # in each page, for what it loads
PLACES = ("catalog", "library", "downloads", "quantize", "settings", "chat")


class Watcher(QObject):
    """Looks at the program's windows again and again."""

    def __init__(self, app: QApplication, began: float, wanted: list[str], later: dict[str, str]) -> None:
        super().__init__(app)
        self._later = later
        self._came = 0.0
        self._began = began
        self._wanted = wanted
        self._left: list[str] = list(PLACES)
        self._until = 0.0
        self._looked = time.monotonic()
        self.told: dict[str, Any] = {"seconds": {}, "first": [], "pages": {}, "defects": [], "stall_ms": 0.0}
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()

    def stay(self) -> None:
        """Visit no page but the first."""
        self._left = ["chat"]

    def _look(self) -> None:
        now = time.monotonic()
        self.told["stall_ms"] = max(self.told["stall_ms"], round((now - self._looked) * 1000 - LOOK_MS, 1))
        windows = [each for each in QApplication.topLevelWidgets() if each.isVisible()]
        if windows:
            self._read(windows)
        self._looked = time.monotonic()  # looking itself is no stall of the program's

    def _read(self, windows: list[QWidget]) -> None:
        seconds = self.told["seconds"]
        passed = round(time.time() - self._began, 3)
        seconds.setdefault("window", passed)
        if not self.told["first"]:
            texts = texts_in(windows)
            for each in self._wanted:
                if any(each in text for text in texts):
                    seconds.setdefault(each, passed)
            if not all(each in seconds for each in self._wanted) and passed < PATIENCE_S:
                return
            self.told["first"] = texts
        frame = next((each for each in windows if isinstance(each, MainWindow)), None)
        if frame is None:
            self._end(windows)
        elif time.monotonic() > self._until and self._saw_enough(frame.current, texts := texts_in(windows)):
            if self._until:
                self.told["pages"][frame.current] = texts
            if not self._left:
                self._end(windows)
                return
            frame.go_to(self._left.pop(0))
            self._came = time.monotonic()
            self._until = self._came + (0 if frame.current in self._later else REST_S)

    def _saw_enough(self, page: str, texts: list[str]) -> bool:
        piece = self._later.get(page, "") if self._until else ""
        passed = time.monotonic() - self._came
        if piece and any(piece in text for text in texts):
            self.told["seconds"][piece] = round(passed, 3)
            return True
        return not piece or passed > PATIENCE_S

    def _end(self, windows: list[QWidget]) -> None:
        for window in windows:
            for panel in window.findChildren(ErrorPanel):
                if not isinstance(panel.error, SlmDeskError):
                    self.told["defects"].append(panel.report)
        self._timer.stop()
        for window in windows:
            window.close()


def texts_in(windows: list[QWidget]) -> list[str]:
    """What is to be read in these windows: labels, buttons, and the rows of lists."""
    found: list[str] = []
    for window in windows:
        for each in (window, *window.findChildren(QWidget)):
            if not each.isVisible():
                continue
            if isinstance(each, (QLabel, QAbstractButton)):
                found.append(each.text())
            elif isinstance(each, QAbstractItemView) and (model := each.model()) is not None:
                rows = model.rowCount(each.rootIndex())
                found.append(f"{each.accessibleName()}: {rows} rows")
                found += [str(model.index(row, 0, each.rootIndex()).data()) for row in range(min(rows, 20))]
    return [text for text in found if text.strip()]


def main() -> int:
    app = qt_application(["slmdesk"])
    watcher = Watcher(app, float(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]))
    if "stay" in sys.argv[4:]:
        watcher.stay()
    code = run(["slmdesk"])
    sys.stdout.write(json.dumps({**watcher.told, "code": code}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
