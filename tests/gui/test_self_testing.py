"""The window has the engine's arithmetic tested while nobody asks anything."""

from __future__ import annotations

import asyncio

import pytest

from slmdesk.gui import self_testing
from slmdesk.gui.app import Desk

from .conftest import Play


def test_tested_some_seconds_after_the_start(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_testing, "AFTER_S", 0.2)

    async def scene(desk: Desk) -> None:
        assert desk.application is not None
        test = desk.application.self_test
        async with asyncio.timeout(60):
            while (outcome := await test.latest()) is None:
                await asyncio.sleep(0.05)
        assert outcome.holds
        assert not desk.window.errors_shown

    play(scene)
