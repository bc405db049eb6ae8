"""In the child: what an importance matrix holds, and how the activations it was made of are spread.

The figures are those of `llama-imatrix --show-statistics` (llama.cpp's tools/imatrix, `compute_statistics` and
`compute_cossim`). An activation is here the mean square of one input of a tensor, `in_sum2 / counts`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.formats.gguf import read_header
from slmdesk.quantize.matrix_file import read_matrix
from slmdesk.quantize.matrix_sum import plain
from slmdesk.quantize.protocol import CHUNK, MatrixStatisticsSpec
from slmdesk.quantize.source import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.matrix_file import Matrix, MatrixEntry

_INACTIVE = 1e-5  # mean squares up to this count as inactive
_BLOCK = re.compile(r"\bblk\.(\d+)\.")


def run(spec: MatrixStatisticsSpec, tell: Teller) -> dict[str, Any]:
    """See `statistics`; with a model also `uncovered`, those of its weight matrices in layers that are not in the file.

    Raises `SlmDeskError`: `imatrix_missing`, `imatrix_unreadable`, and as `gguf.read_header`.
    """
    path = Path(spec.path)
    found = statistics(path, read_matrix(path))
    if spec.model:
        known = {tensor["name"] for tensor in found["tensors"]}
        names = [
            tensor.name
            for part in parts_of(Path(spec.model))
            for tensor in read_header(part).tensors
            if len(tensor.shape) > 1 and _BLOCK.match(tensor.name) and tensor.name.endswith(".weight")
        ]
        found["model"] = Path(spec.model).name
        found["uncovered"] = [name for name in names if name not in known]
        found["foreign"] = len(known - set(names))
    tell(1, 1, force=True)
    return found


def statistics(path: Path, matrix: Matrix) -> dict[str, Any]:
    """`format` ("gguf" or "dat"), `datasets`, `chunks`, `chunk_size`, `tensors` (by what they are, the strongest
    first; see `_of_tensor`), and `layers`: averages weighted by the number of activations."""
    raw = plain(matrix, matrix.chunk_size or CHUNK)
    tensors = [_of_tensor(name, entry) for name, entry in raw.entries.items()]
    by_name = {tensor["name"]: tensor for tensor in tensors}
    for name, entry in raw.entries.items():
        before = _name_before(name)
        if before in raw.entries and "total" in by_name[name]:
            by_name[name]["cosine"] = _cosine(entry.sums, raw.entries[before].sums)
    tensors.sort(key=lambda tensor: (tensor["part"], -tensor.get("total", 0.0), tensor["layer"]))
    return {
        "path": str(path),
        "format": "dat" if matrix.legacy else "gguf",
        "datasets": list(matrix.datasets),
        "chunks": matrix.chunks,
        "chunk_size": matrix.chunk_size,
        "tensors": tensors,
        "layers": _layers(tensors),
        "untouched": _share(
            [tensor["untouched"] * tensor["matrices"] for tensor in tensors],
            [tensor["matrices"] for tensor in tensors],
        ),
    }


def _of_tensor(name: str, entry: MatrixEntry) -> dict[str, Any]:
    """`name`, `layer` (-1 outside of layers), `part` (such as "attn_q"), `matrices` (experts; 1 where there are none),
    `columns`, `count_least` and `count_most` (inputs summed), `untouched` (share of matrices that no input reached).

    And of the activations, where any were counted: `elements`, `total` (their sum), `least`, `most`, `mean`,
    `deviation`, `active` (share above 0.00001), `entropy` (bits), `entropy_share` (of what it would be if all were
    alike), `outliers` (share more than one deviation above the mean; llama.cpp's ZD), `cosine` (to the same tensor of
    the layer before; missing in the first).
    """
    touched = entry.counts > 0
    found: dict[str, Any] = {
        "name": name,
        "layer": int(match[1]) if (match := _BLOCK.search(name)) else -1,
        "part": _part(name),
        "matrices": len(entry.counts),
        "columns": int(entry.sums.shape[1]),
        "count_least": int(entry.counts.min()),
        "count_most": int(entry.counts.max()),
        "untouched": float(1 - touched.mean()),
    }
    if not touched.any():
        return found
    values = (entry.sums[touched].astype(np.float64) / entry.counts[touched, None]).reshape(-1)
    total, mean = float(values.sum()), float(values.mean())
    deviation = float(np.sqrt(max(0.0, float(np.square(values).mean()) - mean * mean)))
    shares = values[values > 0] / total if total > 0 else values[:0]
    entropy = float(-(shares * np.log2(shares)).sum())
    outliers = float((values > mean + deviation).mean()) if deviation > 0 else 0.0
    return found | {
        "elements": int(values.size),
        "total": total,
        "least": float(values.min()),
        "most": float(values.max()),
        "mean": mean,
        "deviation": deviation,
        "active": float((np.abs(values) > _INACTIVE).mean()),
        "entropy": entropy,
        "entropy_share": entropy / float(np.log2(values.size)) if values.size > 1 else 0.0,
        "outliers": outliers,
    }


def _layers(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each layer: `layer`, `total`, `outliers`, `cosine`, each averaged with the activations as weights."""
    found = []
    for layer in sorted({tensor["layer"] for tensor in tensors} - {-1}):
        own = [tensor for tensor in tensors if tensor["layer"] == layer and "total" in tensor]
        weights = [tensor["elements"] for tensor in own]
        averages = {
            key: _share([tensor.get(key, 0.0) * tensor["elements"] for tensor in own], weights)
            for key in ("total", "outliers", "cosine")
        }
        found.append({"layer": layer, **averages})
    return found


def _share(parts: Sequence[float], whole: Sequence[float]) -> float:
    return float(sum(parts) / sum(whole)) if sum(whole) else 0.0


def _part(name: str) -> str:
    """`blk.3.attn_q.weight` → `attn_q`, as llama.cpp's tool names it."""
    words = name.split(".")
    place = words.index("weight") if "weight" in words else 0
    return words[place - 1] if place > 0 else name


def _name_before(name: str) -> str:
    """The same tensor of the layer before."""
    match = _BLOCK.search(name)
    if match is None:
        return ""
    return f"{name[: match.start(1)]}{int(match[1]) - 1}{name[match.end(1) :]}"


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of the sums as they are; 0 where one of them is zero or they are of different sizes."""
    if one.size != other.size:
        return 0.0
    a, b = one.reshape(-1).astype(np.float64), other.reshape(-1).astype(np.float64)
    length = float(np.sqrt(a @ a) * np.sqrt(b @ b))
    return float(a @ b) / length if length > 0 else 0.0
