"""In the child: LoRA adapters added to a model's weights, W + scale · B·A, as llama.cpp's tools/export-lora does.

Only the weights that an adapter changes are computed; all others are copied. Weights are unpacked and packed by ggml
itself, some rows at a time.
"""

from __future__ import annotations

import ctypes
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.core.cores import worker_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.formats import gguf_pieces as pieces
from slmdesk.formats.adapter_file import EMBEDDINGS, AdapterFile, check_belongs, read_adapter
from slmdesk.quantize.adapter_types import merged_type, written_file_type
from slmdesk.quantize.child.ggml import QuantizerLibrary
from slmdesk.quantize.source import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from slmdesk.formats.ggml_types import TensorType
    from slmdesk.formats.gguf_pieces import NewTensor, PlacedTensor
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import AdapterMergeSpec

_BLOCK_BYTES = 8 * 1024 * 1024  # of float32 held for each thread
_COPY = 8 * 1024 * 1024


class Packing:
    """ggml's own reading and writing of weights, to and from float32."""

    def __init__(self, library: QuantizerLibrary) -> None:
        self._base = library.base
        self._base.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
        self._base.ggml_get_type_traits.argtypes = [ctypes.c_int]

    def unpacked(self, data: NDArray[np.uint8], kind: TensorType, elements: int) -> NDArray[np.float32]:
        """Packed weights as float32, shape (elements,)."""
        if kind.name == "F32":
            return data.view(np.float32)
        values = np.empty(elements, np.float32)
        traits = self._base.ggml_get_type_traits(pieces.TYPE_NUMBERS[kind]).contents
        traits.to_float(data.ctypes.data, values.ctypes.data, elements)
        return values

    def packed(self, values: NDArray[np.float32], kind: TensorType) -> NDArray[np.uint8]:
        """Rows of float32, shape (rows, columns), as ggml packs them without an importance matrix."""
        rows, columns = values.shape
        packed = np.empty(rows * columns // kind.block * kind.size, np.uint8)
        number = pieces.TYPE_NUMBERS[kind]
        values = np.ascontiguousarray(values, np.float32)
        self._base.ggml_quantize_chunk(number, values.ctypes.data, packed.ctypes.data, 0, rows, columns, None)
        return packed

    def prepare(self, kind: TensorType) -> None:
        """Make ggml's tables for a type, before several threads want them."""
        self._base.ggml_quantize_init(pieces.TYPE_NUMBERS[kind])


class _TypeTraits(ctypes.Structure):
    """struct ggml_type_traits"""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    ]


class Cost:
    """What the adapter changed and what packing the sums rounded away: sums of squares over all weights changed."""

    def __init__(self) -> None:
        self.delta = self.rounding = self.weights = 0.0
        self.count = 0

    def add(self, other: Cost) -> None:
        self.delta += other.delta
        self.rounding += other.rounding
        self.weights += other.weights
        self.count += other.count

    def to_json(self) -> dict[str, float]:
        """Root mean squares: `delta_rms`, `rounding_rms`, `weights_rms`."""
        count = max(self.count, 1)
        return {
            "delta_rms": (self.delta / count) ** 0.5,
            "rounding_rms": (self.rounding / count) ** 0.5,
            "weights_rms": (self.weights / count) ** 0.5,
        }


def run(spec: AdapterMergeSpec, tell: Teller) -> dict[str, Any]:
    """The result: `tensors` (name, from, to), and what it cost (`Cost.to_json`), `types` of all tensors, `seconds`.

    Raises `SlmDeskError`: `adapter_unsuitable`, `adapter_mismatch`, `weights_not_finite`, `disk_full`,
    `file_unwritable`, and as `open_source`.
    """
    started = time.perf_counter()
    source = open_source(Path(spec.source))
    adapters = [(read_adapter(Path(path)), float(scale)) for path, scale in spec.adapters]
    for adapter, _ in adapters:
        check_belongs(adapter, source.header.architecture, source.header.tensors)
    headers = pieces.open_parts(source.parts)
    old = [tensor for header in headers for tensor in pieces.placed(header)]
    changed = {name for adapter, _ in adapters for name in adapter.pairs}
    new = [
        pieces.NewTensor(t.name, t.shape, merged_type(t.type, spec.type) if t.name in changed else t.type)
        for t in old
    ]
    metadata = pieces.raw_metadata(headers[0])
    for key in ("split.no", "split.count", "split.tensors.count"):
        metadata.pop(key, None)
    if (number := written_file_type(spec.type)) is not None:
        metadata["general.file_type"] = pieces.u32(number)
    merging = _Merging(Packing(QuantizerLibrary()), adapters, spec.threads or worker_threads(), tell)
    merging.total = sum(tensor.nbytes for tensor in new)
    path = Path(spec.output)
    try:
        with path.open("wb") as file:
            file.write(pieces.head(metadata, new, headers[0].alignment))
            for before, after in zip(old, new, strict=True):
                if after.name in changed:
                    merging.merge(before, after, file)
                else:
                    merging.copy(before, file)
                file.write(bytes(pieces.padded(after.nbytes, headers[0].alignment) - after.nbytes))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise writing_error(path, error) from error
    source.check_unchanged()
    tell(1, 1, force=True)
    return {
        "tensors": [
            {"name": after.name, "from": before.type.name, "to": after.type.name}
            for before, after in zip(old, new, strict=True)
            if after.name in changed
        ],
        "types": {tensor.name: tensor.type.name for tensor in new},
        **merging.cost.to_json(),
        "seconds": time.perf_counter() - started,
    }


class _Merging:
    def __init__(
        self, packing: Packing, adapters: Sequence[tuple[AdapterFile, float]], threads: int, tell: Teller
    ) -> None:
        self._packing = packing
        self._adapters = adapters
        self._threads = threads
        self._tell = tell
        self.cost = Cost()
        self.total = 0
        self._done = 0

    def copy(self, tensor: PlacedTensor, file: BinaryIO) -> None:
        left = tensor.nbytes
        with tensor.file.open("rb") as source:
            source.seek(tensor.at)
            while left:
                chunk = source.read(min(left, _COPY))
                if not chunk:
                    raise _cut_off(tensor.file.name)
                file.write(chunk)
                left -= len(chunk)
        self._came(tensor.nbytes, tensor.name)

    def merge(self, before: PlacedTensor, after: NewTensor, file: BinaryIO) -> None:
        """One tensor, some rows at a time, so that its float32 values never lie in memory all at once."""
        columns, rows = before.shape[:2]
        factors = [
            self._factors(adapter, asked, before.name)
            for adapter, asked in self._adapters
            if before.name in adapter.pairs
        ]
        matrices = before.nbytes // (rows * columns // before.type.block * before.type.size)
        at_once = max(1, min(rows, _BLOCK_BYTES // (4 * columns)))
        blocks = [(m, r, min(at_once, rows - r)) for m in range(matrices) for r in range(0, rows, at_once)]
        self._packing.prepare(after.type)

        def made(block: tuple[int, int, int]) -> tuple[NDArray[np.uint8], Cost]:
            return self._block(before, after.type, factors, block)

        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, len(blocks), 2 * self._threads):  # so much waits in memory, no more
                for packed, cost in pool.map(made, blocks[start : start + 2 * self._threads]):
                    file.write(packed.data)
                    self.cost.add(cost)
                    self._came(packed.nbytes, before.name)

    def _block(
        self,
        tensor: PlacedTensor,
        kind: TensorType,
        factors: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
        block: tuple[int, int, int],
    ) -> tuple[NDArray[np.uint8], Cost]:
        matrix, first, count = block
        columns, rows = tensor.shape[:2]
        row_bytes = columns // tensor.type.block * tensor.type.size
        at = tensor.at + (matrix * rows + first) * row_bytes
        data = np.fromfile(tensor.file, np.uint8, count * row_bytes, offset=at)
        if len(data) < count * row_bytes:
            raise _cut_off(tensor.file.name)
        values = self._packing.unpacked(data, tensor.type, count * columns).reshape(count, columns)
        delta = np.zeros_like(values)
        for left, right in factors:
            own_left, own_right = left[matrix % len(left)], right[matrix % len(right)]
            delta += own_left[first : first + count] @ own_right
        merged = values + delta
        if not np.isfinite(merged).all():
            raise SlmDeskError(
                "weights_not_finite",
                f"{tensor.name} would hold values that are not finite.",
                "The adapter or the model is damaged; get another copy.",
            )
        packed = self._packing.packed(merged, kind)
        cost = Cost()
        cost.count = merged.size
        cost.delta = float(np.square(delta, dtype=np.float64).sum())
        cost.weights = float(np.square(merged, dtype=np.float64).sum())
        if kind.name != "F32":
            again = self._packing.unpacked(packed, kind, merged.size).reshape(merged.shape)
            cost.rounding = float(np.square(again - merged, dtype=np.float64).sum())
        return packed, cost

    def _factors(
        self, adapter: AdapterFile, asked: float, name: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Two stacks of matrices, (n, rows, rank) and (n, rank, columns), whose product is what is added."""
        a, b = (self._values(adapter, tensor.name) for tensor in adapter.pairs[name])
        if name.startswith(EMBEDDINGS):
            a, b = b.transpose(0, 2, 1), a  # there both have the rank first
        return b * np.float32(adapter.scale(name, asked)), a

    def _values(self, adapter: AdapterFile, name: str) -> NDArray[np.float32]:
        """One factor as float32, shape (n, second length, row length)."""
        tensor = next(tensor for tensor in adapter.header.tensors if tensor.name == name)
        data = np.fromfile(
            adapter.path, np.uint8, tensor.nbytes, offset=adapter.header.data_offset + tensor.offset
        )
        values = self._packing.unpacked(data, tensor.type, tensor.elements)
        return values.reshape(-1, tensor.shape[1], tensor.shape[0])

    def _came(self, count: int, name: str) -> None:
        self._done += count
        self._tell(self._done, self.total, name)


def _cut_off(name: str) -> SlmDeskError:
    return SlmDeskError(
        "source_changed",
        f"{name} was cut off while it was read.",
        "Start again when nothing writes to it any more.",
    )
