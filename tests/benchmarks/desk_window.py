"""One start of the real window, for the comparison with an empty one, and the stalls of its main thread.

    python desk_window.py start STARTED             → first paint and peak memory
    python desk_window.py stall MODEL.gguf SECONDS [REPO SOURCE.gguf]
        → how late the main thread was while an answer streamed; with a repository of the hub at HF_ENDPOINT and a
          model to quantize, while a download and a quantization ran as well and a person looked from page to page

`SLMDESK_HOME` must name a folder of the benchmark's own. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from empty_window import peak_bytes
from PySide6.QtCore import QEvent, QObject, Signal

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.gui.app import Desk, qt_application
from slmdesk.gui.single import SingleInstance
from slmdesk.quantize.request import Request

if TYPE_CHECKING:
    from slmdesk.gui.chat.chat_page import ChatPage

BEAT_S = 0.004
LOOK_S = 1.5


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


async def begin_work(desk: Desk, repo: str, source: str) -> list[str]:
    """A download of everything in the repository and three measured quants of the source; the jobs' ids."""
    application = desk.window.application
    plan = await application.downloads.plan(repo, ["weights.safetensors"])
    download = await application.downloads.start(plan)
    request = Request(source, ("Q4_K_M", "Q5_K_M", "Q6_K"), measure=True)
    return [download.id, (await application.quantizing.start(request)).id]


async def look_around(desk: Desk, seconds: float) -> None:
    """From page to page, as a person does who waits; ends in the chat."""
    end = time.monotonic() + seconds
    for page in itertools.cycle(("chat", "downloads", "quantize")):
        if time.monotonic() >= end and page == "chat":
            break
        desk.window.go_to(page)
        await asyncio.sleep(LOOK_S)


def measure_stall(model: str, seconds: float, repo: str = "", source: str = "") -> dict[str, Any]:
    desk = open_desk()
    heart = Heart()
    tokens = 0
    ran: list[str] = []

    async def stream() -> None:
        nonlocal tokens, ran
        page: ChatPage = desk.window.page("chat")  # type: ignore[assignment]
        chats = desk.window.application.chats
        conversation = await chats.create()
        await chats.set_model(conversation.id, model)
        page.controller.open(conversation.id)
        await asyncio.sleep(0.5)
        page.pane.composer.field.put("Tell me a long story.")
        page.controller.send("Tell me a long story.")
        while not (page.pane.messages.items and len(page.pane.messages.items[-1].message.text) > 20):
            await asyncio.sleep(0.05)
        jobs = await begin_work(desk, repo, source) if repo else []
        if jobs:
            await look_around(desk, LOOK_S)  # what is built when it is first looked at
        before = len(page.controller.items()[-1].message.text)
        heart.start()
        await (look_around(desk, seconds) if jobs else asyncio.sleep(seconds))
        await asyncio.to_thread(heart.stop)
        ran = [job.state for job in await desk.window.application.jobs.list() if job.id in jobs]
        tokens = len(page.controller.items()[-1].message.text) - before
        page.controller.stop()
        await asyncio.sleep(0.5)
        for job in jobs:
            with suppress(SlmDeskError):
                await desk.window.application.jobs.cancel(job)
        await desk.window.application.jobs.end_runner()
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
        **({"jobs": ran} if ran else {}),
    }


def main() -> None:
    if sys.argv[1] == "start":
        result = measure_start(float(sys.argv[2]))
    else:
        result = measure_stall(sys.argv[2], float(sys.argv[3]), *sys.argv[4:6])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
