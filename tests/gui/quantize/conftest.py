"""A window whose jobs are done by a real process, and a copy of the built-in model in the library."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from slmdesk.gui.app import Desk

Act = Callable[[Desk], Awaitable[None]]
PATIENCE_S = 200.0  # a run is a dozen processes; a busy machine takes its time


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds; fails the test when it does not in time."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain for {what}")
        await asyncio.sleep(0.02)


@pytest.fixture
def with_jobs(play: Callable[[Act], None], monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """Plays a scene, and ends the process that does the jobs afterwards."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")

    def run(scene: Act) -> None:
        async def act(desk: Desk) -> None:
            try:
                await scene(desk)
            finally:
                assert await desk.window.application.jobs.end_runner()

        play(act)

    return run


@pytest.fixture
def quantized(home: Path, desk_guide: Path) -> Path:
    """A model in the library that calls itself quantized: Q8_0 by its real tensors."""
    from slmdesk.quantize.host import run_child
    from slmdesk.quantize.protocol import QuantizeSpec

    folder = home / "work"
    folder.mkdir(parents=True)
    asyncio.run(run_child(QuantizeSpec(str(desk_guide), str(folder), "made-Q8_0.gguf", "Q8_0")))
    target = home / "models" / "maker" / "made" / "made-Q8_0.gguf"
    target.parent.mkdir(parents=True)
    shutil.move(folder / "made-Q8_0.gguf", target)
    return target
