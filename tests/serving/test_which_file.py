"""Which file the service answers with: the one that the asked id names."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.failures import NativeFaultError
from slmdesk.library.library import Library
from slmdesk.serving.held import Held
from slmdesk.serving.models import Models
from tests.asking import asking


@pytest.fixture
def models(paths: Paths) -> Models:
    settings = Settings(paths.settings_file, {})
    return Models(Library(paths, settings), settings)


async def test_whoever_asks_may_name_every_listed_id(models: Models, paths: Paths, desk_guide: Path) -> None:
    """A model's second file of one quant too, without the token."""
    places = [paths.models / "p" / "m" / name for name in ("a.gguf", "b.gguf", "sub/b.gguf")]
    for path in places:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(desk_guide, path)
    listed = {file.id: file.path for model in await models.library_models() for file in model.files}
    assert set(places) <= set(listed.values())
    for file_id, path in listed.items():
        assert (await models.find(file_id, trusted=False)).path == path


@pytest.fixture
async def loaded(models: Models, paths: Paths, desk_guide: Path) -> AsyncIterator[Path]:
    """The file of p/m, which is Desk Guide's."""
    path = paths.models / "p" / "m" / "m.gguf"
    path.parent.mkdir(parents=True)
    shutil.copyfile(desk_guide, path)
    yield path
    await models.stop()


async def ask(held: Held, tokens: int = 8) -> str:
    request = asking(str(tokens), prompt="Hello", max_tokens=tokens, sampling={"temperature": 0})
    return "".join([part async for part in held.engine.ask(request) if isinstance(part, str)])


def running(pid: int) -> bool:
    return pid in {
        child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    }


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is mapped cannot be replaced there")
async def test_a_file_replaced_while_loaded_is_loaded_anew(
    models: Models, loaded: Path, paths: Paths, smollm2: Path
) -> None:
    async with models.use("p/m", trusted=True) as held:
        old = held.engine
        shutil.copyfile(smollm2, loaded.with_suffix(".part"))
        loaded.with_suffix(".part").replace(loaded)
        # Who holds the old one keeps it to the end of the answer; who asks now gets the new one.
        async with models.use("p/m", trusted=True) as later:
            assert later.engine.pid != old.pid
            assert later.engine.facts.file_bytes == smollm2.stat().st_size
            assert "m.gguf was changed on the disk" in later.news()
            assert await ask(later) != await ask(held)
    async with models.use("p/m", trusted=False) as again:
        assert again.engine.pid == later.engine.pid
        assert again.news() == ""
        while running(old.pid):
            await asyncio.sleep(0.01)
    # Without anybody's asking it is let go of: its place on the disk is free then.
    loaded.unlink()
    await models.sweep()
    assert models.slots == []
    with pytest.raises(SlmDeskError) as caught:
        async with models.use("p/m", trusted=True):
            pass
    assert caught.value.code == "model_not_found"


async def test_a_given_file_is_looked_at_anew_too(models: Models, loaded: Path, smollm2: Path) -> None:
    await models.give("p/m")
    async with models.use("p/m", trusted=True):
        pass
    await models.unload("p/m", trusted=True)
    shutil.copyfile(smollm2, loaded)
    async with models.use("p/m", trusted=True) as held:
        assert held.engine.facts.file_bytes == smollm2.stat().st_size


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is mapped cannot be cut there")
async def test_a_file_cut_while_loaded_is_no_defect(models: Models, loaded: Path) -> None:
    async with models.use("p/m", trusted=True) as held:
        os.truncate(loaded, 1_000_000)
        with suppress(NativeFaultError):  # at once, or as the answer's end
            await ask(held, 400)
        assert isinstance(await held.engine.died, NativeFaultError)
        with pytest.raises(SlmDeskError) as caught:
            await held.again()
        assert caught.value.code == "model_changed"
        assert "p/m" in caught.value.message
    with pytest.raises(SlmDeskError) as caught:
        async with models.use("p/m", trusted=True):
            pass
    assert caught.value.code == "gguf_truncated"
