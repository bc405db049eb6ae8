"""Several importance matrices added up into one, as llama-imatrix does with several --in-file.

Sums and counts are added (llama.cpp's tools/imatrix, `IMatrixCollector::load_imatrix`). An older `.dat` holds means
times calls; a call stands for `chunk` tokens, by which both are multiplied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.matrix_file import Matrix, MatrixEntry

if TYPE_CHECKING:
    from collections.abc import Sequence


def merged(matrices: Sequence[tuple[str, Matrix]], chunk: int) -> Matrix:
    """The sum of matrices, each with its file's name.

    Raises `SlmDeskError("imatrix_mismatch")` where they are of different models: no tensor in common, or one of
    another size.
    """
    size = next((matrix.chunk_size for _, matrix in matrices if matrix.chunk_size > 0), chunk)
    first = matrices[0][0]
    entries: dict[str, MatrixEntry] = {}
    for name, matrix in matrices:
        if entries and not entries.keys() & matrix.entries.keys():
            raise _mismatch(first, name, "they have no tensor in common")
        for tensor, entry in plain(matrix, size).entries.items():
            before = entries.get(tensor)
            entries[tensor] = entry if before is None else _sum(before, entry, tensor, first, name)
    most = max((int(entry.counts.max(initial=0)) for entry in entries.values()), default=0)
    datasets = tuple(dataset for _, matrix in matrices for dataset in matrix.datasets)
    return Matrix(entries, datasets, most // size, size)


def plain(matrix: Matrix, chunk: int) -> Matrix:
    """An older file's matrix as sums over tokens and counts of tokens; one that is so already as it is."""
    if not matrix.legacy:
        return matrix
    entries = {
        name: MatrixEntry(entry.sums * np.float32(chunk), entry.counts * np.float32(chunk))
        for name, entry in matrix.entries.items()
    }
    return Matrix(entries, matrix.datasets, matrix.chunks, chunk)


def _sum(one: MatrixEntry, other: MatrixEntry, tensor: str, first: str, name: str) -> MatrixEntry:
    if one.sums.size != other.sums.size:
        raise _mismatch(first, name, f"{tensor} has {other.sums.size} values in place of {one.sums.size}")
    # An older file counts all experts of a tensor together: its count stands for each of them.
    matrices = max(len(one.counts), len(other.counts))
    for entry in (one, other):
        if len(entry.counts) not in {1, matrices} or entry.sums.size % matrices:
            raise _mismatch(first, name, f"{tensor} has another number of experts")
    counts = np.broadcast_to(one.counts, matrices) + np.broadcast_to(other.counts, matrices)
    sums = one.sums.reshape(matrices, -1) + other.sums.reshape(matrices, -1)
    return MatrixEntry(sums.astype(np.float32), counts.astype(np.float32))


def _mismatch(first: str, name: str, why: str) -> SlmDeskError:
    return SlmDeskError(
        "imatrix_mismatch",
        f"{first} and {name} are matrices of different models: {why}.",
        "Merge matrices of one model only.",
    )
