"""Small files that are what their names say: random weights behind a right header, to the byte as long as wanted."""

from __future__ import annotations

import json
import random

_HEAD = 128  # bytes of header, with spaces at its end, as the format allows


def safetensors_head(count: int) -> bytes:
    """What stands before the one tensor of a safetensors file of `count` bytes; its bytes may be anything."""
    body = count - 8 - _HEAD
    tensor = {"weights": {"dtype": "U8", "shape": [body], "data_offsets": [0, body]}}
    return _HEAD.to_bytes(8, "little") + json.dumps(tensor).encode().ljust(_HEAD)


def safetensors_file(count: int, seed: int = 1) -> bytes:
    """A safetensors file of exactly `count` bytes."""
    head = safetensors_head(count)
    return head + random.Random(seed).randbytes(count - len(head))


def onnx_file(weights: int = 1000, seed: int = 1) -> bytes:
    """An ONNX model without nodes whose graph holds `weights` bytes: IR version 10, operators 21, and a producer."""
    graph = _field(2, b"graph") + _field(
        5, _field(8, b"w") + _field(9, random.Random(seed).randbytes(weights))
    )
    operators = _field(1, b"com.example") + _number(2, 1)
    return (
        _number(1, 10)
        + _field(2, b"slmdesk tests")
        + _field(3, b"1.0")
        + _field(7, graph)
        + _field(8, _number(2, 21))
        + _field(8, operators)
    )


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
