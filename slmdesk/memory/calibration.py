"""What loads on this machine really took, and what that says about the next forecast.

Weights and caches have sizes that are known; what a process takes beside them differs between systems and versions.
Each load is one sample of that; a few of them correct the forecast, within bounds, by their median.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import atomic_write
from slmdesk.inference.wire import converted, plain

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.memory.forecast import Forecast

log = logging.getLogger(__name__)

_MOST = 60  # samples kept
_LATEST = 15  # of those, how many count
_PRIOR = 2  # samples' worth of trust in the uncorrected forecast
_LIMITS = (0.6, 2.0)
_FILLED = 0.9  # of the forecast compute buffer: less, and no prompt has filled it, so it says nothing


@dataclass(frozen=True, slots=True)
class Correction:
    """Factors of a forecast's parts, and the last forecast's error against its measurement (0.02: 2 % too much)."""

    overhead: float = 1.0
    compute: float = 1.0
    last_error: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One load. Bytes; `overhead` and `compute` as the uncorrected forecast had them."""

    model: str
    engine: str  # version of llama.cpp's package: another one may take another amount
    when: float  # seconds since the epoch
    fixed: int  # weights, cache and logits
    overhead: int
    compute: int
    loaded: int  # measured after the load
    peak: int = 0  # measured when the engine ended; 0 while it runs
    error: float = 0.0  # of the forecast that was shown


class Calibration:
    """The samples of this machine, in one file. Losing it costs little, so damage and a full disk are only logged."""

    def __init__(self, path: Path, engine: str = "") -> None:
        self._path = path
        self._engine = engine
        self._lock = threading.Lock()
        self._stamp = -1
        self._samples: list[Sample] = []

    def correction(self, device: str = "") -> Correction:
        """What the samples so far say. Another process's samples are seen too. Blocks for a small file's reading.

        `device`: the backend of the GPU in use ("": none). Loads with one teach nothing about loads without.
        """
        with self._lock:
            self._read()
            return correction_of([s for s in self._samples if s.engine == self._of(device)])

    def _of(self, device: str) -> str:
        return f"{self._engine} {device}".rstrip()

    def loaded(self, model: str, plain: Forecast, shown: Forecast, measured: int, device: str = "") -> None:
        """Record a load: `plain` is the forecast without a correction, `shown` the one that was used."""
        if measured <= 0 or plain.loaded_bytes <= 0:
            return
        compute = plain.total_bytes - plain.loaded_bytes
        fixed = plain.loaded_bytes - plain.overhead_bytes
        error = shown.loaded_bytes / measured - 1
        self._add(
            Sample(
                model=model,
                engine=self._of(device),
                when=time.time(),
                fixed=fixed,
                overhead=plain.overhead_bytes,
                compute=compute,
                loaded=measured,
                error=round(error, 4),
            )
        )

    def ended(self, model: str, shown: Forecast, peak: int) -> None:
        """Add what the engine of the last recorded load of `model` held at most."""
        with self._lock:
            self._read()
            for place in range(len(self._samples) - 1, -1, -1):
                sample = self._samples[place]
                if sample.model != model or sample.peak:
                    continue
                # What is held after a load counts the cache as full, which it may never have become.
                peak = max(peak, sample.loaded)
                filled = peak - sample.loaded >= _FILLED * sample.compute
                error = round(shown.total_bytes / peak - 1, 4) if filled else sample.error
                self._samples[place] = replace(sample, peak=peak, error=error)
                self._write()
                return

    def _add(self, sample: Sample) -> None:
        with self._lock:
            self._read()
            self._samples = [*self._samples, sample][-_MOST:]
            self._write()

    def _read(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            stored = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the measurements of memory cannot be read: %s", error)
            return
        self._stamp = stamp
        found = stored.get("loads") if isinstance(stored, dict) else None
        self._samples = []
        for item in found if isinstance(found, list) else []:
            with suppress(SlmDeskError):  # what is no sample is passed over
                self._samples.append(converted(item, Sample))
        self._samples = self._samples[-_MOST:]

    def _write(self) -> None:
        text = json.dumps({"loads": [plain(sample) for sample in self._samples]}, indent=1)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._path, text + "\n")
            self._stamp = self._path.stat().st_mtime_ns
        except (SlmDeskError, OSError) as error:
            log.warning("the measurements of memory were not kept: %s", error)


def correction_of(samples: list[Sample]) -> Correction:
    """The correction that samples (oldest first, one engine version) call for."""
    latest = samples[-_LATEST:]
    if not latest:
        return Correction()
    overhead = _factor([(s.loaded - s.fixed) / s.overhead for s in latest if s.overhead > 0])
    computed = [(s.peak - s.loaded) / s.compute for s in latest if s.peak and s.compute > 0]
    compute = _factor([ratio for ratio in computed if ratio >= _FILLED])
    return Correction(overhead, compute, latest[-1].error, len(latest))


def _factor(ratios: list[float]) -> float:
    """The median, with some trust in 1, within bounds: one odd load must not spoil the next forecasts."""
    if not ratios:
        return 1.0
    low, high = _LIMITS
    return min(max(median([*ratios, *[1.0] * _PRIOR]), low), high)
