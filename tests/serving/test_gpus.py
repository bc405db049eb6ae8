"""Models of the service on a machine with a GPU: what a broken driver costs, and what is counted where."""

from __future__ import annotations

import json

import pytest

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.devices import DeviceList, Devices
from slmdesk.engines.safe_steps import SafeSteps, safe_steps_in
from slmdesk.inference.answers import Stop
from slmdesk.inference.devices import Device
from slmdesk.inference.loading import Loading
from slmdesk.library.library import Library
from slmdesk.memory.calibration import Calibration, Correction
from slmdesk.memory.fit import calibration_in
from slmdesk.serving.forecasts import LoadForecast
from slmdesk.serving.models import Models
from tests.asking import asking
from tests.engines import gpus

pytestmark = pytest.mark.usefixtures("no_real_gpu")
MODEL = "slmdesk/desk-guide"
GPU = Device("Vulkan0", "A GPU", "gpu", "Vulkan", total_bytes=8 * 10**9, free_bytes=6 * 10**9)


def _models(paths: Paths, devices: DeviceList, steps: SafeSteps | None = None) -> Models:
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 512)
    settings.set("engine.parallel", 1)
    return Models(
        Library(paths, settings),
        settings,
        calibration=calibration_in(paths.data),
        steps=steps,
        devices=devices,
    )


async def test_a_driver_that_crashes_is_stepped_around(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question is answered by the processor, and the driver is not started a second time."""
    monkeypatch.setenv("STAND_IN_DRIVER", "crashes")
    gpus.add_part(paths.backends)
    devices = DeviceList(paths.backends)
    models = _models(paths, devices)
    try:
        async with models.use(MODEL, trusted=True) as held:
            assert devices.latest.problem is not None
            assert devices.latest.problem.code == "driver_failed"
            assert held.engine.spec.loading.gpu_layers == 0
            request = asking(
                name="1", messages=[{"role": "user", "content": "What is a quant?"}], max_tokens=8
            )
            parts = [part async for part in held.engine.ask(request)]
            assert isinstance(parts[-1], Stop)
            assert parts[-1].error is None
            assert parts[-1].usage.completion_tokens > 0
        await models.unload(MODEL, trusted=True)
    finally:
        await models.stop()
    # Such a load is measured like any other.
    [sample] = json.loads((paths.data / "memory.json").read_text())["loads"]
    assert sample["loaded"] > 0


async def test_a_driver_that_crashes_only_in_the_engine_is_one_safe_step(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list went well, the load does not: the same question is answered one step safer, and that is remembered."""
    monkeypatch.setenv("STAND_IN_DRIVER", str(paths.data / "listed.mark"))
    gpus.add_part(paths.backends)
    steps = safe_steps_in(paths.data)
    models = _models(paths, DeviceList(paths.backends), steps)
    try:
        async with models.use(MODEL, trusted=True) as held:
            request = asking(
                name="1", messages=[{"role": "user", "content": "What is a quant?"}], max_tokens=8
            )
            parts = [part async for part in held.engine.ask(request)]
            assert isinstance(parts[-1], Stop)
            assert parts[-1].error is None
            assert "without the GPU" in held.news()
        [slot] = models.slots
        assert slot.step == "no_gpu"
        [remembered] = steps.remembered()
        assert (remembered.step, remembered.model) == ("no_gpu", slot.id)
        assert "driver" in remembered.why
    finally:
        await models.stop()


async def test_without_a_gpu_no_driver_is_asked(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", "crashes")
    gpus.add_part(paths.backends)
    devices = DeviceList(paths.backends)
    models = _models(paths, devices)
    models._settings.set("engine.gpu_layers", 0)
    try:
        async with models.use(MODEL, trusted=True) as held:
            assert held.engine.facts.gpu_layers == 0
        assert devices.latest == Devices()
    finally:
        await models.stop()


async def test_the_machine_needs_only_what_the_gpu_does_not_take(paths: Paths) -> None:
    file = await Library(paths, Settings(paths.settings_file, {})).resolve(MODEL)
    loading = Loading(context_length=2048, parallel=1)
    alone = LoadForecast(file, loading, Correction())
    beside = LoadForecast(file, loading, Correction(), GPU)
    assert alone.split is None
    assert beside.split is not None
    assert beside.split.whole
    assert beside.shown.weights_bytes < 0.5 * alone.shown.weights_bytes
    assert (alone.shown.kv_bytes > 0, beside.shown.kv_bytes) == (True, 0)
    assert beside.shown.total_bytes == beside.split.processor.total_bytes
    assert not beside.crowded
    crowded = LoadForecast(
        file, loading, Correction(), Device("g", "g", "gpu", "Vulkan", 8 * 10**9, 650 * 10**6)
    )
    assert crowded.crowded


def test_loads_with_a_gpu_are_samples_of_their_own(paths: Paths) -> None:
    calibration = Calibration(paths.data / "memory.json", "1")
    from slmdesk.memory.forecast import Forecast

    plain = Forecast(150, 0, 0, 50, 100, context=1, cells=1, loaded_bytes=100)
    for _ in range(5):
        calibration.loaded("m", plain, plain, 180, "Vulkan")
    assert calibration.correction().samples == 0
    learned = calibration.correction("Vulkan")
    assert learned.samples == 5
    assert learned.overhead == pytest.approx(1.8)
