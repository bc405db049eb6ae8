"""The list of devices, and drivers that must not take the program with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core import llama_library
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.paths import Paths
from slmdesk.engines import host
from slmdesk.engines.devices import DeviceList, Devices, list_devices
from slmdesk.engines.host import start_engine
from slmdesk.inference.devices import Device, best
from tests.asking import spec_of

from . import gpus

pytestmark = pytest.mark.usefixtures("no_real_gpu")


def _gpu(name: str, kind: str, free: int) -> Device:
    return Device(name, name, kind, "Vulkan", total_bytes=8_000_000_000, free_bytes=free)


async def test_a_part_that_was_added_is_loaded_and_lists_its_device(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", "lists")
    gpus.add_part(paths.backends)
    listing = await list_devices(paths.backends)
    assert listing.problem is None
    assert {"gpu", "cpu"} <= {device.kind for device in listing.found}
    [gpu] = [device for device in listing.found if device.backend == "StandIn"]
    assert (gpu.name, gpu.description, gpu.backend) == ("StandIn0", "Stand-in GPU", "StandIn")
    assert (gpu.total_bytes, gpu.free_bytes) == (8_000_000_000, 6_000_000_000)
    assert not gpu.shares_memory


@pytest.mark.parametrize(("mode", "code"), [("crashes", "driver_failed"), ("hangs", "driver_hangs")])
async def test_the_list_survives_a_broken_driver(
    mode: str, code: str, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", mode)
    gpus.add_part(paths.backends)
    listing = await list_devices(paths.backends, limit_s=30.0 if mode == "crashes" else 3.0)
    assert listing.problem is not None
    assert listing.problem.code == code
    assert listing.found == ()
    assert "processor" in listing.problem.hint
    assert "musa" in listing.parts


@pytest.mark.parametrize(("mode", "code"), [("crashes", "driver_failed"), ("hangs", "driver_hangs")])
async def test_an_engine_tells_a_broken_driver_from_a_damaged_model_and_starts_without_it(
    mode: str, code: str, paths: Paths, desk_guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", mode)
    if mode == "hangs":
        monkeypatch.setattr(host, "DRIVER_SILENCE", 3.0)
    gpus.add_part(paths.backends)
    with pytest.raises(SlmDeskError) as caught:
        await start_engine(spec_of(desk_guide, "guide"))
    assert caught.value.code == code
    # Without the GPU its part is not even loaded.
    engine = await start_engine(spec_of(desk_guide, "guide", gpu_layers=0))
    assert (engine.facts.gpu_layers, engine.facts.device) == (0, "")
    await engine.stop()


async def test_memory_that_is_gone_from_the_gpu_costs_the_gpu_and_not_the_answer(
    paths: Paths, smollm2: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Awaitable[Any]]
) -> None:
    """The device lists 6 GB free, and gives none: the same process goes on with the processor alone."""
    monkeypatch.setenv("STAND_IN_DRIVER", "lists")
    gpus.add_part(paths.backends)
    engine = await start_engine(spec_of(smollm2, "smollm2", context_length=512, parallel=1))
    try:
        assert (engine.facts.gpu_layers, engine.facts.device, engine.facts.device_bytes) == (0, "", 0)
        text, finished = await answer(engine, "", prompt="The capital of France is", max_tokens=3)
    finally:
        await engine.stop()
    assert finished.error is None
    assert text.strip()


async def test_a_failed_driver_is_not_asked_again(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_DRIVER", "crashes")
    gpus.add_part(paths.backends)
    devices = DeviceList(paths.backends)
    assert (await devices.now()).problem is not None
    monkeypatch.setenv("STAND_IN_DRIVER", "lists")  # as if it were mended
    assert (await devices.now(fresh=True)).problem is not None
    assert (await devices.now(failed_too=True)).problem is None
    assert (await DeviceList(paths.backends).now()).problem is None


def test_an_added_part_is_used_only_as_it_was_made(paths: Paths) -> None:
    part = gpus.add_part(paths.backends)
    nowhere = paths.data / "nowhere"
    assert llama_library.find(paths.backends, folder=nowhere).parts == (part,)
    gpus.add_part(paths.backends, hash_of="0" * 64)
    other_hash = llama_library.find(paths.backends, folder=nowhere)
    assert other_hash.parts == ()
    assert part.name in other_hash.problems[0]
    gpus.add_part(paths.backends, made_for="0.0.1")
    other_version = llama_library.find(paths.backends, folder=nowhere)
    assert other_version.parts == ()
    assert "0.0.1" in other_version.problems[0]
    (paths.backends / llama_library.LIST).unlink()
    assert llama_library.find(paths.backends, folder=nowhere).parts == ()


async def test_where_no_part_is_installed_no_process_is_started(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_library, "library_folder", lambda: paths.data)
    assert await list_devices(paths.backends, command=None) == Devices()


def test_which_gpu_takes_the_layers() -> None:
    small, large, shared = _gpu("a", "gpu", 2), _gpu("b", "gpu", 6), _gpu("c", "igpu", 9)
    assert best([small, shared, large]) is large
    assert best([shared]) is shared
    assert best([_gpu("cpu", "cpu", 9), _gpu("blas", "accel", 9)]) is None
