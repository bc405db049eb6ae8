"""How much memory a model takes that makes vectors of texts, or ranks them, before it is loaded.

Encoders keep nothing of a text: what they take beside the weights is one step, as long as the longest text. llama.cpp
holds a row of logits for each of its tokens too, though nothing reads it; our engine gives that back after each step.
Models that read from left to right have a cache of one context, and take a text in steps of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.memory import forecast
from slmdesk.memory.forecast import BATCH, Forecast

if TYPE_CHECKING:
    from slmdesk.formats.architecture import Architecture
    from slmdesk.formats.pooling import TextModel
    from slmdesk.memory.calibration import Correction

CONTEXT = 2048  # tokens of a text where nobody asks for more: each of them costs a row of logits
SEQUENCES = 32  # texts in one step
_FLOAT, _HALF = 4, 2


def text_context(asked: int, trained: int) -> int:
    """Tokens that a text may have: what is asked for, never more than the model was trained with."""
    return min(asked or CONTEXT, trained or CONTEXT)


def text_batch(kind: TextModel, context: int) -> int:
    """Tokens of one step."""
    return min(BATCH, forecast.rounded(context)) if kind.cached else context


def forecast_texts(
    architecture: Architecture,
    weights_bytes: int,
    kind: TextModel,
    *,
    context: int,
    cache_type: str = "f16",
    flash_attention: bool = True,
    threads: int = 2,
    calibration: Correction | None = None,
) -> Forecast:
    """The memory of one engine once a text has filled its `context`. Weights as `weights.weights_bytes` gives them."""
    cells = forecast.rounded(context)
    batch = text_batch(kind, context)
    kept = forecast.kept_bytes(architecture, cells, SEQUENCES, cache_type) if kind.cached else 0.0
    outputs = SEQUENCES if kind.cached else max(context, SEQUENCES)
    row = _FLOAT * (architecture.vocabulary + architecture.hidden)
    compute = _step(architecture, batch, cells if kind.cached else batch, flash_attention=flash_attention)
    compute += 1.2 * batch * max(architecture.feed_forward, architecture.hidden) + 64e3 * threads
    overhead = forecast.process_bytes(architecture)
    error = None
    if calibration is not None:
        compute, overhead = compute * calibration.compute, overhead * calibration.overhead
        error = calibration.last_error
    weights, over = int(weights_bytes), int(overhead)
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


def _step(architecture: Architecture, batch: int, cells: int, *, flash_attention: bool) -> float:
    """llama.cpp's compute buffer of one step: the widest of its stages, and the mask of who sees whom."""
    hidden, inner = architecture.hidden, architecture.feed_forward * (architecture.experts_used or 1)
    if flash_attention:
        attention = _FLOAT * (4 * hidden + architecture.queries) + 2 * _HALF * hidden
        mask = _HALF * cells
    else:
        attention = _FLOAT * (architecture.heads * cells + 3 * hidden + architecture.queries)
        mask = _FLOAT * cells
    stage = max(attention, _FLOAT * (3 * hidden + 2 * inner))
    return batch * (stage + mask)

