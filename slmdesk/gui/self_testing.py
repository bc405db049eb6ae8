"""The engine's self-test after an installation or an update, while the window is idle."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmdesk.gui.page import WindowServices

AFTER_S = 4.0


class SelfTesting:
    """Begins some seconds after the window is there, gives way to an answer, and says what changed for models here."""

    def __init__(self, services: WindowServices) -> None:
        self._services = services
        self._busy = time.monotonic()
        services.run(self._test(), "testing the engine")

    async def _test(self) -> None:
        await asyncio.sleep(AFTER_S)
        application = self._services.application
        test = await asyncio.to_thread(lambda: application.self_test)  # its imports take longer than a frame
        outcome = await test.run_when_idle(self._idle_s, after_s=AFTER_S)
        if outcome is not None and outcome.steps[0].failed:
            self._services.toast(f"Self-test: {outcome.words}.")

    def _idle_s(self) -> float:
        if self._services.application.chats.answering:
            self._busy = time.monotonic()
        return time.monotonic() - self._busy
