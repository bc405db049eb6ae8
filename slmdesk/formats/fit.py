"""Whether a model will run here: its forecast with this machine's settings against the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slmdesk.formats import forecast
from slmdesk.formats.calibration import Calibration

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.core.settings import Settings
    from slmdesk.formats.architecture import Architecture
    from slmdesk.formats.calibration import Correction
    from slmdesk.formats.forecast import Forecast, Verdict


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a model is to be loaded. `context` 0: the usual one."""

    context: int = 0
    parallel: int = 4
    cache_type: str = "f16"
    flash_attention: bool = True

    @classmethod
    def of(cls, settings: Settings, *, context: int = 0) -> Wishes:
        """The settings' wishes; a `context` takes the place of theirs."""
        return cls(
            context=context or int(settings.get("engine.context_length")),
            parallel=int(settings.get("engine.parallel")),
            cache_type=str(settings.get("engine.cache_type")),
            flash_attention=bool(settings.get("engine.flash_attention")),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """`forecast`: what the engine will take. `least_bytes`: what it cannot do without, on which the verdict rests."""

    forecast: Forecast
    least_bytes: int
    available_bytes: int
    verdict: Verdict
    max_context: int  # tokens; 0 where not even the shortest context fits

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
        }


def fit(
    architecture: Architecture,
    weights_bytes: int,
    wishes: Wishes,
    *,
    available: int,
    calibration: Correction | None = None,
) -> Fit:
    """The forecast and the verdict for `available` bytes of free memory. Takes microseconds: no file is read."""
    context = wishes.context or forecast.usual_context(architecture.context_length)
    least = forecast.forecast(
        architecture,
        weights_bytes,
        context=context,
        parallel=wishes.parallel,
        cache_type=wishes.cache_type,
        flash_attention=wishes.flash_attention,
        calibration=calibration,
    )
    expected = forecast.expect(
        architecture,
        weights_bytes,
        context=context,
        parallel=wishes.parallel,
        available=available,
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
        least.total_bytes,
        available,
        forecast.verdict(least.total_bytes, available),
        max_context=longest,
    )


def calibration_in(data: Path) -> Calibration:
    """The measurements of this machine, kept in the program's data folder."""
    try:
        engine = version("llama-cpp-python")
    except PackageNotFoundError:
        engine = ""
    return Calibration(data / "memory.json", engine)
