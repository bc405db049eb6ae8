"""What becomes of every tensor: for somebody who wants to see where the bits go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.gguf import read_header

if TYPE_CHECKING:
    from slmdesk.quantize.planning import QuantizePlan
    from slmdesk.quantize.source import SourceGguf


def tensor_report(source: SourceGguf, plan: QuantizePlan) -> dict[str, list[dict[str, Any]]]:
    """By quant, in the order of the file: `name`, `shape`, `from`, `to`, `bytes`, and `meant` for a tensor that could
    not have the type that was meant for it. Blocking: reads headers."""
    kinds = {kind.name.upper(): kind for kind in TENSOR_TYPES.values()}
    tensors = [tensor for part in source.parts for tensor in read_header(part).tensors]
    report = {}
    for quant in plan.quants:
        meant = {name: kind for name, kind, _ in reversed(quant.fallbacks)}
        rows = []
        for tensor in tensors:
            kind = kinds[quant.types[tensor.name]]
            row: dict[str, Any] = {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "from": tensor.type.name,
                "to": kind.name,
                "bytes": tensor.elements // kind.block * kind.size,
            }
            rows.append(row | ({"meant": meant[tensor.name]} if tensor.name in meant else {}))
        report[quant.quant] = rows
    return report
