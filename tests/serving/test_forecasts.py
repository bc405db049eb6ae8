"""A load is checked against its forecast, and what it took is kept for the next one."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.held_memory import held_bytes, held_now
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.registry import KINDS
from slmdesk.inference.answers import Stop
from slmdesk.inference.engines import EngineKinds
from slmdesk.library.library import Library
from slmdesk.memory.calibration import Calibration
from slmdesk.memory.fit import calibration_in
from slmdesk.serving import turns as turns_module
from slmdesk.serving.models import Models
from tests.asking import asking

MODEL = "slmdesk/desk-guide"


def _models(paths: Paths, calibration: Calibration, kinds: EngineKinds = KINDS) -> Models:
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 1024)
    settings.set("engine.parallel", 1)
    return Models(Library(paths, settings), settings, calibration=calibration, kinds=kinds)


async def test_a_load_and_its_end_are_measured(paths: Paths) -> None:
    models = _models(paths, calibration_in(paths.data))
    try:
        async with models.use(MODEL, trusted=True) as held:
            engine = held.engine
            request = asking(name="1", prompt="lorem ipsum dolor " * 80, max_tokens=2)
            *_, last = [item async for item in engine.ask(request)]
            assert isinstance(last, Stop)
            assert last.usage.prompt_tokens > 512  # a whole batch
            ready = engine.facts
        await models.unload(MODEL, trusted=True)
    finally:
        await models.stop()
    [sample] = json.loads((paths.data / "memory.json").read_text())["loads"]
    assert sample["loaded"] == ready.memory_bytes
    assert sample["peak"] > sample["loaded"]
    assert abs(sample["error"]) < 0.15  # ten megabytes of model, so nearly all of it is the process
    error = calibration_in(paths.data).correction().last_error
    assert error == sample["error"]


async def test_a_model_takes_one_conversation_s_memory(paths: Paths, smollm2: Path) -> None:
    """With its whole context of 8192 tokens, which other requests share, and no more of it than a chat has filled."""
    settings = Settings(paths.settings_file, {})
    models = Models(Library(paths, settings), settings, calibration=calibration_in(paths.data))
    try:
        async with models.use(str(smollm2), trusted=True) as held:
            engine = held.engine
            question = [{"role": "user", "content": "What is the capital of France?"}]
            request = asking(name="1", messages=question, max_tokens=16, sampling={"temperature": 0.0})
            *_, last = [item async for item in engine.ask(request)]
            assert isinstance(last, Stop)
            ready = engine.facts
            assert (ready.context_length, ready.cache_cells, ready.parallel) == (8192, 8192, 4)
            assert held_bytes(engine.pid) <= 400e6
            if sys.platform == "linux":  # the cache alone is 189 MB; huge pages fill it in larger strides
                assert held_now(engine.pid) < ready.memory_bytes - 25e6
    finally:
        await models.stop()


async def test_a_service_for_many_holds_a_context_for_each_answer(paths: Paths) -> None:
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 512)
    models = Models(Library(paths, settings), settings, for_many=True)
    try:
        async with models.use(MODEL, trusted=True) as held:
            ready = held.engine.facts
            assert (ready.context_length, ready.cache_cells) == (512, 4 * 512)
    finally:
        await models.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a cache is held from the load on")
async def test_what_a_loaded_model_has_still_to_take_is_not_given_to_the_next(
    paths: Paths, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(paths.settings_file, {})
    models = Models(Library(paths, settings), settings, calibration=calibration_in(paths.data))
    try:
        async with models.use(str(smollm2), trusted=True) as held:
            engine = held.engine
            yet = engine.facts.memory_bytes + engine.facts.prefix_bytes - held_now(engine.pid)
            assert yet > 150e6  # the caches, which no conversation has filled
            # Enough for the built-in model (100 MB), as long as nobody counts what the first one was promised.
            free = 150_000_000 + yet // 2
            monkeypatch.setattr(turns_module, "memory", lambda: (free, free))

            async def second() -> int:
                async with models.use(MODEL, trusted=True) as held:
                    return held.engine.facts.memory_bytes

            # So the next one waits for its turn, until more is free.
            waiting = asyncio.create_task(second())
            while not any(slot.makes_way for slot in models.slots):
                assert not waiting.done()
                await asyncio.sleep(0.01)
            assert engine.alive
            monkeypatch.setattr(turns_module, "memory", lambda: (2 * free, 2 * free))
            assert await waiting < free
            assert engine.alive
    finally:
        await models.stop()


async def test_what_cannot_fit_is_not_started(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory above the file's size, but below what the model takes once it runs."""
    size = paths.builtin_model.stat().st_size
    monkeypatch.setattr(turns_module, "memory", lambda: (10 * size, 3 * size))
    models = _models(
        paths, Calibration(Path(paths.data) / "memory.json"), EngineKinds([])
    )  # none must be reached
    try:
        with pytest.raises(SlmDeskError) as caught:
            async with models.use(MODEL, trusted=True):
                pass
        assert caught.value.code == "memory_insufficient"
    finally:
        await models.stop()
    assert not (paths.data / "memory.json").exists()
