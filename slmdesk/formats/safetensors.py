"""Reading safetensors headers, and the index of a model in several files: checked before they are believed.

The layout: eight bytes with the header's length, the header as JSON, then the tensors end to end
(huggingface/safetensors, README "Format").
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER_LIMIT = 100_000_000  # bytes; the format's own
_INDEX_LIMIT = 64 * 1024 * 1024
_SIZE_LIMIT = 2**53
_FIRST = 8
# Bits of each element type.
_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "C64": 64,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
}


class Tensor(NamedTuple):
    """One tensor: its bytes lie from `start` to `end`, counted from the end of the header."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What one file holds. `data_offset`: where the tensors begin in the file, in bytes."""

    tensors: tuple[Tensor, ...] = field(repr=False)
    metadata: dict[str, str]
    data_offset: int
    data_bytes: int

    @property
    def parameters(self) -> int:
        """Numbers in all tensors; of packed quantized weights the packed ones."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    @property
    def types(self) -> dict[str, int]:
        """Bytes of each element type, the largest first."""
        totals: dict[str, int] = {}
        for tensor in self.tensors:
            totals[tensor.type] = totals.get(tensor.type, 0) + tensor.end - tensor.start
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class SafetensorsIndex:
    """`model.safetensors.index.json`: the files of a model and the bytes of their tensors (0: not told)."""

    files: tuple[str, ...]
    total_bytes: int


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header; the tensors are not touched.

    Raises `SlmDeskError`: `file_missing`, `file_unreadable`, `safetensors_truncated`, `safetensors_damaged`,
    `safetensors_type_unknown`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(_FIRST)
            data += file.read(header_end(path.name, data, size) - len(data))
    except FileNotFoundError as error:
        raise SlmDeskError(
            "file_missing", f"{path} does not exist.", "Check the name and the folder."
        ) from error
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check its permissions.",
        ) from error
    return parse_header(path.name, data, size)


def header_end(name: str, data: bytes, file_bytes: int) -> int:
    """Where the header ends, from a file's first eight bytes. Raises as `parse_header`."""
    if len(data) < _FIRST:
        _truncated(name)
    length = int.from_bytes(data[:_FIRST], "little")
    if length > HEADER_LIMIT or length < 2:
        _damaged(name, f"its header claims {length} bytes")
    if file_bytes and _FIRST + length > file_bytes:
        _truncated(name)
    return _FIRST + length


def parse_header(name: str, data: bytes, file_bytes: int = 0) -> SafetensorsHeader:
    """The header in the first bytes of a file of `file_bytes` (0: not known, then its end is not checked).

    Tensors must lie end to end without gaps or overlaps, as long as their shapes and types say. Raises
    `SlmDeskError("safetensors_damaged")`, `("safetensors_truncated")`, or `("safetensors_type_unknown")` for an
    element type that this program does not know.
    """
    end = header_end(name, data, file_bytes)
    if len(data) < end:
        _truncated(name)
    entries = _json(name, data[_FIRST:end])
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _damaged(name, "its metadata is no list of texts")
    tensors = sorted(
        (_tensor(name, key, value) for key, value in entries.items()), key=lambda item: item.start
    )
    at = 0
    for tensor in tensors:
        if tensor.start != at:
            _damaged(name, f"the tensor {_short(tensor.name)} is not where it should be")
        at = tensor.end
    if file_bytes and end + at > file_bytes:
        _truncated(name)
    if file_bytes and end + at < file_bytes:
        _damaged(name, "it goes on behind its last tensor")
    return SafetensorsHeader(tuple(tensors), metadata, end, at)


def parse_index(name: str, data: bytes) -> SafetensorsIndex:
    """The index of a model in several files. Files outside its folder are refused.

    Raises `SlmDeskError("safetensors_damaged")`.
    """
    if len(data) > _INDEX_LIMIT:
        _damaged(name, "it is larger than an index can be")
    content = _json(name, data)
    places = content.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        _damaged(name, "it names no files")
    files = sorted(set(places.values()))
    for file in files:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file or not file:
            _damaged(name, f"it names a file outside its folder: {_short(file)}")
    metadata = content.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else 0
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    valid = isinstance(total, int) and not isinstance(total, bool) and 0 <= total <= _SIZE_LIMIT
    return SafetensorsIndex(tuple(files), total if valid and isinstance(total, int) else 0)


def _tensor(file: str, name: str, value: Any) -> Tensor:
    if not isinstance(value, dict):
        _damaged(file, f"the entry {_short(name)} is no tensor")
    kind, shape, place = (value.get(key) for key in ("dtype", "shape", "data_offsets"))
    lengths, ends = _whole_numbers(shape), _whole_numbers(place)
    if not isinstance(kind, str) or lengths is None or ends is None or len(ends) != 2:
        _damaged(file, f"the tensor {_short(name)} is not described rightly")
    bits = _BITS.get(kind)
    if bits is None:
        raise SlmDeskError(
            "safetensors_type_unknown",
            f"{file} holds the tensor {_short(name)} of the unknown type {_short(kind)}.",
            "It may be newer than this program: update SLM Desk. Otherwise download it again.",
        )
    start, end = ends
    elements = math.prod(lengths)
    if elements > _SIZE_LIMIT or elements * bits % 8 or end - start != elements * bits // 8:
        _damaged(file, f"the tensor {_short(name)} is not as long as its shape says")
    return Tensor(name, kind, lengths, start, end)


def _whole_numbers(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or len(value) > 16:
        return None
    fine = all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _SIZE_LIMIT for item in value
    )
    return tuple(value) if fine else None


def _json(name: str, data: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        _damaged(name, f"its header cannot be read ({str(error)[:80]})")
    if not isinstance(content, dict):
        _damaged(name, "its header is no list of tensors")
    return content


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _damaged(name: str, what: str) -> NoReturn:
    raise SlmDeskError(
        "safetensors_damaged", f"{name} is damaged: {what}.", "Download it again from its publisher."
    )


def _truncated(name: str) -> NoReturn:
    raise SlmDeskError(
        "safetensors_truncated",
        f"{name} is cut off.",
        "Download it again; an interrupted download leaves such a file.",
    )
