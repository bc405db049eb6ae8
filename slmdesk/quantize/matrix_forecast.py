"""How large an importance matrix becomes, before it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.formats import gguf_pieces as pieces
from slmdesk.formats.ggml_types import TENSOR_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.quantize.matrix_file import Matrix

_F32 = TENSOR_TYPES[0]
# Matrices in layers that are looked up or added, not multiplied with.
_NOT_MULTIPLIED = ("_norm.weight", ".ssm_a", ".ssm_conv1d.weight", "_exps_scale.weight")


def matrix_bytes(header: GgufHeader, dataset: str) -> int:
    """Of a model's matrix over a text: sums for each row length of each weight in its layers, and counts. An estimate:
    which weights a model multiplies with is known when it runs."""
    weights = [
        tensor
        for tensor in header.tensors
        if tensor.name.startswith("blk.")
        and len(tensor.shape) > 1
        and tensor.name.endswith(".weight")
        and not tensor.name.endswith(_NOT_MULTIPLIED)
    ]
    entries = [(t.name, t.shape[0], t.shape[2] if len(t.shape) > 2 else 1) for t in weights]
    return _bytes(entries, [dataset])


def sum_bytes(matrix: Matrix) -> int:
    """The exact size of a file with this matrix."""
    entries = [(name, entry.sums.shape[1], len(entry.counts)) for name, entry in matrix.entries.items()]
    return _bytes(entries, matrix.datasets)


def _bytes(entries: Iterable[tuple[str, int, int]], datasets: Sequence[str]) -> int:
    tensors = []
    for name, columns, matrices in entries:
        sums = (columns, matrices) if matrices > 1 else (columns,)
        counts = (1, matrices) if matrices > 1 else (1,)
        tensors += [
            pieces.NewTensor(f"{name}.in_sum2", sums, _F32),
            pieces.NewTensor(f"{name}.counts", counts, _F32),
        ]
    names = b"".join(map(pieces.text_bytes, datasets))
    keys = {
        "general.type": pieces.string("imatrix"),
        "imatrix.datasets": bytes(16) + names,  # its type, its elements' type, how many
        "imatrix.chunk_count": pieces.u32(0),
        "imatrix.chunk_size": pieces.u32(0),
    }
    return pieces.file_bytes(keys, tensors, pieces.DEFAULT_ALIGNMENT)
