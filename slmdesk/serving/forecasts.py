"""What each load needs and what it took: the forecast before, the measurement after, kept for the next forecast."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.hardware import memory
from slmdesk.core.held_memory import held_bytes, held_now
from slmdesk.formats.adapters import adapters_bytes
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.pooling import TextModel
from slmdesk.formats.split import read_whole
from slmdesk.memory import forecast, offload
from slmdesk.memory.fit import longest_context
from slmdesk.memory.texts import SAMPLES, forecast_texts
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from collections.abc import Collection

    from slmdesk.inference.devices import Device
    from slmdesk.inference.engines import Engine
    from slmdesk.inference.loading import Loading
    from slmdesk.library.library import LibraryFile
    from slmdesk.memory.calibration import Calibration, Correction
    from slmdesk.memory.forecast import Forecast

log = logging.getLogger(__name__)

_UNKNOWN_BYTES = 200_000_000  # beside the weights, where a header does not tell


class LoadForecast:
    """One model's memory as forecast for one load. With a GPU `shown` is what lies in the machine's own memory."""

    def __init__(
        self, file: LibraryFile, loading: Loading, correction: Correction, device: Device | None = None
    ) -> None:
        """Reads the header. Raises `SlmDeskError` where the file or its architecture cannot be forecast."""
        header = read_whole(file.path)
        self._architecture = Architecture.from_gguf(header)
        copied = loading.extra_buffers
        self._weights = weights_bytes(header, file_bytes=file.size_bytes, copied=copied)
        self._weights += adapters_bytes(loading.adapter_paths)
        self._layers = offload.LayerWeights.of(header, self._architecture, file_bytes=file.size_bytes)
        self._device = device
        self.split: offload.Split | None = None
        self.prefix_bytes = 0  # that the engine, once it runs, may take beside what is shown
        self._loading = loading
        self._correction = correction
        self._texts = TextModel.of(header) if file.serves in {"embed", "rank"} else None
        self.shown = self._of(loading, correction)
        self.plain = self.shown

    @property
    def crowded(self) -> bool:
        """Whether the GPU would take more layers if it had more free memory."""
        return (
            self._device is not None
            and self._loading.gpu_layers < 0
            and (self.split is None or not self.split.whole)
        )

    @property
    def kind(self) -> str:
        """What its measurement is a sample of."""
        return _kind(self._device) if self._texts is None else SAMPLES

    def now_known(self, engine: Engine) -> None:
        """Forecast again, for what the engine has opened."""
        ready = engine.facts
        self.prefix_bytes = ready.prefix_bytes
        if not ready.gpu_layers:
            self._device = None  # the engine saw less free memory there than we did
        else:
            self._loading = replace(self._loading, gpu_layers=ready.gpu_layers)
        opened = replace(
            self._loading,
            context_length=ready.context_length,
            parallel=ready.parallel,
            cache_cells=ready.cache_cells,
        )
        self.shown = self._of(opened, self._correction)
        self.plain = self._of(opened, None)

    def _of(self, loading: Loading, correction: Correction | None) -> Forecast:
        if self._texts is not None:
            return forecast_texts(
                self._architecture, self._weights, self._texts, loading, calibration=correction
            )
        loading = replace(
            loading, threads=0
        )  # a forecast counts with the same ones, whatever the engine takes
        self.split = self._split(loading, correction)
        if self.split is not None:
            context = forecast.opened_context(self._architecture, loading)
            return self.split.on_machine(context, correction.last_error if correction else None)
        return forecast.forecast(self._architecture, self._weights, loading, calibration=correction)

    def _split(self, loading: Loading, correction: Correction | None) -> offload.Split | None:
        if self._device is None:
            return None
        return offload.split(
            self._architecture,
            self._layers,
            offload.DeviceRoom.of(self._device),
            loading,
            available=memory()[1],
            calibration=correction,
        )


class Forecasts:
    """Forecasts loads and records what they took: of the machine's own memory, and beside it of a GPU's."""

    def __init__(self, calibration: Calibration | None) -> None:
        self._calibration = calibration
        # By the engine's process: what was forecast for it, and the writing of its measurement.
        self._running: dict[int, tuple[LoadForecast, asyncio.Task[None]]] = {}

    async def before(
        self, file: LibraryFile, loading: Loading, device: Device | None = None
    ) -> LoadForecast | None:
        """The forecast for a load, with layers on `device`; None where the file does not tell enough."""

        def read() -> LoadForecast:
            assert self._calibration is not None
            kind = SAMPLES if file.serves in {"embed", "rank"} else _kind(device)
            return LoadForecast(file, loading, self._calibration.correction(kind), device)

        if self._calibration is None:
            return None
        try:
            return await asyncio.to_thread(read)
        except SlmDeskError as error:
            log.info("no forecast for %s: %s", file.id, error)
            return None

    async def longest(self, file: LibraryFile, loading: Loading, device: Device | None) -> int:
        """Tokens of the longest context that fits what is free now; 0, the usual, where the file does not tell."""
        free = memory()[1] - await self.unused()

        def find() -> int:
            header = read_whole(file.path)
            architecture = Architecture.from_gguf(header)
            copied = loading.extra_buffers
            return longest_context(
                architecture,
                weights_bytes(header, file_bytes=file.size_bytes, copied=copied),
                replace(loading, context_length=0),
                available=free,
                calibration=self._calibration.correction(_kind(device)) if self._calibration else None,
                room=offload.DeviceRoom.of(device) if device is not None else None,
                layers=offload.LayerWeights.of(header, architecture, file_bytes=file.size_bytes),
            )

        try:
            return await asyncio.to_thread(find)
        except SlmDeskError as error:
            log.info("no longest context for %s: %s", file.id, error)
            return 0

    @staticmethod
    def needed(file: LibraryFile, expected: LoadForecast | None) -> int:
        """Bytes that must be free for the load."""
        return expected.shown.total_bytes if expected else file.size_bytes + _UNKNOWN_BYTES

    def after(self, file: LibraryFile, expected: LoadForecast | None, engine: Engine) -> None:
        """Record what the engine holds now that it is loaded; nobody waits for that."""
        if expected is None or self._calibration is None:
            return
        expected.now_known(engine)
        measured = engine.facts.memory_bytes
        if (split := expected.split) is not None:
            log.info(
                "%s has %d of %d layers and %.0f MB on %s; %.0f MB were forecast",
                file.id,
                engine.facts.gpu_layers,
                engine.facts.layers,
                engine.facts.device_bytes / 1e6,
                engine.facts.device,
                split.device.total_bytes / 1e6,
            )
        write = asyncio.to_thread(
            self._calibration.loaded, file.id, expected.plain, expected.shown, measured, expected.kind
        )
        self._running[engine.pid] = (expected, asyncio.create_task(write, name=f"record {file.id}"))
        forecast_mb = expected.shown.loaded_bytes / 1e6
        log.info(
            "%s holds %.0f MB after the load; %.0f MB were forecast", file.id, measured / 1e6, forecast_mb
        )

    async def unused(self, without: Collection[int] = ()) -> int:
        """Bytes promised to running engines that they do not hold yet: caches take memory as they fill.

        `without`: processes that do not count.
        """

        def count() -> int:
            promised = {
                pid: expected.shown.total_bytes + expected.prefix_bytes
                for pid, (expected, _) in self._running.items()
                if pid not in without
            }
            return sum(
                max(total - resident, 0) for pid, total in promised.items() if (resident := held_now(pid))
            )

        return await asyncio.to_thread(count)

    async def ending(self, file: LibraryFile, engine: Engine) -> None:
        """Record the most the engine held. Call it before the engine is stopped."""
        expected, written = self._running.pop(engine.pid, (None, None))
        if expected is None or written is None or self._calibration is None:
            return
        await asyncio.wait([written])
        if not engine.alive:
            return
        peak = await asyncio.to_thread(held_bytes, engine.pid)
        if peak:
            peak -= (
                engine.prefix_peak
            )  # how much of it there is follows from the conversations, not from the model
            await asyncio.to_thread(self._calibration.ended, file.id, expected.shown, peak)


def _kind(device: Device | None) -> str:
    """Loads with a GPU are samples of their own: its driver lives in the engine's process too."""
    return device.backend if device is not None else ""
