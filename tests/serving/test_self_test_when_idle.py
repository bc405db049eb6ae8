"""A service tests the engine's arithmetic when nothing is asked of it, and lets answers go first."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from slmdesk.application import Application
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.safe_steps import safe_steps_in
from slmdesk.engines.self_test import SelfTest
from slmdesk.serving import service
from slmdesk.serving.service import Service
from slmdesk.serving.start import ServeOptions
from tests.broken_kernels import TIMES_REPACKED, preload, preloads

from .conftest import MODEL, serve


class Told:
    """What the service says of itself."""

    def __init__(self) -> None:
        self.url = ""
        self.is_ready = asyncio.Event()

    def loading(self, model: str, fraction: float) -> None:
        pass

    def ready(self, url: str, pid: int, *, host: str, key_needed: bool, ollama_url: str = "") -> None:
        del pid, host, key_needed, ollama_url
        self.url = url
        self.is_ready.set()


async def test_tested_once_nothing_was_asked_for_a_while(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TEST_AFTER_S", 0.5)
    settings = Settings(paths.settings_file, {})
    running, told = Service(Application(paths, settings, {}), ServeOptions(port=0)), Told()
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
    running, told = Service(Application(paths, settings, {}), ServeOptions(port=0)), Told()
    ended = asyncio.create_task(running.run(told))
    await told.is_ready.wait()
    await asyncio.sleep(0.1)  # somewhere in the middle of it, or before; no process may stay either way
    running.stop()
    assert await ended == "asked"


@pytest.mark.slow
@preloads
async def test_after_the_test_a_real_model_never_meets_the_fault(
    paths: Paths, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gemma: Path
) -> None:
    """Q4_K weights that are repacked end the process here; Gemma's are such weights."""
    preload(tmp_path, monkeypatch, f"#define BREAK raise(SIGSEGV);\n{TIMES_REPACKED}")
    outcome = await SelfTest(paths, Settings(paths.settings_file, {})).run()
    assert outcome.best.step == "no_extra_buffers"
    question = {"model": str(gemma), "prompt": "The capital of France is", "temperature": 0, "max_tokens": 4}
    with serve(home, "--model", str(gemma)) as running:
        answer = await asyncio.to_thread(running.post, "/v1/completions", question)
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["completion_tokens"] == 4
    # The engine was not started twice: no model needed a step of its own.
    assert [entry.scope for entry in safe_steps_in(paths.data).remembered()] == ["machine"]
