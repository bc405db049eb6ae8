"""Which type a weight gets that an adapter changed, and what the file then says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.formats.ggml_types import TENSOR_TYPES
from slmdesk.formats.quants import QUANTS, WITHOUT_MATRIX

if TYPE_CHECKING:
    from slmdesk.formats.ggml_types import TensorType

AUTO, KEPT = "AUTO", ""
CHOICES = (AUTO, "F16", "BF16", "F32", KEPT)
"""What can be asked for: llama.cpp's choice, one type for all changed weights, or the types they have."""
_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}
# Types that ggml packs without an importance matrix; others that it cannot pack at all become F16.
_PACKED = {
    "F32",
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ3_XXS",
    "IQ3_S",
    "IQ4_NL",
    "IQ4_XS",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
}


def merged_type(kind: TensorType, asked: str) -> TensorType:
    """What a weight of this type becomes. With `AUTO` F32 stays and all others become F16, as in llama.cpp's
    tools/export-lora."""
    if asked == AUTO:
        return kind if kind.name == "F32" else _BY_NAME["F16"]
    if asked != KEPT:
        return _BY_NAME[asked]
    name = kind.name if kind.name in _PACKED else WITHOUT_MATRIX.get(kind.name, kind.name)
    return _BY_NAME[name if name in _PACKED else "F16"]


def written_file_type(asked: str) -> int | None:
    """`general.file_type` of the result; None: as it was."""
    if asked == KEPT:
        return None
    return QUANTS["F16" if asked == AUTO else asked].ftype
