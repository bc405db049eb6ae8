"""Reading what an ONNX file says of itself, without its graph: a walk over the outermost fields of the message.

The fields are those of `ModelProto` in onnx/onnx.proto, the encoding is that of protocol buffers. The graph holds
all weights that are not kept outside; its bytes are passed over, so a file of amounts.size takes a few small reads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 were groups, which ONNX never had
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSET = 1, 2, 3, 7, 8
# Each known field of ModelProto has its one wire type.
_WIRE = {
    1: _VARINT,
    2: _BYTES,
    3: _BYTES,
    4: _BYTES,
    5: _VARINT,
    6: _BYTES,
    7: _BYTES,
    8: _BYTES,
    14: _BYTES,
    20: _BYTES,
    25: _BYTES,
    26: _BYTES,
}
_FIELDS_LIMIT = 100_000  # functions and metadata repeat, one field each
_TEXT_LIMIT = 64 * 1024
_IR_LIMIT = 1_000  # the newest is 13
_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What one file says. `opset`: version by domain, "" being ONNX's own; `graph_bytes`: the graph's length."""

    ir_version: int
    producer: str
    producer_version: str
    opset: dict[str, int]
    graph_bytes: int


def read_header(path: Path) -> OnnxHeader:
    """Walk over the file's outermost fields and check that they end where the file does.

    Raises `SlmDeskError`: `file_missing`, `file_unreadable`, `not_onnx`, `onnx_truncated`, `onnx_damaged`.
    """
    try:
        with path.open("rb") as file:
            return _Walk(path.name, file, os.fstat(file.fileno()).st_size).header()
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


class _Walk:
    """A position in a message that ends at `end`."""

    def __init__(self, name: str, file: BufferedReader, end: int) -> None:
        self._name = name
        self._file = file
        self._at = 0
        self._end = end
        self._begun = False  # whether it was an ONNX model so far
        self._ir_version = 0
        self._graph_bytes = 0
        self._texts = {_PRODUCER: "", _PRODUCER_VERSION: ""}
        self._opset: dict[str, int] = {}

    def header(self) -> OnnxHeader:
        for _ in range(_FIELDS_LIMIT):
            if self._at == self._end:
                break
            self._field()
        else:
            self._damaged("it has more parts than a model can have")
        if not self._begun or not self._opset:
            self._damaged("it does not say which operators it uses")
        if not self._graph_bytes:
            self._damaged("it holds no graph")
        producer, version = self._texts[_PRODUCER], self._texts[_PRODUCER_VERSION]
        return OnnxHeader(self._ir_version, producer, version, self._opset, self._graph_bytes)

    def _field(self) -> None:
        field, wire = self._key()
        if _WIRE.get(field, wire) != wire:
            self._damaged(f"its field {field} has a wrong type")
        if wire == _VARINT:
            number = self._varint()
            if field == _IR_VERSION:
                if not 0 < number <= _IR_LIMIT:
                    self._damaged(f"its format has the impossible version {number}")
                self._ir_version = number
                self._begun = True
        elif wire == _BYTES:
            self._content(field, self._length())
        else:
            self._pass(8 if wire == _FIXED64 else 4)

    def _content(self, field: int, length: int) -> None:
        if field in self._texts:
            self._texts[field] = self._text(length)
        elif field == _OPSET:
            domain, version = self._operators(length)
            self._opset[domain] = version
        else:
            if field == _GRAPH:
                self._graph_bytes = length
            self._pass(length)

    def _operators(self, length: int) -> tuple[str, int]:
        """One `OperatorSetIdProto`: a domain (1) and a version (2)."""
        end = self._at + length
        domain, version = "", 0
        while self._at < end:
            field, wire = self._key()
            if (field, wire) == (1, _BYTES):
                domain = self._text(self._length())
            elif (field, wire) == (2, _VARINT):
                version = self._varint()
            else:
                self._damaged("its list of operators is not one")
        if self._at != end:
            self._damaged("its list of operators is not one")
        # "ai.onnx" is the long name of the domain without one.
        return "" if domain == "ai.onnx" else domain, version

    def _key(self) -> tuple[int, int]:
        key = self._varint()
        field, wire = key >> 3, key & 7
        if not field or wire not in {_VARINT, _FIXED64, _BYTES, _FIXED32}:
            self._damaged("what should be a field is none")
        return field, wire

    def _varint(self) -> int:
        value = 0
        for position in range(_VARINT_BYTES):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << 7 * position
            if not byte & 0x80:
                break
        else:
            self._damaged("a number in it has no end")
        return value

    def _length(self) -> int:
        length = self._varint()
        if length > self._end - self._at:
            self._truncated()
        return length

    def _text(self, length: int) -> str:
        if length > _TEXT_LIMIT:
            self._damaged(f"it claims a name of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            self._truncated()
        self._at += count
        return data

    def _pass(self, count: int) -> None:
        if count > self._end - self._at:
            self._truncated()
        self._at += count
        self._file.seek(self._at)

    def _damaged(self, what: str) -> NoReturn:
        if not self._begun:
            raise SlmDeskError(
                "not_onnx",
                f"{self._name} is no ONNX model.",
                "It may be something else under a wrong name, or the page of a server that asked you to sign in.",
            )
        raise SlmDeskError(
            "onnx_damaged", f"{self._name} is damaged: {what}.", "Download it again from its publisher."
        )

    def _truncated(self) -> NoReturn:
        if not self._begun:
            self._damaged("")
        raise SlmDeskError(
            "onnx_truncated",
            f"{self._name} is cut off.",
            "Download it again; an interrupted download leaves such a file.",
        )
