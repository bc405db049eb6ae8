"""Reading the header of a GGUF file, whoever made it: everything is checked before it is believed.

The layout is that of ggml's docs/gguf.md, versions 2 and 3. What llama.cpp would refuse is refused here with
words, so that a damaged file never gets as far as an engine.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.ggml_types import GUESSED, TENSOR_TYPES, TensorType
from slmdesk.formats.gguf_errors import (
    DOWNLOAD_AGAIN,
    cut_off,
    damaged,
    not_gguf,
    short,
    unknown_type,
    unreadable,
    wrong_version,
)
from slmdesk.formats.quants import BY_FILE_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.formats.vocabularies import Vocabularies

STRING, ARRAY = 8, 9
# GGUF value type -> how it is packed (strings and arrays are walked).
_SCALARS = {
    kind: struct.Struct(f"<{code}")
    for kind, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
}
_WORD, _LENGTH, _COUNTS, _ENTRY = (struct.Struct(form) for form in ("<I", "<Q", "<QQ", "<IQ"))
_SHAPES = tuple(struct.Struct(f"<{dimensions}Q") for dimensions in range(5))

# Bounds well above anything real (the largest vocabularies hold 260 000 tokens and take 16 MB of header).
_HEADER_LIMIT = 64 * 1024 * 1024
_STRING_LIMIT = 16 * 1024 * 1024
_STRINGS_LIMIT = 4_000_000  # strings in all arrays together
_ARRAYS_LIMIT = 10_000  # arrays within arrays, which llama.cpp does not read at all
_KEYS_LIMIT = 65_536
_TENSORS_LIMIT = 1_000_000
_NESTING_LIMIT = 4
_ELEMENTS_LIMIT = 2**63 - 1
_NAME_LIMIT = 64  # GGML_MAX_NAME, with its final zero
FIRST_READ = 1024 * 1024  # bytes; few headers without a large vocabulary are longer


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array that was passed over: the type of its elements, how many, and where the first one begins."""

    type: int
    count: int
    offset: int


class TensorInfo(NamedTuple):
    """One tensor. `offset` counts from the start of the tensor data; `shape` has the row length first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int
    elements: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights. Sizes and offsets in bytes; 0 or "" where the file does not say."""

    path: Path
    version: int
    metadata: dict[str, Any]  # arrays as GgufArray, or as lists where they were asked for
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    architecture: str
    name: str
    quant: str
    parameters: int
    context_length: int
    chat_template: str = field(repr=False)
    alignment: int
    data_offset: int
    data_bytes: int  # up to the end of the last tensor
    file_bytes: int

    @property
    def kind(self) -> str:
        """`general.type`: "model" (also where the file does not say), "adapter", "mmproj", "imatrix", …"""
        return self._text("general.type") or "model"

    @property
    def licence(self) -> str:
        return self._text("general.license")

    @property
    def vocabulary(self) -> int:
        """Tokens in the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens.count if isinstance(tokens, GgufArray) else len(tokens or ())

    def number(self, key: str) -> int:
        """A whole number of this architecture: `number("block_count")` reads `llama.block_count`; 0 if absent."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_header(
    path: Path, *, want_arrays: bool = False, vocabularies: Vocabularies | None = None
) -> GgufHeader:
    """Read and check the header; the weights are not touched.

    `want_arrays` puts lists in place of the `GgufArray`s; `vocabularies` spares work where many files are read.
    Raises `SlmDeskError`: `file_missing`, `file_unreadable`, `not_gguf`, `gguf_version`, `gguf_truncated` (the
    header itself is cut off), `gguf_damaged`. `check` tells whether the weights are all there.
    """
    try:
        # Read, not mapped: a file that shrinks under a mapping (a share that goes away) would end the process.
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, FIRST_READ))  # the buffer of a longer read is cleared first
            while isinstance(header := parse_header(path, data, size, vocabularies), int):
                more = file.read(header - len(data))
                if not more:
                    raise damaged(path, "its header has no end")
                data += more
    except OSError as error:
        raise unreadable(path, error) from error
    if want_arrays:
        parser = _Parser(path, data, size)
        for key, value in header.metadata.items():
            if isinstance(value, GgufArray):
                header.metadata[key] = parser.at(value.offset).array(value)
    return header


def parse_header(
    path: Path, data: bytes, file_bytes: int, vocabularies: Vocabularies | None = None
) -> GgufHeader | int:
    """The header in the first bytes (`data`) of a file of `file_bytes`; how many of them it takes where that is not
    known yet. `path` need not exist: errors name it. Raises as `read_header`.
    """
    try:
        return _Parser(path, data, file_bytes, vocabularies).header()
    except _NeedMoreError as need:
        if need.end > _HEADER_LIMIT or len(data) >= _HEADER_LIMIT:
            raise damaged(path, "its header has no end") from None
        return min(max(need.end + FIRST_READ, 8 * len(data)), _HEADER_LIMIT)


def with_short_arrays(header: GgufHeader, data: bytes, most: int = 1024) -> GgufHeader:
    """`header` with lists in place of arrays of at most `most` numbers, read from the `data` it was parsed from."""
    parser = _Parser(header.path, data, len(data))
    metadata = dict(header.metadata)
    for key, value in header.metadata.items():
        if isinstance(value, GgufArray) and value.type in _SCALARS and value.count <= most:
            metadata[key] = parser.at(value.offset).array(value)
    return replace(header, metadata=metadata)


def check(header: GgufHeader) -> None:
    """Raise `SlmDeskError`: `gguf_truncated` when weights are missing at the file's end, `gguf_damaged` when the
    header names no architecture, `gguf_no_weights` for a vocabulary alone that no other parts go with."""
    check_weights(header)
    if not header.architecture:
        raise damaged(header.path, "it names no architecture")
    if not header.tensors and header.metadata.get("split.count", 1) == 1:
        raise SlmDeskError(
            "gguf_no_weights",
            f"{header.path.name} holds no weights.",
            "Choose the model's own file; this one is only a part of it.",
        )


def check_weights(header: GgufHeader) -> None:
    """Only the first of these: for the later parts of a split file, which name no architecture."""
    if header.tensors and header.data_offset + header.data_bytes > header.file_bytes:
        there = max(0, header.file_bytes - header.data_offset)
        raise cut_off(header.path, there, header.data_bytes)


def read_array(path: Path, header: GgufHeader, key: str) -> list[Any]:
    """The elements of the array under `key`; text that is not UTF-8 comes with replacement characters.

    Raises `KeyError` when there is no such array, `SlmDeskError` as `read_header` does.
    """
    value = header.metadata[key]
    if isinstance(value, list):
        return value
    if not isinstance(value, GgufArray):
        raise KeyError(key)
    return _array_parser(path, header).at(value.offset).array(value)


def duplicate_tokens(path: Path, header: GgufHeader, *, most: int = 10) -> tuple[str, ...]:
    """Tokens the vocabulary holds twice, `most` of them. llama.cpp ends the whole process over such a file.

    Raises `SlmDeskError` as `read_header` does.
    """
    value = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(value, GgufArray) and value.type == STRING:
        tokens: Sequence[bytes | str] = _array_parser(path, header).at(value.offset).strings(value.count)
    elif isinstance(value, list):
        tokens = [token for token in value if isinstance(token, str)]
    else:
        return ()
    if len(set(tokens)) == len(tokens):
        return ()
    seen: set[bytes | str] = set()
    twice: dict[bytes | str, None] = {}
    for token in tokens:
        # llama.cpp gives each empty token a name of its own.
        if token and token in seen:
            twice[token] = None
        seen.add(token)
    return tuple(t if isinstance(t, str) else t.decode("utf-8", "replace") for t in list(twice)[:most])


class _NeedMoreError(Exception):
    """The header goes on behind the bytes read so far, at least to `end`."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class _Parser:
    """A position in the first bytes of a file of `size` bytes."""

    def __init__(self, path: Path, data: bytes, size: int, vocabularies: Vocabularies | None = None) -> None:
        self._path = path
        self._vocabularies = vocabularies
        self._data = data
        self._size = size
        self._at = 0
        self._strings_left = _STRINGS_LIMIT
        self._arrays_left = _ARRAYS_LIMIT

    def at(self, offset: int) -> _Parser:
        self._at = offset
        return self

    def header(self) -> GgufHeader:
        version, tensor_count, key_count = self._start()
        metadata = self._metadata(key_count)
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
            raise self._damage("its alignment is no power of two")
        tensors = self._tensors(tensor_count, alignment)
        data_offset = -(-self._at // alignment) * alignment  # rounded up
        architecture = _text(metadata, "general.architecture")
        context = metadata.get(f"{architecture}.context_length")
        return GgufHeader(
            path=self._path,
            version=version,
            metadata=metadata,
            tensors=tensors,
            architecture=architecture,
            name=_text(metadata, "general.name"),
            quant=quant_of(metadata, tensors),
            parameters=sum(tensor.elements for tensor in tensors),
            context_length=context if type(context) is int and context > 0 else 0,
            chat_template=_text(metadata, "tokenizer.chat_template"),
            alignment=alignment,
            data_offset=data_offset,
            data_bytes=tensors[-1].offset + tensors[-1].nbytes if tensors else 0,
            file_bytes=self._size,
        )

    def _start(self) -> tuple[int, int, int]:
        if self._data[:4] != b"GGUF":
            raise not_gguf(self._path, self._data)
        self._at = 4
        (version,) = self._take(_WORD)
        if version not in {2, 3}:
            raise wrong_version(self._path, version)
        tensor_count, key_count = self._take(_COUNTS)
        # The smallest entries: an empty name or key, a type, and one byte of value or no dimensions.
        if tensor_count > min(_TENSORS_LIMIT, self._size // 24):
            raise self._damage(f"it claims {tensor_count} tensors")
        if key_count > min(_KEYS_LIMIT, self._size // 13):
            raise self._damage(f"it claims {key_count} entries of metadata")
        return version, tensor_count, key_count

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in repeat(None, count):
            key = self._string().decode("utf-8", "backslashreplace")
            if not key:
                raise self._damage("a key of its metadata is empty")
            if key in metadata:
                raise self._damage(f"the key {short(key)} stands twice in its metadata")
            (kind,) = self._take(_WORD)
            metadata[key] = self._value(kind, key)
        return metadata

    def _value(self, kind: int, key: str) -> Any:
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return self._take(scalar)[0]
        if kind == STRING:
            return self._string().decode("utf-8", "replace")
        if kind == ARRAY:
            return self._skip_array(0)
        raise self._damage(f"the value of {short(key)} has the unknown type {kind}")

    def _skip_array(self, depth: int) -> GgufArray:
        """Go to the end of an array without taking memory for its elements."""
        kind, count = self._take(_ENTRY)
        array = GgufArray(kind, count, self._at)
        if kind in _SCALARS:
            self._move(count * _SCALARS[kind].size)
        elif kind == STRING:
            self._strings_left -= count
            self._refuse_unless(self._strings_left >= 0 and count * 8 <= self._size - self._at, count)
            self._skip_strings(count)
        elif kind == ARRAY:
            if depth == _NESTING_LIMIT:
                raise self._damage("its arrays are nested too deep")
            self._arrays_left -= count
            self._refuse_unless(self._arrays_left >= 0 and count * 12 <= self._size - self._at, count)
            for _ in repeat(None, count):
                self._skip_array(depth + 1)
        else:
            raise self._damage(f"an array holds elements of the unknown type {kind}")
        return array

    def _refuse_unless(self, possible: bool, count: int) -> None:
        if not possible:
            raise self._damage(f"it claims an array of {count} elements")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary and its merges are several hundred thousand strings: this loop is most of the time a
        # header takes. It needs no check inside: a wrong length makes the next read fail.
        at = self._at
        data = self._data
        known = self._vocabularies
        if known is not None and (length := known.length_at(data, at, count)):
            self._at = at + length
            return
        length_at = _LENGTH.unpack_from
        try:
            for _ in repeat(None, count):
                at += 8 + length_at(data, at)[0]
        except (struct.error, OverflowError):
            self._need(self._at, at + 8)
        self._need(self._at, at)
        if known is not None:
            known.add(count, data[self._at : at])
        self._at = at

    def _tensors(self, count: int, alignment: int) -> tuple[TensorInfo, ...]:
        tensors: list[TensorInfo] = []
        names: set[bytes] = set()
        expected = 0
        for _ in repeat(None, count):
            raw = self._string()
            name = raw.decode("utf-8", "backslashreplace")
            if len(raw) >= _NAME_LIMIT or raw in names:
                raise self._damage(f"the tensor name {short(name)} is too long or stands twice")
            names.add(raw)
            tensor = self._tensor(name)
            if tensor.offset != expected:
                raise self._damage(f"the tensor {short(name)} is not where it should be")
            expected = -(-(expected + tensor.nbytes) // alignment) * alignment
            tensors.append(tensor)
        return tuple(tensors)

    def _tensor(self, name: str) -> TensorInfo:
        (dimensions,) = self._take(_WORD)
        if dimensions > 4:
            raise self._damage(f"the tensor {short(name)} has {dimensions} dimensions")
        shape: tuple[int, ...] = self._take(_SHAPES[dimensions])
        number, offset = self._take(_ENTRY)
        elements = 1
        for length in shape:
            elements *= length
        # Each length by itself, too: a zero beside a huge one would hide it.
        if max(shape, default=0) > _ELEMENTS_LIMIT or elements > _ELEMENTS_LIMIT:
            raise self._damage(f"the tensor {short(name)} has an impossible shape")
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            raise unknown_type(self._path, name, number)
        if (shape[0] if shape else 1) % kind.block:
            raise self._damage(f"the rows of {short(name)} do not fit its type {kind.name}")
        return TensorInfo(name, shape, kind, offset, elements // kind.block * kind.size, elements)

    def array(self, array: GgufArray) -> list[Any]:
        """The elements of an array that was walked before, from this position on."""
        if array.type == STRING:
            return [raw.decode("utf-8", "replace") for raw in self.strings(array.count)]
        if array.type == ARRAY:
            inner = []
            for _ in repeat(None, array.count):
                kind, count = self._take(_ENTRY)
                inner.append(self.array(GgufArray(kind, count, self._at)))
            return inner
        scalar = _SCALARS[array.type]
        if array.count > _STRINGS_LIMIT:
            raise self._damage(f"it claims an array of {array.count} elements")
        return list(self._take(struct.Struct(f"<{array.count}{scalar.format[1:]}")))

    def strings(self, count: int) -> list[bytes]:
        """`count` strings, raw."""
        found: list[bytes] = []
        at = self._at
        data = self._data
        length_at = struct.Struct("<Q").unpack_from
        try:
            for _ in repeat(None, count):
                start = at + 8
                at = start + length_at(data, at)[0]
                found.append(data[start:at])
        except (struct.error, OverflowError):
            self._need(self._at, at + 8)
        self._need(self._at, at)
        self._at = at
        return found

    def _string(self) -> bytes:
        (length,) = self._take(_LENGTH)
        if length > _STRING_LIMIT:
            raise self._damage(f"it claims a text of {length} bytes")
        start = self._at
        self._move(length)
        return self._data[start : self._at]

    def _take(self, form: struct.Struct) -> tuple[Any, ...]:
        start = self._at
        end = start + form.size
        if end > len(self._data):
            self._need(start, end)
        self._at = end
        return form.unpack_from(self._data, start)

    def _move(self, size: int) -> None:
        end = self._at + size
        if end > len(self._data):
            self._need(self._at, end)
        self._at = end

    def _need(self, start: int, end: int) -> None:
        """Make sure the bytes up to `end` were read."""
        if end > self._size:
            if end - start > _HEADER_LIMIT:
                raise self._damage("a length in its header is impossible")
            raise SlmDeskError(
                "gguf_truncated",
                f"{self._path.name} ends in the middle of its header.",
                f"It was cut off or is damaged. {DOWNLOAD_AGAIN}",
            )
        if end > len(self._data):
            raise _NeedMoreError(end)

    def _damage(self, what: str) -> SlmDeskError:
        return damaged(self._path, what)


def _array_parser(path: Path, header: GgufHeader) -> _Parser:
    """A parser over the header's bytes, read again."""
    end = min(header.data_offset, header.file_bytes, _HEADER_LIMIT)
    try:
        with path.open("rb") as file:
            data = file.read(end)
    except OSError as error:
        raise unreadable(path, error) from error
    return _Parser(path, data, len(data))


def quant_of(metadata: dict[str, Any], tensors: tuple[TensorInfo, ...]) -> str:
    """The file type's name; where the file does not tell, the type that most of its bytes have."""
    number = metadata.get("general.file_type")
    if type(number) is int and (name := BY_FILE_TYPE.get(number & ~GUESSED)):
        return name
    totals: dict[str, int] = {}
    for tensor in tensors:
        totals[tensor.type.name] = totals.get(tensor.type.name, 0) + tensor.nbytes
    return max(totals, key=lambda name: totals[name], default="")


def _text(metadata: dict[str, Any], key: str) -> str:
    value = metadata.get(key)
    return value if isinstance(value, str) else ""
