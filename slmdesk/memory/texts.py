"""How much memory a model takes that makes vectors of texts, or ranks them, before it is loaded.

Encoders keep nothing of a text: what they take beside the weights is one step, as long as the longest text. llama.cpp
holds a row of logits for each of its tokens too, though nothing reads it; our engine gives that back after each step.
Models that read from left to right have a cache of one context, and take a text in steps of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.formats.architecture import Architecture
from slmdesk.formats.pooling import TextModel
from slmdesk.formats.purpose import ENCODERS
from slmdesk.inference.limits import FITS
from slmdesk.memory import forecast
from slmdesk.memory.fit import MOST_UNTRAINED, Fit
from slmdesk.memory.forecast import THREADS, Forecast
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.inference.loading import Loading
    from slmdesk.memory.calibration import Correction

CONTEXT = 2048  # tokens of a text where nobody asks for more: each of them costs a row of logits
SEQUENCES = 32  # texts in one step
SAMPLES = "texts"  # the kind of what is measured of them, see `calibration`
_BATCH = 512  # tokens of a step, where a text comes in pieces
_FLOAT, _HALF = 4, 2
_PLAIN = {"bert", "nomic-bert-moe", "jina-bert-v3"}  # their feed-forward has one branch


def text_context(asked: int, trained: int) -> int:
    """Tokens that a text may have: what is asked for, never more than the model was trained with."""
    return min(asked or CONTEXT, trained or CONTEXT)


def text_batch(kind: TextModel, context: int) -> int:
    """Tokens of one step."""
    return min(_BATCH, forecast.rounded(context)) if kind.cached else context


def forecast_texts(
    architecture: Architecture,
    weights: int,
    kind: TextModel,
    loading: Loading,
    *,
    calibration: Correction | None = None,
) -> Forecast:
    """The memory of one engine that such a model is so loaded into, once a text has filled its context.

    `weights`: bytes, as `weights.weights_bytes` gives them.
    """
    context = text_context(loading.context_length, architecture.context_length)
    threads, flash_attention = loading.threads or THREADS, loading.flash_attention
    cells = forecast.rounded(context)
    batch = text_batch(kind, context)
    keeps = architecture.name not in ENCODERS
    kept = forecast.kept_bytes(architecture, cells, SEQUENCES, loading.cache_type) if keeps else 0.0
    outputs = SEQUENCES if kind.cached else max(context, SEQUENCES)
    row = _FLOAT * (architecture.vocabulary + architecture.hidden)
    compute = _step(architecture, batch, cells if kind.cached else batch, flash_attention=flash_attention)
    if keeps and not kind.cached:
        compute += _FLOAT * batch * architecture.vocabulary  # the logits once more, as they are computed
    compute += _scratch(architecture, batch, flash_attention=flash_attention) + 64e3 * threads
    overhead = forecast.process_bytes(architecture)
    error = None
    if calibration is not None:
        compute, overhead = compute * calibration.compute, overhead * calibration.overhead
        error = calibration.last_error
    over = int(overhead)
    computing = int(compute + row * outputs)
    return Forecast(
        weights + int(kept) + computing + over,
        weights,
        int(kept),
        computing,
        over,
        context=context,
        cells=cells,
        error=error,
        loaded_bytes=weights + int(kept) + over + int(row * SEQUENCES),
    )


def fit_texts(
    header: GgufHeader,
    loading: Loading,
    *,
    file_bytes: int,
    available: int,
    calibration: Correction | None = None,
) -> Fit:
    """Whether such a model runs in `available` bytes, and the longest text that fits there.

    `file_bytes`: of all parts together. Raises `SlmDeskError` where the header does not tell enough.
    """
    architecture, kind = Architecture.from_gguf(header), TextModel.of(header)
    weights = weights_bytes(header, file_bytes=file_bytes, copied=loading.extra_buffers)

    def of(context: int) -> Forecast:
        opened = replace(loading, context_length=context)
        return forecast_texts(architecture, weights, kind, opened, calibration=calibration)

    expected = of(0 if loading.context_length == FITS else loading.context_length)
    longest = text_context(MOST_UNTRAINED, header.context_length or MOST_UNTRAINED)
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if of(middle).total_bytes <= available else (low, middle - 1)
    total = expected.total_bytes
    return Fit(expected, total, available, forecast.verdict(total, available), max_context=low)


def _step(architecture: Architecture, batch: int, cells: int, *, flash_attention: bool) -> float:
    """llama.cpp's compute buffer of one step: the widest of its stages, and the mask of who sees whom."""
    hidden, inner = architecture.hidden, architecture.feed_forward * (architecture.experts_used or 1)
    feed = 3 * hidden + (2 if architecture.name in _PLAIN else 3) * inner
    if flash_attention:
        attention = _FLOAT * (4 * hidden + architecture.queries) + 2 * _HALF * hidden
        mask = _HALF * cells
    else:
        attention = _FLOAT * (architecture.heads * cells + 3 * hidden + architecture.queries)
        mask = _FLOAT * cells
    return batch * (max(attention, _FLOAT * feed) + mask)


def _scratch(architecture: Architecture, batch: int, *, flash_attention: bool) -> float:
    """ggml-cpu's work space: the widest input of a multiplication, converted to the type it multiplies with."""
    widest = 1.2 * batch * max(architecture.feed_forward, architecture.hidden)
    return widest if flash_attention else max(widest, 2.0 * architecture.heads * batch * batch)
