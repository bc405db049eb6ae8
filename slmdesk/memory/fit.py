"""Whether a model will run here: its forecast with this machine's settings against the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from slmdesk.inference.limits import FITS
from slmdesk.inference.loading import Loading
from slmdesk.inference.model_settings import NOTHING
from slmdesk.memory import forecast, offload
from slmdesk.memory.calibration import Calibration

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.settings import Settings
    from slmdesk.formats.architecture import Architecture
    from slmdesk.inference.loading import CacheType
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.memory.calibration import Correction
    from slmdesk.memory.forecast import Forecast, Verdict
    from slmdesk.memory.offload import DeviceRoom, LayerWeights, Split


LEAST = 256  # tokens: the steps, too, in which the longest context is looked for
MOST_UNTRAINED = 131072  # tokens, where a header does not tell what the model was trained with


def loading_of(settings: Settings, *, context: int = 0, kept: ModelSettings = NOTHING) -> Loading:
    """What the settings say; what is `kept` for the model goes before them, and a `context` before both.

    The context may be `FITS`: as long as leaves the verdict at "fits".
    """
    get = settings.get
    wanted = get("engine.context_length") if kept.context_length is None else kept.context_length
    return Loading(
        context_length=context or int(wanted),
        parallel=int(get("engine.parallel") if kept.parallel is None else kept.parallel),
        threads=int(get("engine.threads")),
        gpu_layers=int(get("engine.gpu_layers") if kept.gpu_layers is None else kept.gpu_layers),
        cache_type=cast("CacheType", kept.cache_type or get("engine.cache_type")),
        flash_attention=bool(get("engine.flash_attention")),
        prefix_bytes=int(get("engine.prefix_cache_mb")) * 1_000_000,
    )


@dataclass(frozen=True, slots=True)
class Fit:
    """`forecast`: what the engine takes with one conversation's context, full, on all sides together. `least_bytes`:
    what it cannot do without of this machine's own memory, on which the verdict rests; a GPU with memory of its own
    takes its share from there."""

    forecast: Forecast
    least_bytes: int
    available_bytes: int
    verdict: Verdict
    max_context: int  # tokens; 0 where not even the shortest context fits
    split: Split | None = None  # what a GPU takes over; None where it takes nothing

    @property
    def memory_bytes(self) -> int:
        """What the engine will take of the machine's own memory."""
        return self.split.memory_bytes if self.split is not None else self.forecast.total_bytes

    def to_json(self) -> dict[str, Any]:
        expected = self.forecast
        return {
            "total_bytes": expected.total_bytes,
            "weights_bytes": expected.weights_bytes,
            "kv_bytes": expected.kv_bytes,
            "compute_bytes": expected.compute_bytes,
            "overhead_bytes": expected.overhead_bytes,
            "prefix_bytes": expected.prefix_bytes,
            "context": expected.context,
            "cells": expected.cells,
            "verdict": self.verdict,
            "least_bytes": self.least_bytes,
            "available_bytes": self.available_bytes,
            "max_context": self.max_context,
            "last_error": expected.error,
            "gpu": self.split.to_json() if self.split is not None else None,
        }


def fit(
    architecture: Architecture,
    weights_bytes: int,
    loading: Loading,
    *,
    available: int,
    calibration: Correction | None = None,
    room: DeviceRoom | None = None,
    layers: LayerWeights | None = None,
) -> Fit:
    """The forecast and the verdict for `available` bytes of free memory. Takes microseconds: no file is read.

    `room`: the GPU that takes as many layers as fit there. `layers`: their sizes, where a header told them.
    """
    if loading.context_length == FITS:
        longest = longest_context(
            architecture,
            weights_bytes,
            loading,
            available=available,
            calibration=calibration,
            room=room,
            layers=layers,
        )
        loading = replace(loading, context_length=longest)
    # Of the machine itself, whatever threads and cells an engine would take.
    loading = replace(loading, cache_cells=0, threads=0)
    if room is not None:
        weights = layers or offload.LayerWeights.about(architecture, weights_bytes)
        with_gpu = _with_gpu(
            architecture,
            weights,
            loading,
            room=room,
            available=available,
            calibration=calibration,
        )
        if with_gpu is not None:
            return with_gpu
    expected = forecast.forecast(architecture, weights_bytes, loading, calibration=calibration)
    longest = forecast.largest_context(
        architecture, weights_bytes, loading, available=available, calibration=calibration
    )
    return Fit(
        expected,
        expected.total_bytes,
        available,
        forecast.verdict(expected.total_bytes, available),
        max_context=longest,
    )


def longest_context(
    architecture: Architecture,
    weights_bytes: int,
    loading: Loading,
    *,
    available: int,
    calibration: Correction | None = None,
    room: DeviceRoom | None = None,
    layers: LayerWeights | None = None,
) -> int:
    """The longest context that still "fits", with as many layers on the GPU as at the usual context; tokens.

    At most the trained one, and at least `LEAST`: what does not fit even so is refused by the load, which says why.
    """
    trained = architecture.context_length or MOST_UNTRAINED

    def fits(context: int) -> Fit:
        return fit(
            architecture,
            weights_bytes,
            replace(loading, context_length=context),
            available=available,
            calibration=calibration,
            room=room,
            layers=layers,
        )

    on_gpu = _layers_of(fits(forecast.usual_context(architecture.context_length)))
    low, high = 1, max(trained // LEAST, 1)
    while low < high:
        middle = (low + high + 1) // 2
        found = fits(middle * LEAST)
        good = found.verdict == "fits" and _layers_of(found) >= on_gpu
        low, high = (middle, high) if good else (low, middle - 1)
    return min(low * LEAST, trained)


def _layers_of(found: Fit) -> int:
    return found.split.layers if found.split is not None else 0


def _with_gpu(
    architecture: Architecture,
    weights: LayerWeights,
    loading: Loading,
    *,
    room: DeviceRoom,
    available: int,
    calibration: Correction | None,
) -> Fit | None:
    """The fit with layers on a GPU; None where none fits there."""

    def at(tokens: int) -> Split | None:
        return offload.split(
            architecture,
            weights,
            room,
            replace(loading, context_length=tokens),
            available=available,
            calibration=calibration,
        )

    context = forecast.opened_context(architecture, loading)
    split = at(context)
    if split is None:
        return None
    step = 256
    low, high = 0, max(architecture.context_length or 131072, step) // step
    while low < high:
        middle = (low + high + 1) // 2
        longer = at(middle * step)
        fits = longer is not None and longer.memory_bytes <= available
        low, high = (middle, high) if fits else (low, middle - 1)
    return Fit(
        split.together(context, calibration.last_error if calibration is not None else None),
        split.memory_bytes,
        available,
        forecast.verdict(split.memory_bytes, available),
        max_context=low * step,
        split=split,
    )


def calibration_in(data: Path) -> Calibration:
    """The measurements of this machine, kept in the program's data folder."""
    try:
        engine = version("llama-cpp-python")
    except PackageNotFoundError:
        engine = ""
    return Calibration(data / "memory.json", engine)
