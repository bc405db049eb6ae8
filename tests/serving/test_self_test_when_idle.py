"""A service tests the engine's arithmetic when nothing is asked of it, and lets answers go first."""

import asyncio
import time

import aiohttp
import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.self_test import SelfTest
from slmdesk.serving import service
from slmdesk.serving.service import Service
from slmdesk.serving.start import ServeOptions

from .conftest import MODEL


class Told:
    """What the service says of itself."""

    def __init__(self) -> None:
        self.url = ""
        self.is_ready = asyncio.Event()

    def loading(self, model: str, fraction: float) -> None:
        pass

    def ready(self, url: str, pid: int, *, host: str) -> None:
        del pid, host
        self.url = url
        self.is_ready.set()


async def test_tested_once_nothing_was_asked_for_a_while(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TEST_AFTER_S", 0.5)
    settings = Settings(paths.settings_file, {})
    running, told = Service(paths, settings, ServeOptions(port=0)), Told()
    ended = asyncio.create_task(running.run(told))
    await told.is_ready.wait()
    question = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is a quant?"}],
        "temperature": 0,
    }
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{told.url}/v1/chat/completions", json=question) as answer,
    ):
        assert (await answer.json())["choices"][0]["message"]["content"]
    answered = time.time()
    test = SelfTest(paths, settings)
    async with asyncio.timeout(60):
        while (outcome := await test.latest()) is None:
            await asyncio.sleep(0.05)
    assert outcome.holds
    assert outcome.when - outcome.seconds > answered  # begun after the answer
    running.stop()
    assert await ended == "asked"


async def test_a_service_that_ends_takes_the_test_with_it(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TEST_AFTER_S", 0.0)
    settings = Settings(paths.settings_file, {})
    running, told = Service(paths, settings, ServeOptions(port=0)), Told()
    ended = asyncio.create_task(running.run(told))
    await told.is_ready.wait()
    await asyncio.sleep(0.1)  # somewhere in the middle of it, or before; no process may stay either way
    running.stop()
    assert await ended == "asked"
