"""Which type a weight gets that an adapter changed, and what the file then says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.formats.ggml_types import TENSOR_TYPES

if TYPE_CHECKING:
    from slmdesk.formats.ggml_types import TensorType

AUTO, KEPT = "AUTO", ""
WISHES = (AUTO, "F16", "BF16", "F32", KEPT)
"""What can be asked for: llama.cpp's choice, one type for all changed weights, or the types they have."""
_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}
_FILE_TYPES = {AUTO: 1, "F16": 1, "BF16": 32, "F32": 0}  # enum llama_ftype
# Types that ggml does not pack without an importance matrix (ggml_quantize_requires_imatrix), and the nearest that it
# does; others that it cannot pack at all become F16.
_OTHERWISE = {"IQ1_S": "Q2_K", "IQ1_M": "Q2_K", "IQ2_XXS": "Q2_K", "IQ2_XS": "Q2_K", "IQ2_S": "Q2_K"}
_PACKED = {
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ3_XXS",
    "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4",
}  # fmt: skip


def merged_type(kind: TensorType, wished: str) -> TensorType:
    """What a weight of this type becomes. With `AUTO` F32 stays and all others become F16, as in llama.cpp's
    tools/export-lora."""
    if wished == AUTO:
        return kind if kind.name == "F32" else _BY_NAME["F16"]
    if wished != KEPT:
        return _BY_NAME[wished]
    name = _OTHERWISE.get(kind.name, kind.name)
    return _BY_NAME[name if name in _PACKED else "F16"]


def written_file_type(wished: str) -> int | None:
    """`general.file_type` of the result; None: as it was."""
    return _FILE_TYPES.get(wished)
