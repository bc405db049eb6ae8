"""In the child: importance matrices added up (see `matrix_sum`) and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.quantize.matrix_file import read_matrix, write_matrix
from slmdesk.quantize.matrix_sum import merged

if TYPE_CHECKING:
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import MatrixMergeSpec


def run(spec: MatrixMergeSpec, tell: Teller) -> dict[str, Any]:
    """The result: `entries`, `chunks`, `datasets`. Raises `SlmDeskError`: `imatrix_mismatch`, `imatrix_missing`,
    `imatrix_unreadable`, `disk_full`, `file_unwritable`."""
    matrices = []
    for number, file in enumerate(spec.files):
        tell(number, len(spec.files) + 1, Path(file).name)
        matrices.append((Path(file).name, read_matrix(Path(file))))
    matrix = merged(matrices, spec.chunk)
    write_matrix(Path(spec.output), matrix)
    tell(1, 1, force=True)
    return {
        "entries": len(matrix.entries),
        "chunks": matrix.chunks,
        "chunk_size": matrix.chunk_size,
        "datasets": list(matrix.datasets),
    }
