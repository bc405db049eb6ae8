"""How many bytes of memory a GGUF file's weights take once llama.cpp has loaded them on a processor.

The file is mapped, so its weights take their own size. Some types are copied into an order that the processor
multiplies faster (ggml's "repack"); the originals are then never read again, and the engine lets go of their pages.
Only a matrix that serves as embedding and as output stays twice: looked up in its original, multiplied by its copy.
"""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.formats.gguf import GgufHeader, TensorInfo

# Types that ggml-cpu's repack.cpp rearranges, and the number their row count must divide by.
_ON_X86 = {"Q4_0": 8, "Q4_K": 8, "IQ4_NL": 8, "MXFP4": 8}
_ON_ARM = {"Q4_0": 4, "IQ4_NL": 4, "MXFP4": 4, "Q8_0": 4, "Q4_K": 8, "Q5_K": 8, "Q6_K": 8}
_LOOKED_UP = ("token_embd.weight", "per_layer_token_embd.weight")
_PART = re.compile(r"(.+-)\d{5}(-of-\d{5}\.gguf)")


def rearranged_types(machine: str = "") -> dict[str, int]:
    """The types copied on this kind of processor (default: the one that runs this), with their row multiple."""
    machine = (machine or platform.machine()).lower()
    if machine in {"x86_64", "amd64"}:
        return _ON_X86
    return _ON_ARM if machine in {"arm64", "aarch64"} else {}


def rearranged(tensor: TensorInfo, types: dict[str, int]) -> bool:
    """Whether llama.cpp copies this tensor and reads its original no more."""
    multiple = types.get(tensor.type.name)
    if multiple is None or tensor.name in _LOOKED_UP:
        return False
    return tensor.name.endswith(".weight") and len(tensor.shape) >= 2 and tensor.shape[1] % multiple == 0


def kept_twice(header: GgufHeader, machine: str = "") -> int:
    """Bytes of the embedding that are there once more, as output matrix."""
    names = {tensor.name: tensor for tensor in header.tensors}
    embedding = names.get("token_embd.weight")
    if embedding is None or "output.weight" in names:
        return 0
    multiple = rearranged_types(machine).get(embedding.type.name)
    return embedding.nbytes if multiple and embedding.shape[-1] % multiple == 0 else 0


def weights_bytes(header: GgufHeader, *, file_bytes: int = 0, machine: str = "") -> int:
    """Bytes that the loaded weights take. `file_bytes`: of all parts together, where the header is not all."""
    return (file_bytes or header.file_bytes) + kept_twice(header, machine)


def parts_of(path: Path) -> list[Path]:
    """All parts of a split model in order, given any of them (`name-00001-of-00003.gguf`); else the path alone."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return [path]
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.startswith(part[1]) and file.name.endswith(part[2])
    )
