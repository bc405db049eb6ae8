"""One start of the real window, for the comparison with an empty one, and the stalls of its main thread.

    python desk_window.py start STARTED             → first paint and peak memory
    python desk_window.py stall MODEL.gguf SECONDS  → how late the main thread was while an answer streamed

`SLMDESK_HOME` must name a folder of the benchmark's own. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from typing import TYPE_CHECKING

from empty_window import peak_bytes
from PySide6.QtCore import QEvent, QObject, Signal

from slmdesk.core.paths import Paths
from slmdesk.gui.app import Desk, qt_application
from slmdesk.gui.single import SingleInstance

if TYPE_CHECKING:
    from slmdesk.gui.chat.place import ChatPlace

BEAT_S = 0.004


class FirstPaint(QObject):
    """Notes when anything of the window was painted first."""

    at = 0.0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not self.at and event.type() == QEvent.Type.Paint and watched.isWidgetType():
            self.at = time.time()
        return False


class Heart(QObject):
    """A thread that knocks every few milliseconds; the main thread notes how long it took to answer."""

    knocked = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.late: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.knocked.connect(self._answer)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.knocked.emit(time.perf_counter())

    def _answer(self, knocked: float) -> None:
        self.late.append(time.perf_counter() - knocked)


def open_desk() -> Desk:
    app = qt_application(["slmdesk"])
    paths = Paths.resolve()
    paths.ensure()
    single = SingleInstance(paths.runtime, app)
    if not single.first():
        raise RuntimeError("another window is open in this home")
    return Desk(app, paths, single)


def measure_start(started: float) -> dict[str, float]:
    paint = FirstPaint()
    desk = open_desk()
    desk.app.installEventFilter(paint)

    async def rest() -> None:
        desk.app.removeEventFilter(paint)
        await asyncio.sleep(2)
        desk.window.close()

    desk.run(rest)
    return {"first_paint_s": paint.at - started, "peak_bytes": peak_bytes()}


def measure_stall(model: str, seconds: float) -> dict[str, float]:
    desk = open_desk()
    heart = Heart()
    tokens = 0

    async def stream() -> None:
        nonlocal tokens
        place: ChatPlace = desk.window.place("chat")  # type: ignore[assignment]
        while place.controller is None:
            await asyncio.sleep(0.05)
        chats = desk.window.application.chats
        conversation = await chats.create()
        await chats.set_model(conversation.id, model)
        place.controller.open(conversation.id)
        await asyncio.sleep(0.5)
        place.pane.composer.field.put("Tell me a long story.")
        place.controller.send("Tell me a long story.")
        while not (place.pane.messages.items and len(place.pane.messages.items[-1].message.text) > 20):
            await asyncio.sleep(0.05)
        before = len(place.controller.items()[-1].message.text)
        heart.start()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(heart.stop)
        tokens = len(place.controller.items()[-1].message.text) - before
        place.controller.stop()
        await asyncio.sleep(0.5)
        client = await desk.window.application.connector.attached()
        if client is not None:
            await client.shutdown()
        desk.window.close()

    desk.run(stream)
    late = sorted(heart.late)
    return {
        "beats": len(late),
        "median_ms": round(1000 * late[len(late) // 2], 2),
        "p99_ms": round(1000 * late[int(len(late) * 0.99)], 2),
        "max_ms": round(1000 * late[-1], 2),
        "characters": tokens,
    }


def main() -> None:
    if sys.argv[1] == "start":
        result = measure_start(float(sys.argv[2]))
    else:
        result = measure_stall(sys.argv[2], float(sys.argv[3]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
