"""How large a context to open, and whether the model fits into the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core import amounts
from slmdesk.core.cores import model_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.adapters import adapters_bytes
from slmdesk.formats.architecture import Architecture
from slmdesk.formats.split import parts_of
from slmdesk.memory import forecast, offload
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from slmdesk.engines.protocol import EngineSpec
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.inference.devices import Device
    from slmdesk.inference.loading import Loading
    from slmdesk.memory.forecast import Forecast

_MOST_SEQUENCES = 256  # LLAMA_MAX_SEQ
# Threads meet hundreds of times a token. A model this small (bytes) computes less between two meetings than a meeting
# costs when something else runs on the machine; one thread gives it a thousand tokens a second as it is.
_TINY = 40e6
_UNKNOWN_BYTES = 200e6  # beside the weights, where the header does not tell what the rest depends on


@dataclass(frozen=True, slots=True)
class Plan:
    """What the engine will open. Counts are tokens (cells), sizes are bytes."""

    context_length: int
    parallel: int
    slots: int
    cells: int
    batch: int
    threads: int
    cache_bytes: int
    needed_bytes: int
    prefix_bytes: int  # plain memory for conversations that had to leave the cache
    idle_cell_s: float  # seconds that an idle cell of the cache adds to a step
    split: offload.Split | None = None  # None: the processor has it all

    @property
    def gpu_layers(self) -> int:
        """Layers for the GPU, as llama.cpp counts them."""
        return self.split.layers if self.split is not None else 0


def plan(spec: EngineSpec, header: GgufHeader, *, available: int, device: Device | None = None) -> Plan:
    """Decide sizes and refuse what cannot fit into `available` bytes of memory.

    `device` takes as many layers as fit its free memory, or as many as the spec says. Raises
    `SlmDeskError("out_of_memory")` with both sizes, and `SlmDeskError("spec_invalid")` for counts that make no sense.
    """
    loading = spec.loading
    context = loading.context_length or forecast.usual_context(header.context_length)
    if (
        context < 64
        or loading.parallel < 1
        or loading.contexts < 1
        or loading.parallel > _MOST_SEQUENCES
        or loading.batch < 32
    ):
        raise SlmDeskError(
            "spec_invalid",
            f"A context of {context} tokens for {loading.parallel} conversations with batches of {loading.batch} "
            "is not possible.",
            "Use a context of at least 64 tokens, 1 to 256 conversations, and batches of at least 32.",
        )
    copied = loading.extra_buffers
    weights = weights_bytes(header, file_bytes=model_bytes(header), copied=copied) + adapters_bytes(
        loading.adapter_paths
    )
    threads = loading.threads or (1 if header.file_bytes < _TINY else model_threads())
    architecture = _architecture(header)
    opened = replace(loading, context_length=context, threads=threads)
    split = _split(architecture, header, opened, available=available, device=device)
    if split is not None:
        opened = replace(opened, cache_cells=split.cells)
    expected = _expected(architecture, weights, opened, available=available)
    needed = split.memory_bytes if split is not None else expected.total_bytes
    if needed > available:
        raise SlmDeskError(
            "out_of_memory",
            f"{_name(spec)} needs about {amounts.size(needed)} of memory with a context of {context} tokens; "
            f"{amounts.size(available)} are free.",
            "Choose a smaller quant, set a shorter context, or close other programs.",
        )
    return Plan(
        context_length=context,
        parallel=loading.parallel,
        slots=min(loading.parallel + forecast.SPARE_SLOTS, _MOST_SEQUENCES),
        cells=expected.cells,
        batch=max(loading.batch, loading.parallel),
        threads=threads,
        cache_bytes=expected.kv_bytes,
        needed_bytes=needed,
        prefix_bytes=forecast.prefix_bytes(loading, expected.kv_bytes, available - needed),
        idle_cell_s=0.0 if split or architecture is None else _idle_cell_s(architecture, threads),
        split=split,
    )


def model_bytes(header: GgufHeader) -> int:
    """The size of the model's file, of all its parts where it is split (`name-00001-of-00003.gguf`)."""
    parts = parts_of(header.path)
    return sum(part.stat().st_size for part in parts) if len(parts) > 1 else header.file_bytes


def _architecture(header: GgufHeader) -> Architecture | None:
    """None where the header does not tell; llama.cpp then says what is wrong with the file."""
    try:
        return Architecture.from_gguf(header)
    except SlmDeskError:
        return None


def _split(
    architecture: Architecture | None,
    header: GgufHeader,
    opened: Loading,
    *,
    available: int,
    device: Device | None,
) -> offload.Split | None:
    """The layers that go to the device; None where there is none, or where nothing fits it."""
    if device is None or architecture is None:
        return None
    room = offload.DeviceRoom.of(device)
    layered = offload.LayerWeights.of(header, architecture, file_bytes=model_bytes(header))
    return offload.split(architecture, layered, room, opened, available=available)


def _expected(
    architecture: Architecture | None,
    weights: int,
    opened: Loading,
    *,
    available: int,
) -> Forecast:
    if architecture is None:
        context = opened.context_length
        cells = forecast.rounded(max(opened.cache_cells, context))
        total = int(weights + _UNKNOWN_BYTES)
        return forecast.Forecast(total, weights, 0, 0, total - weights, context=context, cells=cells)
    if opened.cache_cells:
        return forecast.forecast(architecture, weights, opened)
    return forecast.expect(architecture, weights, opened, available=available)


def _idle_cell_s(architecture: Architecture, threads: int) -> float:
    """What a cell that no answer uses costs a step: attention looks at it for every head of every layer.

    Measured: 4000 idle cells added 2.6 ms with 30 layers of 9 heads on 2 threads, 4.8 ns a look.
    """
    return 4.8e-9 * len(architecture.layers) * architecture.heads / threads


def _name(spec: EngineSpec) -> str:
    return spec.model_id or Path(spec.model_path).name
