"""What to open for a model that makes vectors of texts or ranks them, and whether it fits into the free memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core import amounts
from slmdesk.core.cores import model_threads
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.sizing import Plan, model_bytes
from slmdesk.formats.adapters import adapters_bytes
from slmdesk.formats.architecture import Architecture
from slmdesk.memory.texts import SEQUENCES, forecast_texts, text_batch, text_context
from slmdesk.memory.weights import weights_bytes

if TYPE_CHECKING:
    from slmdesk.engines.protocol import EngineSpec
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.formats.pooling import TextModel

_LEAST = 16  # tokens


def text_plan(spec: EngineSpec, header: GgufHeader, kind: TextModel, *, available: int) -> Plan:
    """Decide sizes and refuse what cannot fit into `available` bytes of memory.

    Raises `SlmDeskError`: `out_of_memory` with both sizes, `spec_invalid` for a context that makes no sense,
    `architecture_incomplete`.
    """
    loading = spec.loading
    context = text_context(loading.context_length, header.context_length)
    if context < _LEAST:
        raise SlmDeskError(
            "spec_invalid",
            f"A context of {context} tokens is not possible.",
            f"Use a context of at least {_LEAST} tokens.",
        )
    threads = loading.threads or model_threads()
    weights = weights_bytes(header, file_bytes=model_bytes(header), copied=loading.extra_buffers)
    expected = forecast_texts(
        Architecture.from_gguf(header),
        weights + adapters_bytes(loading.adapter_paths),
        kind,
        replace(loading, threads=threads),
    )
    if expected.total_bytes > available:
        raise SlmDeskError(
            "out_of_memory",
            f"{spec.model_id or header.path.name} needs about {amounts.size(expected.total_bytes)} of memory for texts "
            f"of {context} tokens; {amounts.size(available)} are free.",
            "Choose a smaller quant, set a shorter context, or close other programs.",
        )
    return Plan(
        context_length=context,
        parallel=SEQUENCES,
        slots=SEQUENCES,
        cells=expected.cells,
        batch=text_batch(kind, context),
        threads=threads,
        cache_bytes=expected.kv_bytes,
        needed_bytes=expected.total_bytes,
        prefix_bytes=0,
        idle_cell_s=0.0,
    )
