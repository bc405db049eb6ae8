"""The window has the engine's arithmetic tested while nobody asks anything."""

from __future__ import annotations

import asyncio

import pytest

from slmdesk.engines.self_test_outcome import BOUNDS
from slmdesk.gui import self_testing
from slmdesk.gui.app import Desk
from slmdesk.gui.settings.settings_page import SettingsPage

from .conftest import Play, until


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


def test_settings_tell_what_was_found_and_test_anew(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.window.go_to("settings")
        page = desk.window.page("settings")
        assert isinstance(page, SettingsPage)
        card = page.self_test
        await until(card.isVisible, "the group")
        assert card.row.title.text() == "Not tested yet"
        seen: set[str] = set()
        card.button.click()
        await until(lambda: card.button.busy, "the test")
        while card.button.busy:
            seen.add(card.row.text.text())
            await asyncio.sleep(0.01)
        assert any(text.startswith("Testing … ") and text.endswith(f" of {len(BOUNDS)})") for text in seen)
        assert card.row.title.text() == f"All {len(BOUNDS)} kinds of weights give the right numbers"
        assert card.row.text.text().startswith("Tested just now, in ")
        page.filter("self-test")
        assert card.isVisible()
        page.filter("temperature")
        assert not card.isVisible()
        assert not desk.window.errors_shown

    play(scene)
