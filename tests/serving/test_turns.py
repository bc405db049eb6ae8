"""Models that do not fit together take turns: everybody is answered, and what was given stays."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths, resources_folder
from slmdesk.core.settings import Settings
from slmdesk.library.library import Library
from slmdesk.memory.fit import calibration_in
from slmdesk.serving.held import Held
from slmdesk.serving.models import Models
from tests.asking import asking

from .conftest import MODEL, kill, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


def copies(paths: Paths, *names: str) -> None:
    """Models of the library, each with Desk Guide's file."""
    for name in names:
        path = paths.models / "p" / name / f"{name}.gguf"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resources_folder() / "desk-guide" / "desk-guide-F16.gguf", path)


@pytest.fixture
async def models(paths: Paths) -> AsyncIterator[Models]:
    """A service's, with one place."""
    copies(paths, "a", "b", "c")
    settings = Settings(paths.settings_file, {"SLMDESK_SERVICE_MAX_LOADED": "1"})
    models = Models(Library(paths, settings), settings)
    yield models
    await models.stop()


async def write(held: Held, tokens: int = 4) -> str:
    request = asking(str(id(held)), prompt="Hello", max_tokens=tokens, sampling={"temperature": 0})
    return "".join([part async for part in held.engine.ask(request) if isinstance(part, str)])


async def ask(models: Models, name: str, tokens: int = 4) -> str:
    async with models.use(name, trusted=False) as held:
        return await write(held, tokens)


def test_two_clients_with_two_models_and_one_place_are_all_answered(home: Path) -> None:
    paths = Paths.resolve({"SLMDESK_HOME": str(home)})
    copies(paths, "a", "b")
    with serve(home, env={"SLMDESK_SERVICE_MAX_LOADED": "1"}) as running:
        statuses: dict[str, list[int]] = {"p/a": [], "p/b": []}

        def client(model: str) -> None:
            for _ in range(6):
                statuses[model].append(running.chat(model=model, max_tokens=4).status)

        threads = [threading.Thread(target=client, args=(model,)) for model in statuses for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == {"p/a": [200] * 12, "p/b": [200] * 12}


async def test_nobody_starves_while_one_model_is_always_asked(models: Models) -> None:
    """Two who ask for one model without a pause leave it no idle moment; the third gets its turn all the same."""
    done = asyncio.Event()
    answered = 0

    async def always() -> None:
        nonlocal answered
        while not done.is_set():
            await ask(models, "p/a", 16)
            answered += 1

    crowd = [asyncio.create_task(always()) for _ in range(3)]
    while not answered:
        await asyncio.sleep(0.01)
    for _ in range(3):
        before = answered
        assert await ask(models, "p/b")
        while answered == before:  # and the crowd gets its turn again
            await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*crowd)


async def test_what_is_being_answered_is_never_ended_for_another(models: Models) -> None:
    async with models.use("p/a", trusted=False) as held:
        engine = held.engine
        other = asyncio.create_task(ask(models, "p/b"))
        while not any(slot.makes_way for slot in models.slots):
            await asyncio.sleep(0.01)
        late = asyncio.create_task(ask(models, "p/a"))  # waits behind the other
        while models.waiting != 2:
            await asyncio.sleep(0.01)
        assert await write(held, 32)
        assert engine.alive
        assert not other.done()
        assert not late.done()
    assert await other
    assert await late


async def test_an_engine_that_dies_gives_its_place_to_who_waits(models: Models) -> None:
    async with models.use("p/a", trusted=False) as held:
        other = asyncio.create_task(ask(models, "p/b"))
        while not any(slot.makes_way for slot in models.slots):
            await asyncio.sleep(0.01)
        kill(held.engine.pid)
        assert await other
    assert await ask(models, "p/a")


async def test_a_turn_that_nobody_wants_any_more_is_given_up(models: Models) -> None:
    async with models.use("p/a", trusted=False) as held:
        others = [asyncio.create_task(ask(models, name)) for name in ("p/b", "p/c")]
        while models.waiting != 2:
            await asyncio.sleep(0.01)
        for other in others:
            other.cancel()
        await asyncio.wait(others)
        # The one that answers is asked as before.
        assert await ask(models, "p/a")
        assert held.engine.alive
    assert models.waiting == 0


async def test_given_models_stay_when_others_are_asked_for(models: Models) -> None:
    await models.give("p/a")
    await models.give("p/b")
    pids = {}
    for name in ("p/a", "p/b"):
        async with models.use(name, trusted=False) as held:
            pids[name] = held.engine.pid
    assert await ask(models, "p/c")
    assert await ask(models, MODEL)
    assert await ask(models, "p/c")
    for name in ("p/a", "p/b"):
        async with models.use(name, trusted=False) as held:
            assert held.engine.pid == pids[name]
    assert len(models.slots) == 3


async def test_another_context_does_not_wait_for_itself(models: Models) -> None:
    """A model that is to be loaded anew holds its place while it waits: it must give that to the one before it."""
    await ask(models, "p/a")
    async with models.use("p/a", trusted=True):
        other = asyncio.create_task(ask(models, "p/b"))
        while not any(slot.makes_way for slot in models.slots):
            await asyncio.sleep(0.01)
    again = asyncio.create_task(anew(models))
    assert await other
    assert await again == 256


async def anew(models: Models) -> int:
    async with models.use("p/a", trusted=True, context_length=256) as held:
        return held.engine.facts.context_length


async def test_a_model_is_kept_for_as_long_as_was_said(models: Models) -> None:
    async with models.use("p/a", trusted=False) as held:
        held.keep_for(0)
    await models.sweep()
    assert models.slots == []
    async with models.use("p/a", trusted=False) as held:
        held.keep_for(3600)
    await models.sweep()
    assert [slot.id for slot in models.slots] == [held.model]


def test_a_model_is_pinned_and_kept_by_who_loads_it(home: Path) -> None:
    copies(Paths.resolve({"SLMDESK_HOME": str(home)}), "a", "b")
    with serve(home, env={"SLMDESK_SERVICE_MAX_LOADED": "1"}) as running:

        def load(**wishes: object) -> int:
            return running.post("/slmdesk/v1/load", {"model": "p/a", **wishes}, running.own).status

        assert load(pin=True, keep_s=-1) == 200
        assert running.status("p/a")["pinned"]
        assert running.chat(model="p/b", max_tokens=1).status == 200
        assert running.status("p/a")["state"] == "ready"
        assert load(pin=False) == 200
        assert running.chat(model=MODEL, max_tokens=1).status == 200
        assert running.status("p/a") == {}
        assert load(keep_s=-2) == load(pin="yes") == 400


async def test_models_that_take_turns_are_not_loaded_for_every_question(models: Models) -> None:
    """Two clients, one place: whoever has it answers several questions before it goes to the other."""
    loads: dict[str, set[int]] = {"p/a": set(), "p/b": set()}
    finished: list[str] = []

    async def client(name: str) -> None:
        for _ in range(16):
            async with models.use(name, trusted=False) as held:
                loads[name].add(held.engine.pid)
                await write(held, 1)
        finished.append(name)

    await asyncio.gather(*map(client, loads))
    assert sorted(finished) == ["p/a", "p/b"]
    assert sum(map(len, loads.values())) <= 16  # of 32 questions


async def test_who_changes_to_another_model_once_does_not_wait(models: Models) -> None:
    await ask(models, "p/a")
    (first,) = models.slots
    assert await ask(models, "p/b")
    assert first.engine is None


async def test_what_is_kept_for_a_model_decides_how_long_it_stays(models: Models, paths: Paths) -> None:
    library = Library(paths, Settings(paths.settings_file, {}))
    file = await library.resolve("p/a")
    library.kept.change(file, {"pinned": True, "parallel": 2, "idle_minutes": 90})
    async with models.use("p/a", trusted=False) as held:
        assert held.engine.facts.parallel == 2
    (one,) = models.describe()
    assert (one.pinned, one.expires_at) == (True, 0.0)
    assert await ask(models, "p/b")  # beside the pinned one
    assert {slot.id.partition(":")[0] for slot in models.slots} == {"p/a", "p/b"}
    library.kept.change(file, {"pinned": None})
    await models.sweep()
    (one,) = [model for model in models.describe() if model.id == file.id]
    assert not one.pinned
    assert 5000 < one.expires_at - time.time() <= 5400
    library.kept.change(file, {"idle_minutes": 0})
    await models.sweep()
    assert [model.expires_at for model in models.describe() if model.id == file.id] == [0.0]


async def test_models_keep_to_the_memory_they_may_take(paths: Paths) -> None:
    """Two would be allowed by number; the budget holds one of them, and none of a larger one."""
    copies(paths, "a", "b")
    settings = Settings(paths.settings_file, {})
    models = Models(Library(paths, settings), settings, calibration=calibration_in(paths.data))
    try:
        await ask(models, "p/a")
        (one,) = models.describe()
        settings.set("service.memory_gb", round(1.6 * one.memory_bytes / 1e9, 3))
        await ask(models, "p/b")
        assert [slot.id for slot in models.slots] == ["p/b:F16"]
        settings.set("service.memory_gb", round(0.5 * one.memory_bytes / 1e9, 3))
        with pytest.raises(SlmDeskError) as refused:
            await ask(models, "p/a")
        assert (refused.value.code, "memory_gb" in refused.value.hint) == ("memory_insufficient", True)
        settings.set("service.memory_gb", 0)
        await ask(models, "p/a")
        assert len(models.slots) == 2
    finally:
        await models.stop()
