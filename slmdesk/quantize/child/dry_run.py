"""In the child: what each target will cost, from llama.cpp's dry run and a few milliseconds of trial.

Sizes are exact: every tensor's type comes from llama.cpp, and the size of the metadata from its GGUF writer.
"""

from __future__ import annotations

import ctypes
import os
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import TENSOR_TYPES, TensorType
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.child.ggml import GgufInit, QuantizerLibrary
from slmdesk.quantize.child.quantizing import Heard, failure, matrix_notes
from slmdesk.quantize.child.sparing import settled
from slmdesk.quantize.matrix_file import read_matrix
from slmdesk.quantize.source import parts_of
from slmdesk.quantize.targets import find_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slmdesk.formats.quants import QuantFormat
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import ForecastSpec

_ALIGNMENT = 32
# One type is tried in so many slices of so long; the best counts, and of each the processor's time: whatever else runs
# here, and whenever this process has to wait for it, says nothing of the work itself.
_SLICES, _SLICE_S = 3, 0.0015
_TRIAL_ROWS, _TRIAL_COLUMNS = 4, 1024
_COPY_BYTES_S = 1.0e9  # read, checked and written again
_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION; only its size matters here


def run(spec: ForecastSpec, tell: Teller) -> dict[str, Any]:
    """For each target: `bytes` of the file, `types` of all tensors, `fallbacks`, `seconds` of work on one thread,
    `largest_bytes` held in memory for one tensor. And `tokens` of each text.

    Raises `SlmDeskError` as `quantizing.run` does.
    """
    library = QuantizerLibrary()
    parts = parts_of(Path(spec.source))
    costs = _Costs(library)
    quants = []
    for index, name in enumerate(spec.targets):
        tell(index, len(spec.targets), name)
        quants.append(_one(library, spec, find_target(name), parts, costs))
    return {"quants": quants, "tokens": [_tokens(library, spec.source, text) for text in spec.texts]}


def _one(
    library: QuantizerLibrary,
    spec: ForecastSpec,
    target: QuantFormat,
    parts: tuple[Path, ...],
    costs: _Costs,
) -> dict[str, Any]:
    tensors = {t.name: t for part in parts for t in read_header(part).tensors}
    notes: dict[str, str | int] = {}
    use, matrix = spec.matrix, None
    if use is not None:
        matrix = read_matrix(Path(use.path)) if use.path else None
        notes = matrix_notes(use, 1, matrix.chunks if matrix is not None else 1)
    parameters, spared = settled(library, Path(spec.source), target, spec.options, matrix=matrix, use=use)
    parameters.native.dry_run = True
    heard = Heard()
    library.on_line = heard.line
    failed = library.api.llama_model_quantize(os.fsencode(spec.source), b"", ctypes.byref(parameters.native))
    if failed or set(heard.types) != set(tensors):
        raise failure(heard, Path(spec.source), Path())
    named = {kind.name.upper(): kind for kind in TENSOR_TYPES.values()}
    total, seconds, largest = 0, 0.0, 0
    for name, tensor in tensors.items():
        kind = named[heard.types[name]]
        size = tensor.elements // kind.block * kind.size
        total += -(-size // _ALIGNMENT) * _ALIGNMENT
        if not spec.timed:
            continue
        if kind == tensor.type:
            seconds += size / _COPY_BYTES_S
            largest = max(largest, size)
        else:
            seconds += tensor.elements * costs.of(kind, matrix=spec.matrix is not None)
            largest = max(largest, size + 4 * tensor.elements)
    total += _meta_bytes(library, parts, notes)
    if spec.options.keep_split and len(parts) > 1:
        total += sum(read_header(part).data_offset for part in parts[1:])
    return {
        "quant": target.name,
        "bytes": total,
        "types": heard.types,
        "fallbacks": [*spared, *heard.fallbacks],
        "seconds": seconds,
        "starts": costs.start_seconds(heard.types.values()),
        "largest_bytes": largest,
    }


def _meta_bytes(library: QuantizerLibrary, parts: tuple[Path, ...], notes: Mapping[str, str | int]) -> int:
    """The size of the header that llama.cpp will write, from its own GGUF code."""
    base = library.base
    context = base.gguf_init_from_file(os.fsencode(parts[0]), GgufInit(True, None))
    if not context:
        raise SlmDeskError("quantize_failed", f"llama.cpp cannot read {parts[0].name}.", "")
    try:
        base.gguf_set_val_u32(context, b"general.quantization_version", _QUANTIZATION_VERSION)
        base.gguf_set_val_u32(context, b"general.file_type", 0)
        for dropped in ("split.no", "split.count", "split.tensors.count"):
            base.gguf_remove_key(context, dropped.encode())
        for key, value in notes.items():
            if isinstance(value, int):
                base.gguf_set_val_u32(context, key.encode(), value)
            else:
                base.gguf_set_val_str(context, key.encode(), value.encode())
        size = _unpadded(base, context)
    finally:
        base.gguf_free(context)
    for part in parts[1:]:  # their tensors are listed in the one header as well
        size += sum(8 + len(t.name.encode()) + 4 + 8 * len(t.shape) + 12 for t in read_header(part).tensors)
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _unpadded(base: Any, context: Any) -> int:
    """What the header takes before it is filled up to the alignment, which llama.cpp tells only afterwards: an entry
    grows until it spills over."""
    key = b"-"

    def with_text(length: int) -> int:
        base.gguf_set_val_str(context, key, b"-" * length)
        return int(base.gguf_get_meta_size(context))

    filled = with_text(0)
    room = next(length for length in count() if with_text(length + 1) > filled)
    base.gguf_remove_key(context, key)
    return filled - room - (8 + len(key) + 4 + 8)


class _Costs:
    """Seconds a weight takes to become each type on this machine, on one thread: tried out, not believed."""

    def __init__(self, library: QuantizerLibrary) -> None:
        self._base = library.base
        self._seconds: dict[tuple[str, bool], float] = {}
        self._starts: dict[str, float] = {}
        self._numbers = {kind.name: number for number, kind in TENSOR_TYPES.items()}

    def of(self, kind: TensorType, *, matrix: bool) -> float:
        key = (kind.name, matrix)
        if key not in self._seconds:
            self._seconds[key] = self._try(kind, matrix=matrix or kind.name.startswith(("IQ1", "IQ2")))
        return self._seconds[key]

    def start_seconds(self, kinds: Any) -> float:
        """What llama.cpp prepares once for these types (the grids of the IQ types)."""
        return sum(self._starts.get(kind, 0.0) for kind in set(kinds))

    def _try(self, kind: TensorType, *, matrix: bool) -> float:
        import numpy as np

        number, weights = self._numbers[kind.name], _TRIAL_ROWS * _TRIAL_COLUMNS
        source = np.random.default_rng(1).standard_normal(weights, np.float32)
        target = np.empty(weights * 4 + 4096, np.uint8)
        importance = np.ones(_TRIAL_COLUMNS, np.float32)
        started = processor_time()
        self._base.ggml_quantize_init(number)
        self._starts[kind.name.upper()] = processor_time() - started

        def once() -> None:
            self._base.ggml_quantize_chunk(
                number,
                source.ctypes.data,
                target.ctypes.data,
                0,
                _TRIAL_ROWS,
                _TRIAL_COLUMNS,
                importance.ctypes.data if matrix else None,
            )

        return best_of_slices(once) / weights


# Windows counts a thread's time in ticks of 16 ms, in which a trial is over.
processor_time = (
    time.thread_time if time.get_clock_info("thread_time").resolution < _SLICE_S / 100 else time.perf_counter
)


def best_of_slices(work: Callable[[], None]) -> float:
    """Seconds that `work` takes on a processor that does nothing else."""
    best = float("inf")
    for _ in range(_SLICES):
        started, done = processor_time(), 0
        while done == 0 or processor_time() - started < _SLICE_S:
            work()
            done += 1
        best = min(best, (processor_time() - started) / done)
    return best


def _tokens(library: QuantizerLibrary, source: str, text: str) -> int:
    from slmdesk.quantize.child.evaluate import load, tokenize

    model = load(library, source, vocabulary_only=True)
    try:
        return len(tokenize(library, model, Path(text)))
    finally:
        library.api.llama_model_free(model)
