"""A load is checked against its forecast, and what it took is kept for the next one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.protocol import Finished, GenerateRequest
from slmdesk.formats.calibration import Calibration
from slmdesk.formats.fit import calibration_in
from slmdesk.library.library import Library
from slmdesk.serving import models as models_module
from slmdesk.serving.models import Models

MODEL = "slmdesk/desk-guide"


def _models(paths: Paths, calibration: Calibration) -> Models:
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 1024)
    settings.set("engine.parallel", 1)
    return Models(Library(paths, settings), settings, calibration=calibration)


async def test_a_load_and_its_end_are_measured(paths: Paths) -> None:
    models = _models(paths, calibration_in(paths.data))
    try:
        async with models.use(MODEL, trusted=True) as held:
            engine = held.engine
            request = GenerateRequest(id="1", prompt="lorem ipsum dolor " * 80, max_tokens=2)
            *_, last = [item async for item in engine.generate(request)]
            assert isinstance(last, Finished)
            assert last.prompt_tokens > 512  # a whole batch
            ready = engine.ready
        await models.unload(MODEL, trusted=True)
    finally:
        await models.stop()
    [sample] = json.loads((paths.data / "memory.json").read_text())["loads"]
    assert sample["loaded"] == ready.memory_bytes
    assert sample["peak"] > sample["loaded"]
    assert abs(sample["error"]) < 0.15  # ten megabytes of model, so nearly all of it is the process
    error = calibration_in(paths.data).correction().last_error
    assert error == sample["error"]


async def test_what_cannot_fit_is_not_started(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free memory above the file's size, but below what the model takes once it runs."""
    size = paths.builtin_model.stat().st_size
    monkeypatch.setattr(models_module, "memory", lambda: (10 * size, 3 * size))
    monkeypatch.setattr(models_module, "start_engine", None)  # must not be reached
    models = _models(paths, Calibration(Path(paths.data) / "memory.json"))
    try:
        with pytest.raises(SlmDeskError) as caught:
            async with models.use(MODEL, trusted=True):
                pass
        assert caught.value.code == "memory_insufficient"
    finally:
        await models.stop()
    assert not (paths.data / "memory.json").exists()
