"""Whether a model will run here: its forecast with this machine's settings against the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slmdesk.memory import forecast, offload
from slmdesk.memory.calibration import Calibration

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.settings import Settings
    from slmdesk.formats.architecture import Architecture
    from slmdesk.memory.calibration import Correction
    from slmdesk.memory.forecast import Forecast, Verdict
    from slmdesk.memory.offload import DeviceRoom, LayerWeights, Split


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a model is to be loaded. `context` 0: the usual one."""

    context: int = 0
    parallel: int = 4
    cache_type: str = "f16"
    flash_attention: bool = True
    gpu_layers: int = -1  # -1: as many as fit

    @classmethod
    def of(cls, settings: Settings, *, context: int = 0) -> Wishes:
        """The settings' wishes; a `context` takes the place of theirs."""
        return cls(
            context=context or int(settings.get("engine.context_length")),
            parallel=int(settings.get("engine.parallel")),
            cache_type=str(settings.get("engine.cache_type")),
            flash_attention=bool(settings.get("engine.flash_attention")),
            gpu_layers=int(settings.get("engine.gpu_layers")),
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
    wishes: Wishes,
    *,
    available: int,
    calibration: Correction | None = None,
    room: DeviceRoom | None = None,
    layers: LayerWeights | None = None,
) -> Fit:
    """The forecast and the verdict for `available` bytes of free memory. Takes microseconds: no file is read.

    `room`: the GPU that takes as many layers as fit there. `layers`: their sizes, where a header told them.
    """
    context = wishes.context or forecast.usual_context(architecture.context_length)
    if room is not None:
        weights = layers or offload.LayerWeights.about(architecture, weights_bytes)
        with_gpu = _with_gpu(
            architecture,
            weights,
            wishes,
            room=room,
            context=context,
            available=available,
            calibration=calibration,
        )
        if with_gpu is not None:
            return with_gpu
    expected = forecast.forecast(
        architecture,
        weights_bytes,
        context=context,
        parallel=wishes.parallel,
        cache_type=wishes.cache_type,
        flash_attention=wishes.flash_attention,
        calibration=calibration,
    )
    longest = forecast.largest_context(
        architecture,
        weights_bytes,
        available=available,
        parallel=wishes.parallel,
        cache_type=wishes.cache_type,
        flash_attention=wishes.flash_attention,
        calibration=calibration,
    )
    return Fit(
        expected,
        expected.total_bytes,
        available,
        forecast.verdict(expected.total_bytes, available),
        max_context=longest,
    )


def _with_gpu(
    architecture: Architecture,
    weights: LayerWeights,
    wishes: Wishes,
    *,
    room: DeviceRoom,
    context: int,
    available: int,
    calibration: Correction | None,
) -> Fit | None:
    """The fit with layers on a GPU; None where none fits there."""

    def at(tokens: int) -> Split | None:
        return offload.split(
            architecture,
            weights,
            room,
            offload.Load(
                tokens,
                wishes.parallel,
                cache_type=wishes.cache_type,
                flash_attention=wishes.flash_attention,
            ),
            most=wishes.gpu_layers,
            available=available,
            calibration=calibration,
        )

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
