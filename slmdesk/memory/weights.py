"""How many bytes of memory a GGUF file's weights take once llama.cpp has loaded them on a processor.

The file is mapped, so its weights take their own size. Some types are copied into an order that the processor
multiplies faster (memory/copied.py); the originals are then never read again, and the engine lets go of their pages.
Only a matrix that serves as embedding and as output stays twice: looked up in its original, multiplied by its copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.memory.copied import copy_bytes, rules

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader, TensorInfo
    from slmdesk.memory.copied import Rules

_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight")


def rearranged(tensor: TensorInfo, found: Rules) -> bool:
    """Whether llama.cpp copies this tensor and reads its original no more."""
    if tensor.name in _LOOKED_UP or not tensor.name.endswith(".weight"):
        return False
    return copy_bytes(tensor, found) > 0


def kept_twice(header: GgufHeader) -> int:
    """Bytes of the embedding that are there once more, as output matrix."""
    names = {tensor.name: tensor for tensor in header.tensors}
    embedding = names.get("token_embd.weight")
    if embedding is None or "output.weight" in names:
        return 0
    return copy_bytes(embedding, rules())


def weights_bytes(header: GgufHeader, *, file_bytes: int = 0, copied: bool = True) -> int:
    """Bytes that the loaded weights take. `file_bytes`: of all parts together, where the header is not all.

    `copied`: no safe step keeps llama.cpp from copying weights into another order.
    """
    if not copied:
        return file_bytes or header.file_bytes
    found = rules()
    grown = sum(
        copy_bytes(tensor, found) - tensor.nbytes for tensor in header.tensors if rearranged(tensor, found)
    )
    return (file_bytes or header.file_bytes) + grown + kept_twice(header)
