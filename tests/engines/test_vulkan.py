"""ggml's Vulkan part as it really is, on Mesa's software driver: a real model answers, and layers lie where it is said.

Mesa's driver computes on the processor, many times slower than llama.cpp's own code; it is there to be tested with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.engines.devices import list_devices
from slmdesk.engines.host import start_engine
from slmdesk.engines.self_test import SelfTest
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.inference.answers import Stop
from slmdesk.inference.loading import Loading
from slmdesk.memory.offload import LayerWeights, split
from tests.asking import spec_of

from . import gpus

# The answer's beginning is given: of its first word this small model is less sure than drivers differ.
ASKED = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe capital of France is"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Mesa's software driver is tried on Linux")


@pytest.fixture
def software_driver(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real part in this home's folder, and no driver but Mesa's; ggml passes it over unless it is named."""
    gpus.add_real_part(paths.backends)
    drivers = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
    if not drivers:
        pytest.skip("Mesa's software driver is missing: apt-get install mesa-vulkan-drivers")
    monkeypatch.setenv("VK_DRIVER_FILES", str(drivers[0]))
    monkeypatch.setenv("GGML_VK_VISIBLE_DEVICES", "0")
    return paths.backends


async def test_the_software_driver_is_listed(software_driver: Path) -> None:
    listing = await list_devices(software_driver, limit_s=60)
    assert listing.problem is None
    gpu = listing.best
    assert gpu is not None
    assert (gpu.name, gpu.backend) == ("Vulkan0", "Vulkan")
    assert "llvmpipe" in gpu.description
    assert gpu.total_bytes >= gpu.free_bytes > 10**9


async def test_a_driver_of_vulkan_that_crashes(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part is sound, the maker's driver is not: named as Vulkan's loader takes it, it ends who starts it."""
    gpus.add_real_part(paths.backends)
    driver = gpus.compiled("vulkan_driver.c", paths.data / "libbroken.so")
    described = paths.data / "broken.json"
    described.write_text(
        json.dumps(
            {"file_format_version": "1.0.0", "ICD": {"library_path": str(driver), "api_version": "1.3.0"}}
        )
    )
    monkeypatch.setenv("VK_DRIVER_FILES", str(described))
    monkeypatch.setenv("STAND_IN_DRIVER", "crashes")
    listing = await list_devices(paths.backends, limit_s=60)
    assert listing.problem is not None
    assert listing.problem.code == "driver_failed"
    monkeypatch.setenv("STAND_IN_DRIVER", "hangs")
    listing = await list_devices(paths.backends, limit_s=3)
    assert listing.problem is not None
    assert listing.problem.code == "driver_hangs"


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_real_model_answers_on_it(
    software_driver: Path, smollm2: Path, answer: Callable[..., Awaitable[tuple[str, Stop]]]
) -> None:
    engine = await start_engine(spec_of(smollm2, "smollm2", context_length=512, parallel=1))
    try:
        assert (engine.facts.gpu_layers, engine.facts.layers) == (31, 31)
        assert engine.facts.device == "Vulkan0"
        text, finished = await answer(engine, "", prompt=ASKED, max_tokens=4)
    finally:
        await engine.stop()
    assert finished.error is None
    assert text.startswith(" Paris")


@pytest.mark.parametrize("layers", [31, 12])
@pytest.mark.parametrize("cache_type", ["f16", "q8_0"])
async def test_what_lies_on_the_device_is_what_was_forecast(
    layers: int, cache_type: str, software_driver: Path, smollm2: Path
) -> None:
    """llama.cpp's own account of its buffers against the forecast."""
    spec = spec_of(
        str(smollm2), "smollm2", context_length=2048, parallel=1, gpu_layers=layers, cache_type=cache_type
    )
    engine = await start_engine(spec)
    ready = engine.facts
    await engine.stop()
    header = read_header(smollm2)
    architecture = Architecture.from_gguf(header)
    listing = await list_devices(software_driver)
    assert listing.room is not None
    load = Loading(ready.context_length, 1, cache_cells=ready.cache_cells, cache_type=cache_type, threads=1)
    load = replace(load, gpu_layers=layers)
    expected = split(architecture, LayerWeights.of(header, architecture), listing.room, load)
    assert expected is not None
    assert ready.gpu_layers == expected.layers == layers
    assert expected.device.total_bytes == pytest.approx(ready.device_bytes, rel=0.05)
    # The software driver's memory is the process's own; what is left of it is the processor's side.
    beside = ready.memory_bytes - ready.device_bytes
    assert expected.processor.total_bytes == pytest.approx(beside, rel=0.1)


def test_the_part_that_is_built_here_needs_nothing_by_its_path() -> None:
    part = gpus.real_part()
    if part is None:
        pytest.skip(gpus.HOW)
    told = subprocess.run(["objdump", "-p", str(part)], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED\s+(\S+)", told)
    assert "libggml-base.so.0" in needed  # the engine has loaded that one before
    assert not any("/" in name for name in needed)
    assert "RPATH" not in told
    assert "RUNPATH" not in told


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_self_test_computes_on_the_gpu_too(software_driver: Path, paths: Paths) -> None:
    """Where the driver has no device nothing is said of a GPU; with one each family is compared there as well."""
    families = ("F16", "Q8_0", "Q4_K")
    outcome = await SelfTest(paths, Settings(paths.settings_file), families=families).run()
    assert outcome.holds
    by_device = {(result.device, result.family): result for result in outcome.best.families}
    assert set(by_device) == {(device, family) for device in ("GPU", "processor") for family in families}
    assert all(result.verdict == "right" for result in by_device.values())
    # A GPU rounds in another order than the processor's code: the same numbers would mean that it was not used.
    assert any(by_device["GPU", each].error != by_device["processor", each].error for each in families)
