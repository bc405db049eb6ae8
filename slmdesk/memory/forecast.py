"""How much memory a model will take in our engine, before it is loaded.

Total = weights + what conversations keep (KV cache and recurrent states) + compute buffers + the process itself. It
forecasts the most that the engine's process holds (its peak resident memory, shared libraries and mapped weights
included) once a prompt has filled the context.

The rules were read off llama.cpp's sources (llama-kv-cache*.cpp, llama-memory-recurrent.cpp, llama-context.cpp,
ggml-alloc.c, ggml-cpu.c); the constants of the process were measured, see tests/benchmarks/forecast.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

if TYPE_CHECKING:
    from slmdesk.formats.architecture import Architecture
    from slmdesk.inference.loading import Loading
    from slmdesk.memory.calibration import Correction

Verdict = Literal["fits", "tight", "too_big"]

CELL_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}  # bytes a number, block scales included
SPARE_SLOTS = 4  # conversations kept beyond the parallel ones, waiting for their next turn
_PREFIXES_OF_CACHE = 4  # what the prefix cache takes at most, as a multiple of the KV cache
_PREFIX_SHARE = 0.2  # of the memory then still free
CACHE_SHARE = 0.25  # of free memory that contexts beyond the first one may take
DEFAULT_CONTEXT = 8192  # tokens; more only when it is asked for
BATCH = 512  # tokens of prompt a step
THREADS = 2  # that are counted with where a loading does not say how many
TIGHT = 0.85  # of the free memory: above it the system has little left for anything else
_ROUND = 256  # cells: llama.cpp rounds a cache up to this
_FLOAT = 4

# Measured (least squares over the benchmark's models, 2 MB off at most): the process without a model (interpreter,
# packages, libraries, stacks), then what each layer adds (graph nodes, tensors).
_PROCESS = 67.2e6
_LAYER = 173e3
# A token of the vocabulary, by llama-vocab.cpp: its entry (40 bytes), its place in the map from texts (a node of 64, a
# bucket of 12), its piece (32), and what our texts and candidates add (24); less the 22 or so that it takes in the
# file, whose list is let go of after the load. A merge is a node of the map of ranks (96, a bucket of 12).
_TOKEN = 145.0
_MERGE = 107.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes; `context` and `cells` are tokens. `error` is the last measured one (0.03: 3 %), None before any load."""

    total_bytes: int
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    overhead_bytes: int
    context: int
    cells: int
    error: float | None = None
    loaded_bytes: int = (
        0  # of the total, held right after the load: no prompt has used the compute buffer yet
    )
    prefix_bytes: int = 0  # beside the total, where they are free: what the prefix cache takes at most


def forecast(
    architecture: Architecture,
    weights_bytes: int,
    loading: Loading,
    *,
    calibration: Correction | None = None,
) -> Forecast:
    """The memory of one engine that a model is so loaded into.

    `weights_bytes` as `weights.weights_bytes` gives them. The cache has `cache_cells` (0: those of one context), which
    all conversations share; where it holds more than one context, the forecast is for all of them full.
    """
    context = opened_context(architecture, loading)
    cells = rounded(max(loading.cache_cells, context))
    sequences = conversations(architecture, loading.parallel)
    batch = min(max(loading.batch, loading.parallel), cells)
    cache_type, flash_attention = loading.cache_type, loading.flash_attention
    threads = loading.threads or THREADS
    kept = kept_bytes(architecture, cells, sequences, cache_type)
    compute = _compute(architecture, cells, sequences, batch, flash_attention=flash_attention)
    compute += _scratch(architecture, cells, batch, threads, flash_attention=flash_attention)
    overhead = process_bytes(architecture)
    error = None
    if calibration is not None:
        compute, overhead = compute * calibration.compute, overhead * calibration.overhead
        error = calibration.last_error
    logits = _FLOAT * sequences * architecture.vocabulary  # the rows given out
    weights, kv, over = int(weights_bytes), int(kept), int(overhead)
    held = weights + kv + over + int(logits)
    computing = int(compute + logits)
    return Forecast(
        weights + kv + computing + over,
        weights,
        kv,
        computing,
        over,
        context=context,
        cells=cells,
        error=error,
        loaded_bytes=held,
        prefix_bytes=prefix_bytes(loading, kv),
    )


def prefix_bytes(loading: Loading, cache_bytes: int, left: int | None = None) -> int:
    """What conversations that had to leave a KV cache of `cache_bytes` may take of the memory `left` beside it.

    `left`: bytes; None where that is not known, as of another machine.
    """
    most = min(loading.prefix_bytes, _PREFIXES_OF_CACHE * cache_bytes)
    return most if left is None else max(min(most, int(left * _PREFIX_SHARE)), 0)


def expect(
    architecture: Architecture,
    weights_bytes: int,
    loading: Loading,
    *,
    available: int,
    calibration: Correction | None = None,
) -> Forecast:
    """What an engine that is to hold several `contexts` takes here: as many as a quarter of what is free goes for.

    Above `available` the forecast is that of one context, the least it can run with.
    """

    def of(cells: int) -> Forecast:
        return forecast(
            architecture, weights_bytes, replace(loading, cache_cells=cells), calibration=calibration
        )

    asked = of(cells_for(architecture, weights_bytes, loading, available=available))
    return asked if asked.total_bytes <= available else of(0)


def cells_for(architecture: Architecture, weights_bytes: int, loading: Loading, *, available: int) -> int:
    """Cells that the engine opens where none are asked for: those of one context, of more if there is room."""
    spare = max(available - weights_bytes, 0) * CACHE_SHARE
    cell = cell_bytes(architecture, loading.cache_type)
    context = opened_context(architecture, loading)
    return rounded(max(context, min(context * loading.contexts, int(spare / max(cell, 1.0)))))


def largest_context(
    architecture: Architecture,
    weights_bytes: int,
    loading: Loading,
    *,
    available: int,
    calibration: Correction | None = None,
) -> int:
    """The longest context that fits `available` bytes, in steps of 256 and at most the trained one; 0 when none."""
    low, high = 0, max(architecture.context_length or 131072, _ROUND) // _ROUND
    while low < high:
        middle = (low + high + 1) // 2
        longer = replace(loading, context_length=middle * _ROUND, cache_cells=0)
        total = forecast(architecture, weights_bytes, longer, calibration=calibration).total_bytes
        low, high = (middle, high) if total <= available else (low, middle - 1)
    return low * _ROUND


def verdict(total_bytes: float, available_bytes: float) -> Verdict:
    """Whether that much memory can be had. "tight": it fits, but leaves little for other programs."""
    if total_bytes > available_bytes:
        return "too_big"
    return "tight" if total_bytes > available_bytes * TIGHT else "fits"


def usual_context(trained: int) -> int:
    """The context opened where none is asked for: the trained one, 8192 tokens at most."""
    return min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def opened_context(architecture: Architecture, loading: Loading) -> int:
    """Tokens of the context that is opened: the one asked for, else the usual one."""
    return loading.context_length or usual_context(architecture.context_length)


def rounded(cells: int) -> int:
    """As llama.cpp rounds a cache's size."""
    return -(-cells // _ROUND) * _ROUND


def conversations(architecture: Architecture, parallel: int) -> int:
    """Sequences the engine opens: states are held for each, so models with states get no spare ones."""
    return parallel if architecture.hybrid else min(parallel + SPARE_SLOTS, 256)


def cell_bytes(architecture: Architecture, cache_type: str) -> float:
    """Bytes that one token takes in the KV cache."""
    numbers = sum(layer.keys + layer.values for layer in architecture.layers)
    return numbers * CELL_BYTES[cache_type]


def kept_bytes(
    architecture: Architecture, cells: int, sequences: int, cache_type: str, *, full_window: bool = True
) -> float:
    """The KV cache and the recurrent states.

    With `full_window` sliding layers keep every token, as our engine asks for: a conversation can then go back to any
    point. Otherwise llama.cpp gives them a window for each sequence and a batch, rounded up to 256.
    """
    windowed = cells
    if not full_window and architecture.window:
        windowed = rounded(min(cells, architecture.window * sequences + BATCH))
    numbers = 0
    for layer in architecture.layers:
        numbers += (layer.keys + layer.values) * (windowed if layer.windowed else cells)
    states = sum(layer.state for layer in architecture.layers) * sequences * _FLOAT
    return numbers * CELL_BYTES[cache_type] + states


def _compute(
    architecture: Architecture, cells: int, sequences: int, batch: int, *, flash_attention: bool
) -> float:
    """llama.cpp's compute buffer: the most that one stage of a step of `batch` tokens holds at a time."""
    hidden = architecture.hidden
    masks = 0 if architecture.recurrent else 1 + any(layer.windowed for layer in architecture.layers)
    mask = masks * cells * (2 if flash_attention else 4)
    stages = [_feed_forward(architecture)]
    if masks:
        queries = architecture.queries
        if flash_attention:
            widest = max(layer.keys + layer.values for layer in architecture.layers)
            stages.append(_FLOAT * (2 * hidden + 2 * queries + widest))
        else:
            stages.append(_FLOAT * (architecture.heads * cells + 2 * hidden + 3.5 * queries))
    per_token = mask + max([*stages, _state_space(architecture)])
    states = max((layer.state for layer in architecture.layers), default=0) * _FLOAT * sequences
    if not architecture.inner:
        states = 0
    output = _FLOAT * sequences * (architecture.vocabulary + hidden)
    return max(per_token * batch + states, output) + sequences * 4 * hidden * _FLOAT


def _feed_forward(architecture: Architecture) -> float:
    """Bytes a token of the feed-forward stage: both branches and their product, the stream and what came before."""
    hidden, used = architecture.hidden, architecture.experts_used or 1
    branch = used * architecture.feed_forward
    beside = 4.0 * hidden
    if architecture.name.startswith(("phi3", "lfm2")):
        beside = 3.0 * hidden
    elif architecture.name == "gemma3":
        beside = 3.0 * hidden + architecture.queries
    stage = 3 * branch + beside
    if architecture.experts_used and used * hidden > 2 * branch:
        stage += (used + 1) * hidden  # the experts' answers do not fit where the branches were
    return _FLOAT * stage


def _state_space(architecture: Architecture) -> float:
    """Bytes a token of a recurrent layer's stage (llama.cpp's models/mamba-base.cpp, lfm2.cpp, rwkv7-base.cpp)."""
    inner, hidden = architecture.inner, architecture.hidden
    if not inner:
        if not architecture.hybrid:
            return 0.0
        return _FLOAT * (7.0 if architecture.name.startswith("lfm2") else 12.0) * hidden
    if not architecture.groups:
        return _FLOAT * (6 * inner + hidden)
    wide = inner + 2 * architecture.groups * architecture.state_width
    stream = hidden if architecture.recurrent else 2.5 * hidden
    return _FLOAT * (inner + wide + inner / 64 + 3 * wide + inner + stream)


def _scratch(
    architecture: Architecture, cells: int, batch: int, threads: int, *, flash_attention: bool
) -> float:
    """ggml-cpu's work space: the widest input of a multiplication, converted to the type it multiplies with."""
    used = architecture.experts_used or 1
    widest = max(
        used * architecture.feed_forward, architecture.queries, architecture.hidden, architecture.inner
    )
    scratch = 1.2 * batch * widest
    if architecture.heads and not flash_attention and not architecture.recurrent:
        scratch = max(scratch, 2.0 * architecture.heads * cells * batch)
    return scratch + 64e3 * threads


def process_bytes(architecture: Architecture) -> float:
    """What the engine takes beside weights, cache and steps: the process, the vocabulary, each layer's graph."""
    words = _TOKEN * architecture.vocabulary + _MERGE * architecture.merges
    return _PROCESS + words + _LAYER * len(architecture.layers)
