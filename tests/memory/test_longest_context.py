"""“As long as fits”: the longest context that leaves the verdict at "fits" and the GPU its layers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from msgspec.structs import replace

from slmdesk.core.paths import Paths
from slmdesk.core.settings import Settings
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.gguf import read_header
from slmdesk.inference.limits import FITS
from slmdesk.inference.loading import Loading
from slmdesk.inference.model_settings import ModelSettings
from slmdesk.memory.fit import LEAST, Fit, fit, loading_of
from slmdesk.memory.offload import DeviceRoom, LayerWeights
from slmdesk.memory.weights import weights_bytes

MB = 10**6


@pytest.fixture(scope="module")
def starter(smollm2: Path) -> tuple[Architecture, int, LayerWeights]:
    header = read_header(smollm2)
    architecture = Architecture.from_gguf(header)
    return architecture, weights_bytes(header), LayerWeights.of(header, architecture)


def at(
    starter: tuple[Architecture, int, LayerWeights],
    context: int,
    available: int,
    room: DeviceRoom | None = None,
    **wishes: str,
) -> Fit:
    architecture, weights, layers = starter
    wished = replace(Loading(context_length=context), **wishes)  # type: ignore[arg-type]
    return fit(architecture, weights, wished, available=available, room=room, layers=layers)


def test_with_room_it_is_what_the_model_was_trained_with(
    starter: tuple[Architecture, int, LayerWeights],
) -> None:
    assert at(starter, FITS, 10_000 * MB).forecast.context == 8192


def test_with_little_room_it_is_the_longest_that_fits_and_a_finer_cache_is_shorter(
    starter: tuple[Architecture, int, LayerWeights],
) -> None:
    found = at(starter, FITS, 360 * MB)
    context = found.forecast.context
    assert LEAST < context < 8192
    assert found.verdict == "fits"
    assert at(starter, context + LEAST, 360 * MB).verdict != "fits"
    assert at(starter, FITS, 360 * MB, cache_type="q8_0").forecast.context > context


def test_what_fits_in_no_way_gets_the_least_and_is_called_too_big(
    starter: tuple[Architecture, int, LayerWeights],
) -> None:
    found = at(starter, FITS, 50 * MB)
    assert (found.forecast.context, found.verdict) == (LEAST, "too_big")


def test_the_gpu_keeps_its_layers(starter: tuple[Architecture, int, LayerWeights]) -> None:
    architecture, weights, layers = starter
    longer = (dataclasses.replace(architecture, context_length=131072), weights, layers)
    room = DeviceRoom("GPU0", 1400 * MB, 1400 * MB)
    usual, found = at(longer, 0, 64_000 * MB, room), at(longer, FITS, 64_000 * MB, room)
    assert usual.split is not None
    assert found.split is not None
    assert found.forecast.context > usual.forecast.context == 8192
    assert found.split.layers == usual.split.layers
    beyond = at(longer, found.forecast.context + LEAST, 64_000 * MB, room)
    assert beyond.split is None or beyond.split.layers < usual.split.layers


def test_what_is_kept_goes_before_the_settings_and_what_is_asked_for_before_both(paths: Paths) -> None:
    settings = Settings(paths.settings_file, {})
    settings.set("engine.context_length", 1000)
    settings.set("engine.gpu_layers", 5)
    kept = ModelSettings(context_length=2000, gpu_layers=0, cache_type="q8_0")
    assert loading_of(settings).context_length == 1000
    wishes = loading_of(settings, kept=kept)
    assert (wishes.context_length, wishes.gpu_layers, wishes.cache_type) == (2000, 0, "q8_0")
    assert loading_of(settings, kept=kept, context=3000).context_length == 3000
    assert loading_of(settings, kept=ModelSettings(context_length=0)).context_length == 0
