"""A GGUF made of another one's pieces: entries of metadata byte for byte, tensors from where they lie.

The layout is that of ggml's docs/gguf.md, version 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import TENSOR_TYPES, TensorType
from slmdesk.formats.gguf import ARRAY, STRING, GgufHeader, check_weights, read_header
from slmdesk.formats.gguf_errors import damaged, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DEFAULT_ALIGNMENT = 32
TYPE_NUMBERS: dict[TensorType, int] = {kind: number for number, kind in TENSOR_TYPES.items()}
_VERSION = 3
# Bytes of a scalar, by GGUF's number of its type.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_LENGTH, _WORD, _ARRAY_HEAD = struct.Struct("<Q"), struct.Struct("<I"), struct.Struct("<IQ")


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor of a file that is to be written; `shape` has the row length first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType

    @property
    def nbytes(self) -> int:
        elements = 1
        for length in self.shape:
            elements *= length
        return elements // self.type.block * self.type.size


@dataclass(frozen=True, slots=True)
class PlacedTensor(NewTensor):
    """A tensor that lies in `file`, `at` so many bytes from its beginning."""

    file: Path
    at: int


def placed(header: GgufHeader) -> list[PlacedTensor]:
    """The tensors of one file, in its order."""
    return [
        PlacedTensor(t.name, t.shape, t.type, header.path, header.data_offset + t.offset)
        for t in header.tensors
    ]


def open_parts(paths: Sequence[Path]) -> list[GgufHeader]:
    """The headers of all parts of one model, whole and belonging together; of one file alone, its own.

    Raises `SlmDeskError`: `source_parts_mixed`, and as `gguf.read_header` and `gguf.check_weights`.
    """
    headers = [read_header(path) for path in paths]
    names: set[str] = set()
    for number, header in enumerate(headers):
        check_weights(header)
        if len(headers) > 1 and header.metadata.get("split.no") != number:
            raise _mixed(header, f"it is not part {number + 1} of this model")
        for tensor in header.tensors:
            if tensor.name in names:
                raise _mixed(header, f"{tensor.name} is in several parts")
            names.add(tensor.name)
    told = headers[0].metadata.get("split.tensors.count")
    if len(headers) > 1 and isinstance(told, int) and told != len(names):
        raise _mixed(headers[0], f"the model has {told} tensors, and the parts hold {len(names)}")
    return headers


def raw_metadata(header: GgufHeader) -> dict[str, bytes]:
    """Each entry's value as it stands in the file, its type in front, by key and in the file's order.

    Raises `SlmDeskError`: `file_unreadable`, `gguf_damaged` where the file was changed since the header was read.
    """
    try:
        with header.path.open("rb") as file:
            data = file.read(header.data_offset)
    except OSError as error:
        raise unreadable(header.path, error) from error
    try:
        return _entries(data)
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise damaged(header.path, "its metadata was changed while it was read") from error


def head(metadata: Mapping[str, bytes], tensors: Sequence[NewTensor], alignment: int) -> bytes:
    """All that stands before the first tensor's bytes, padded."""
    pieces = [b"GGUF", struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        pieces += [text_bytes(key), value]
    offset = 0
    for tensor in tensors:
        dimensions = len(tensor.shape)
        pieces.append(text_bytes(tensor.name))
        pieces.append(
            struct.pack(f"<I{dimensions}QIQ", dimensions, *tensor.shape, TYPE_NUMBERS[tensor.type], offset)
        )
        offset += padded(tensor.nbytes, alignment)
    whole = b"".join(pieces)
    return whole.ljust(padded(len(whole), alignment), b"\0")


def head_bytes(metadata: Mapping[str, bytes], tensors: Sequence[NewTensor], alignment: int) -> int:
    """`len(head(…))`, without making it."""
    entries = sum(8 + len(key.encode()) + len(value) for key, value in metadata.items())
    infos = sum(info_bytes(tensor) for tensor in tensors)
    return padded(4 + 4 + 16 + entries + infos, alignment)


def info_bytes(tensor: NewTensor) -> int:
    """What one tensor takes in the head."""
    return 8 + len(tensor.name.encode()) + 4 + 8 * len(tensor.shape) + 4 + 8


def file_bytes(metadata: Mapping[str, bytes], tensors: Sequence[NewTensor], alignment: int) -> int:
    """The exact size of the file."""
    data = sum(padded(tensor.nbytes, alignment) for tensor in tensors)
    return head_bytes(metadata, tensors, alignment) + data


def padded(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment


def text_bytes(text: str) -> bytes:
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def u16(value: int) -> bytes:
    return struct.pack("<IH", 2, value)


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def i32(value: int) -> bytes:
    return struct.pack("<Ii", 5, value)


def string(value: str) -> bytes:
    return _WORD.pack(STRING) + text_bytes(value)


def _entries(data: bytes) -> dict[str, bytes]:
    _, _, count = struct.unpack_from("<IQQ", data, 4)
    at, found = 24, dict[str, bytes]()
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(data, at)
        key = data[at + 8 : at + 8 + length].decode()
        start = at + 8 + length
        (kind,) = _WORD.unpack_from(data, start)
        at = _end(data, start + 4, kind)
        found[key] = data[start:at]
    return found


def _end(data: bytes, at: int, kind: int) -> int:
    """Where a value of this type ends that begins at `at`."""
    if kind == STRING:
        return at + 8 + int(_LENGTH.unpack_from(data, at)[0])
    if kind != ARRAY:
        return at + _WIDTHS[kind]
    inner, count = _ARRAY_HEAD.unpack_from(data, at)
    at += _ARRAY_HEAD.size
    if inner in _WIDTHS:
        return at + _WIDTHS[inner] * int(count)
    for _ in range(count):
        at = _end(data, at, inner)
    return at


def _mixed(header: GgufHeader, why: str) -> SlmDeskError:
    return SlmDeskError(
        "source_parts_mixed",
        f"The parts do not belong together: of {header.path.name}, {why}.",
        "Download the model again; parts of two versions may be mixed.",
    )
