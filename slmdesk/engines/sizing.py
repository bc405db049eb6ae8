"""How large a context to open, and whether the model fits into the memory that is free."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import GgufArray, read_array

if TYPE_CHECKING:
    from slmdesk.engines.protocol import EngineSpec
    from slmdesk.formats.gguf import GgufHeader

_DEFAULT_CONTEXT = 8192  # tokens; more only when it is asked for
_CELL_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}  # bytes a value, block scales included
_SPARE_SLOTS = 4  # slots beyond the parallel ones, for conversations that wait for their next turn
_MOST_SEQUENCES = 256  # LLAMA_MAX_SEQ
# Threads meet hundreds of times a token. A model this small (bytes) computes less between two meetings than a meeting
# costs when something else runs on the machine; one thread gives it a thousand tokens a second as it is.
_TINY = 40e6
_OWN_BYTES = 120e6  # the process itself: Python, numpy, the batch's compute buffers of a small model
_SHELF_SHARE = 0.2  # of the memory then still free, for the shelf
_LARGEST_SHELF = 1e9  # bytes
_CACHE_SHARE = 0.25  # of free memory that cells beyond one conversation's context may take


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
    shelf_bytes: int  # plain memory for conversations that had to leave the cache
    idle_cell_s: float  # seconds that an idle cell of the cache adds to a step


def plan(spec: EngineSpec, header: GgufHeader, *, available: int, offloads: bool) -> Plan:
    """Decide sizes and refuse what cannot fit into `available` bytes of memory.

    Raises `SlmDeskError("out_of_memory")` with both sizes, and `SlmDeskError("spec_invalid")` for counts that make
    no sense. With a GPU taking the layers the weights are not counted.
    """
    trained = header.context_length or _DEFAULT_CONTEXT
    context = spec.context_length or min(trained, _DEFAULT_CONTEXT)
    if context < 64 or spec.parallel < 1 or spec.parallel > _MOST_SEQUENCES or spec.batch < 32:
        raise SlmDeskError(
            "spec_invalid",
            f"A context of {context} tokens for {spec.parallel} conversations with batches of {spec.batch} is not "
            "possible.",
            "Use a context of at least 64 tokens, 1 to 256 conversations, and batches of at least 32.",
        )
    cell = cell_bytes(header, spec.cache_type)
    batch = max(spec.batch, spec.parallel)
    weights = 0 if offloads and spec.gpu_layers != 0 else model_bytes(header)
    cells = spec.cache_cells or context * spec.parallel
    if not spec.cache_cells:
        spare = max(available - weights, 0) * _CACHE_SHARE
        cells = max(context, min(cells, int(spare / cell)))
    cells = -(-max(cells, context) // 256) * 256  # llama.cpp rounds up to this itself
    needed = int(weights + cells * cell + _OWN_BYTES + _output_bytes(header, spec.parallel))
    if needed > available:
        raise SlmDeskError(
            "out_of_memory",
            f"{_name(spec)} needs about {needed / 1e9:.1f} GB of memory with a context of {context} tokens; "
            f"{available / 1e9:.1f} GB is free.",
            "Choose a smaller quant, set a shorter context, or close other programs.",
        )
    threads = spec.threads or (1 if header.file_bytes < _TINY else default_threads())
    return Plan(
        context_length=context,
        parallel=spec.parallel,
        slots=min(spec.parallel + _SPARE_SLOTS, _MOST_SEQUENCES),
        cells=cells,
        batch=batch,
        threads=threads,
        cache_bytes=int(cells * cell),
        needed_bytes=needed,
        shelf_bytes=int(min((available - needed) * _SHELF_SHARE, _LARGEST_SHELF)),
        idle_cell_s=0.0 if offloads and spec.gpu_layers != 0 else _idle_cell_s(header, threads),
    )


def model_bytes(header: GgufHeader) -> int:
    """The size of the model's file, of all its parts where it is split (`name-00001-of-00003.gguf`)."""
    path = header.path
    part = re.fullmatch(r"(.+-)00001(-of-\d{5}\.gguf)", path.name)
    if part is None:
        return header.file_bytes
    parts = (
        file
        for file in path.parent.iterdir()
        if file.name.startswith(part[1]) and file.name.endswith(part[2])
    )
    return sum(file.stat().st_size for file in parts)


def cell_bytes(header: GgufHeader, cache_type: str) -> float:
    """Bytes one token takes in the KV cache: keys and values of every layer.

    With n_embd the hidden size: K has n_kv_heads x head size values a layer, V the same unless the file says
    otherwise (llama.cpp's n_embd_k_gqa and n_embd_v_gqa).
    """
    layers = _number(header, "block_count", 32)
    heads = max(_number(header, "attention.head_count", 32), 1)
    kv_heads = _number(header, "attention.head_count_kv", heads)
    head = _number(header, "embedding_length", 4096) / heads
    keys = _number(header, "attention.key_length", head)
    values = _number(header, "attention.value_length", head)
    return max(layers * kv_heads * (keys + values) * _CELL_BYTES[cache_type], 1.0)


def default_threads() -> int:
    """Physical cores this process may use: a second thread on the same core slows matrix work down."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(psutil.cpu_count(logical=False) or usable, usable), 1)


def _idle_cell_s(header: GgufHeader, threads: int) -> float:
    """What a cell that no answer uses costs a step: attention looks at it for every head of every layer.

    Measured: 4000 idle cells added 2.6 ms with 30 layers of 9 heads on 2 threads, 4.8 ns a look.
    """
    looks = _number(header, "block_count", 32) * _number(header, "attention.head_count", 32)
    return 4.8e-9 * looks / threads


def _number(header: GgufHeader, key: str, default: float) -> float:
    """A number of the architecture's metadata; some models give one a layer, then their mean is meant."""
    name = f"{header.architecture}.{key}"
    value = header.metadata.get(name)
    if isinstance(value, GgufArray):
        value = read_array(header.path, header, name)
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return float(sum(value)) / len(value)
    return float(value) if isinstance(value, int | float) and value > 0 else float(default)


def _output_bytes(header: GgufHeader, parallel: int) -> float:
    """Logits: one row of floats for each conversation, once in the compute buffer and once for the sampler."""
    return 8.0 * parallel * header.vocabulary


def _name(spec: EngineSpec) -> str:
    return spec.model_id or Path(spec.model_path).name
