"""How many layers of a model fit a GPU, and what then lies where: its memory and the processor's, apart.

llama.cpp gives a GPU the last layers first, the output matrix before all of them; the table of embeddings stays with
the processor. A layer's KV cache and state lie where the layer is computed, and each side has a compute buffer
(llama-model.cpp's load_tensors, llama-kv-cache.cpp, llama-context.cpp's sched_reserve).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.memory import forecast

if TYPE_CHECKING:
    from slmdesk.formats.architecture import Architecture, Layer
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.inference.devices import Device
    from slmdesk.inference.loading import Loading
    from slmdesk.memory.calibration import Correction
    from slmdesk.memory.forecast import Forecast

# Left free on a device, for what its driver and other programs take: a share of it, within bounds (bytes).
RESERVE, LEAST_RESERVE, MOST_RESERVE = 0.08, 256e6, 1e9
# The process's own memory for a driver. Measured with Mesa's software driver; what others take, loads teach.
DRIVER = 62e6
_FLOAT = 4
_LARGEST_MATRIX = 0.3  # of a layer's bytes
_UNTIED = 3072  # hidden size from which models have an output matrix of their own
_FINER = 1.4  # quants keep the embedding in more bits than the layers
_LAYER = re.compile(r"blk\.(\d+)\.")
_LOOKED_UP = ("token_embd", "per_layer_token_embd", "position_embd", "token_types", "token_embd_norm")


@dataclass(frozen=True, slots=True)
class DeviceRoom:
    """A device that could take layers. `shared`: its memory is the processor's own."""

    name: str
    free_bytes: int
    total_bytes: int
    shared: bool = False

    @classmethod
    def of(cls, device: Device) -> DeviceRoom:
        """What a forecast needs to know of a device."""
        return cls(device.name, device.free_bytes, device.total_bytes, shared=device.shares_memory)

    @property
    def usable_bytes(self) -> int:
        """What a model may take of it."""
        reserve = min(max(RESERVE * self.total_bytes, LEAST_RESERVE), MOST_RESERVE)
        return max(int(self.free_bytes - reserve), 0)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Bytes of weights by where they can lie: looked up, each layer's, and the output's."""

    looked_up: int
    layers: tuple[int, ...]
    output: int

    @classmethod
    def of(cls, header: GgufHeader, architecture: Architecture, *, file_bytes: int = 0) -> LayerWeights:
        """From a file's list of tensors; of a split model the header holds a part, and the rest is spread evenly."""
        count = len(architecture.layers)
        layers, looked_up, output, tied = [0] * count, 0, 0, True
        for tensor in header.tensors:
            found = _LAYER.match(tensor.name)
            if found and int(found[1]) < count:
                layers[int(found[1])] += tensor.nbytes
            elif tensor.name.startswith(_LOOKED_UP):
                looked_up += tensor.nbytes
            else:
                output += tensor.nbytes
                tied = tied and tensor.name != "output.weight"
        known = sum(layers) + looked_up + output
        missing = max(max(file_bytes, header.file_bytes) - header.data_offset - known, 0)
        if missing > known // 50:
            layers = [size + missing // count for size in layers]
        elif tied:
            # The embedding serves as output too: the device gets a copy of it.
            output += next((one.nbytes for one in header.tensors if one.name == "token_embd.weight"), 0)
        return cls(looked_up, tuple(layers), output)

    @classmethod
    def about(cls, architecture: Architecture, weights_bytes: int) -> LayerWeights:
        """Where only the sum is known: by the matrices' sizes. In small models the embedding is the output too."""
        count = len(architecture.layers)
        kept = max((layer.keys + layer.values for layer in architecture.layers), default=0)
        hidden = architecture.hidden
        branches = 3 * max(architecture.experts, 1) * architecture.feed_forward
        layer = hidden * (2 * architecture.queries + kept + branches + 3 * architecture.inner)
        table = _FINER * hidden * architecture.vocabulary
        tables = table if hidden < _UNTIED else 2 * table
        whole = max(tables + count * layer, 1)
        embedding = int(weights_bytes * table / whole)
        return cls(embedding, (int(weights_bytes * layer / whole),) * count, embedding)


@dataclass(frozen=True, slots=True)
class Share:
    """What lies on one side. Bytes."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes + self.overhead_bytes


@dataclass(frozen=True, slots=True)
class Split:
    """A model over a device and the processor. `layers` as llama.cpp counts them: `of` are all and the output."""

    device_name: str
    layers: int
    of: int
    cells: int
    device: Share
    processor: Share
    shared: bool
    free_bytes: int  # of the device, before the load
    prefix_bytes: int = 0  # as in `Forecast`

    @property
    def whole(self) -> bool:
        return self.layers >= self.of

    def has(self, tensor: str) -> bool:
        """Whether the tensor of that name lies on the device."""
        found = _LAYER.match(tensor)
        return int(found[1]) >= self.of - self.layers if found else not tensor.startswith(_LOOKED_UP)

    @property
    def memory_bytes(self) -> int:
        """What it takes of the machine's own memory."""
        return self.processor.total_bytes + (self.device.total_bytes if self.shared else 0)

    def together(self, context: int, error: float | None = None) -> Forecast:
        """Both sides as one forecast; `error` is the last measured one."""
        one, other = self.device, self.processor
        total = one.total_bytes + other.total_bytes
        return forecast.Forecast(
            total,
            one.weights_bytes + other.weights_bytes,
            one.kv_bytes + other.kv_bytes,
            one.compute_bytes + other.compute_bytes,
            one.overhead_bytes + other.overhead_bytes,
            context=context,
            cells=self.cells,
            error=error,
            loaded_bytes=self.processor.total_bytes,
            prefix_bytes=self.prefix_bytes,
        )

    def on_machine(self, context: int, error: float | None = None) -> Forecast:
        """What lies in the machine's own memory, as a forecast."""
        own = self.processor
        extra = self.device if self.shared else Share(0, 0, 0)
        return forecast.Forecast(
            self.memory_bytes,
            own.weights_bytes + extra.weights_bytes,
            own.kv_bytes + extra.kv_bytes,
            own.compute_bytes + extra.compute_bytes,
            own.overhead_bytes,
            context=context,
            cells=self.cells,
            error=error,
            # A GPU's buffers, and what is handed to it, are held from the load on.
            loaded_bytes=self.memory_bytes,
            prefix_bytes=self.prefix_bytes,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device_name,
            "gpu_layers": self.layers,
            "layers": self.of,
            "device_bytes": self.device.total_bytes,
            "device_free_bytes": self.free_bytes,
            "processor_bytes": self.processor.total_bytes,
        }


def split(
    architecture: Architecture,
    weights: LayerWeights,
    room: DeviceRoom,
    loading: Loading,
    *,
    available: int = 0,
    calibration: Correction | None = None,
) -> Split | None:
    """The split with as many layers on the device as fit there, or as the loading says; None for none.

    Its `context_length` is the one that is opened, its `cache_cells` the cells where they are known (else 0).

    `available`: the machine's own free memory, which a device that shares it cannot exceed.
    """
    most = loading.gpu_layers
    if most == 0:
        return None
    usable = room.usable_bytes
    if room.shared and available:
        usable = min(usable, available)
    of = len(architecture.layers) + 1
    top = of if most < 0 else min(most, of)
    # With everything on one side, weights left out.
    plain = forecast.forecast(architecture, 0, loading, calibration=calibration)
    low, high = 0, top
    while low < high:  # more layers take more, so the largest that fits is found by halving
        middle = (low + high + 1) // 2
        taken = _device_share(architecture, weights, loading, plain, middle).total_bytes
        low, high = (middle, high) if taken <= usable else (low, middle - 1)
    if low == 0:
        return None
    return Split(
        device_name=room.name,
        layers=low,
        of=of,
        cells=plain.cells,
        device=_device_share(architecture, weights, loading, plain, low),
        processor=_processor_share(architecture, weights, loading, plain, low),
        shared=room.shared,
        free_bytes=room.free_bytes,
        prefix_bytes=plain.prefix_bytes,
    )


def _kept(layers: tuple[Layer, ...], architecture: Architecture, loading: Loading, cells: int) -> int:
    sequences = forecast.conversations(architecture, loading.parallel)
    numbers = sum(layer.keys + layer.values for layer in layers)
    states = sum(layer.state for layer in layers) * sequences * _FLOAT
    return int(numbers * cells * forecast.CELL_BYTES[loading.cache_type] + states)


def _on_processor(architecture: Architecture, layers: int) -> int:
    """How many of the first layers stay with the processor; the output is the first that goes."""
    return len(architecture.layers) - (layers - 1)


def _device_share(
    architecture: Architecture, weights: LayerWeights, loading: Loading, plain: Forecast, layers: int
) -> Share:
    stay = _on_processor(architecture, layers)
    moved = sum(weights.layers[stay:]) + weights.output
    kept = _kept(architecture.layers[stay:], architecture, loading, plain.cells)
    compute = plain.compute_bytes - _rows(architecture, loading)
    if stay:
        # A large step copies the matrices of the processor's layers over, one after the other.
        compute += int(max(weights.layers[:stay]) * _LARGEST_MATRIX)
    else:
        compute -= _streams(architecture, loading, plain)
    return Share(moved, kept, max(compute, 0))


def _processor_share(
    architecture: Architecture, weights: LayerWeights, loading: Loading, plain: Forecast, layers: int
) -> Share:
    """Where a GPU is in use, large steps are computed there for all layers: here lies what they are handed."""
    stay = _on_processor(architecture, layers)
    kept = _kept(architecture.layers[:stay], architecture, loading, plain.cells)
    mask = _batch(loading, plain) * plain.cells * 2
    compute = _streams(architecture, loading, plain) + mask + _rows(architecture, loading)
    weighs = weights.looked_up + sum(weights.layers[:stay])
    return Share(weighs, kept, compute, plain.overhead_bytes + int(DRIVER))


def _batch(loading: Loading, plain: Forecast) -> int:
    return min(max(loading.batch, loading.parallel), plain.cells)


def _streams(architecture: Architecture, loading: Loading, plain: Forecast) -> int:
    """The embeddings of a step, twice: looked up here, handed over."""
    return 2 * _batch(loading, plain) * architecture.hidden * _FLOAT


def _rows(architecture: Architecture, loading: Loading) -> int:
    """The rows of logits that come back, which always lie in the machine's memory."""
    return forecast.conversations(architecture, loading.parallel) * architecture.vocabulary * _FLOAT
