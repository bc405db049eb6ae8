"""Importance matrices in files: written as llama.cpp's standard GGUF, read as GGUF and as the older `.dat`.

The GGUF holds, for each weight tensor NAME, `NAME.in_sum2` (the sums of squared inputs, one row a matrix) and
`NAME.counts` (how many inputs were summed), both F32. Layouts: llama.cpp's tools/imatrix and common/imatrix-loader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.formats.gguf import GgufHeader, check_weights, read_array, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_SUM, _COUNT = ".in_sum2", ".counts"
_ALIGNMENT = 32
_U32, _STRING, _ARRAY, _F32 = 4, 8, 9, 0
_ENTRIES_LIMIT, _NAME_LIMIT, _VALUES_LIMIT = 100_000, 512, 2**28


@dataclass(frozen=True, slots=True)
class MatrixEntry:
    """One weight tensor's: sums of shape (matrices, row length), counts of shape (matrices,), both float32."""

    sums: NDArray[np.float32]
    counts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Matrix:
    """An importance matrix. `legacy`: from a `.dat`, whose sums are means times the calls in `counts`."""

    entries: Mapping[str, MatrixEntry] = field(repr=False)
    datasets: tuple[str, ...]
    chunks: int
    chunk_size: int
    legacy: bool = False

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The mean square of each input of each tensor, as llama.cpp's quantizer takes it.

        Divided in float32 as llama-quantize does it, so that both make the same file. An expert that never ran
        counts all inputs alike.
        """
        found = {}
        for name, entry in self.entries.items():
            counts = entry.counts[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                means = entry.sums / counts
            other = entry.sums if self.legacy else np.ones_like(entry.sums)
            found[name] = np.ascontiguousarray(np.where(counts > 0, means, other), np.float32).reshape(-1)
        return found


def read_matrix(path: Path) -> Matrix:
    """Read a file of either kind. Raises `SlmDeskError`: `imatrix_missing`, `imatrix_unreadable`."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        matrix = _read_gguf(path) if start == b"GGUF" else _read_legacy(path)
    except FileNotFoundError as error:
        raise SlmDeskError(
            "imatrix_missing",
            f"{path} is not there.",
            "Check the path, or let it be computed.",
        ) from error
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    for name, entry in matrix.entries.items():
        if not (np.isfinite(entry.sums).all() and np.isfinite(entry.counts).all()):
            raise _unreadable(path, f"its values for {name} are not finite")
    return matrix


def write_matrix(path: Path, matrix: Matrix) -> None:
    """Write the GGUF. Raises `SlmDeskError`: `file_unwritable`, `disk_full`."""
    tensors: list[tuple[str, NDArray[np.float32]]] = []
    for name in sorted(matrix.entries):
        entry = matrix.entries[name]
        tensors += [(name + _SUM, entry.sums), (name + _COUNT, entry.counts.reshape(-1, 1))]
    keys = [
        _text("general.type") + struct.pack("<I", _STRING) + _text("imatrix"),
        _text("imatrix.datasets")
        + struct.pack("<IIQ", _ARRAY, _STRING, len(matrix.datasets))
        + b"".join(map(_text, matrix.datasets)),
        _text("imatrix.chunk_count") + struct.pack("<II", _U32, matrix.chunks),
        _text("imatrix.chunk_size") + struct.pack("<II", _U32, matrix.chunk_size),
    ]
    infos, offset = [], 0
    for name, values in tensors:
        rows, columns = values.shape
        shape = (columns, rows) if rows > 1 else (columns,)
        infos.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _F32, offset))
        offset = _padded(offset + values.nbytes)
    head = b"".join([b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(keys)), *keys, *infos])
    try:
        with path.open("wb") as file:
            file.write(head.ljust(_padded(len(head)), b"\0"))
            for _, values in tensors:
                data = np.ascontiguousarray(values, "<f4").tobytes()
                file.write(data.ljust(_padded(len(data)), b"\0"))
    except OSError as error:
        raise writing_error(path, error) from error


def _read_gguf(path: Path) -> Matrix:
    try:
        header = read_header(path)
        check_weights(header)
        datasets = tuple(map(str, read_array(path, header, "imatrix.datasets")))
        chunks, size = (int(header.metadata[f"imatrix.chunk_{what}"]) for what in ("count", "size"))
    except SlmDeskError as error:
        raise _unreadable(path, error.message.rstrip(".")) from error
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, "it is a GGUF file, but of something else") from error
    arrays = {tensor.name: tensor for tensor in header.tensors}
    entries = {}
    for name in arrays:
        if name.endswith(_SUM):
            own = name.removesuffix(_SUM)
            if own + _COUNT not in arrays:
                raise _unreadable(path, f"the counts of {own} are missing")
            counts = _values(path, header, own + _COUNT)
            sums = _values(path, header, name)
            if not len(counts) or len(sums) % len(counts):
                raise _unreadable(path, f"the sums and counts of {own} do not match")
            entries[own] = MatrixEntry(sums.reshape(len(counts), -1), np.rint(counts))
    if not entries:
        raise _unreadable(path, "it is a GGUF file, but of something else")
    return Matrix(entries, datasets, chunks, size)


def _values(path: Path, header: GgufHeader, name: str) -> NDArray[np.float32]:
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    if tensor.type.name != "F32":
        raise _unreadable(path, f"{name} is not F32")
    return np.fromfile(path, "<f4", tensor.elements, offset=header.data_offset + tensor.offset)


def _read_legacy(path: Path) -> Matrix:
    """int32 entries; each: int32 length, name, int32 calls, int32 values, float32 values; then calls and text."""
    data = path.read_bytes()
    reader = _DatReader(data)
    try:
        (count,) = reader.take("<i")
        if not 0 < count <= _ENTRIES_LIMIT:
            raise _unreadable(path, "it is neither a GGUF nor an older imatrix file")
        entries = {}
        for _ in range(count):
            (length,) = reader.take("<i")
            name = reader.bytes(length, _NAME_LIMIT).decode()
            calls, size = reader.take("<ii")
            values = np.frombuffer(reader.bytes(4 * size, 4 * _VALUES_LIMIT), "<f4").astype(np.float32)
            if not size:
                raise _unreadable(path, f"{name} has no values")
            entries[name] = MatrixEntry(values.reshape(1, -1), np.array([calls], np.float32))
        chunks, datasets = 0, tuple[str, ...]()
        if reader.left >= 4:
            (chunks,) = reader.take("<i")
        if reader.left >= 4:
            (length,) = reader.take("<i")
            datasets = (reader.bytes(length, 65536).decode("utf-8", "replace"),)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(path, "it is cut off, or neither a GGUF nor an older imatrix file") from error
    return Matrix(entries, datasets, chunks, 0, legacy=True)


class _DatReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return values

    def bytes(self, count: int, most: int) -> bytes:
        if not 0 <= count <= min(most, self.left):
            raise ValueError("a length is impossible")
        self._at += count
        return self._data[self._at - count : self._at]


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _unreadable(path: Path, why: str) -> SlmDeskError:
    return SlmDeskError(
        "imatrix_unreadable",
        f"{path.name} cannot be used as an importance matrix: {why}.",
        "Choose a file made by llama-imatrix or by this program, or let it be computed.",
    )
