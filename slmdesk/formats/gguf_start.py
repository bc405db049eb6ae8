"""The first entries of a GGUF file from its first bytes: enough to tell what the file is, without its vocabulary."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from slmdesk.formats.gguf import ARRAY, STRING, GgufHeader

FIRST_BYTES = 64 * 1024
_SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def start_of(name: str, data: bytes) -> GgufHeader | None:
    """What the entries of metadata before the first one that `data` does not hold whole say, without tensors; arrays
    are left out. None where the data is no GGUF file's.

    Nothing is checked: what is odd ends the reading. `gguf.parse_header` is for headers that are to be believed.
    """
    if len(data) < 24 or data[:4] != b"GGUF":
        return None
    version, _, keys = struct.unpack_from("<IQQ", data, 4)
    metadata: dict[str, Any] = {}
    at = 24
    try:
        for _ in range(min(keys, 4096)):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            value, at = _value(data, at + 4, kind)
            if value is not None:
                metadata[key] = value
    except (struct.error, ValueError, OverflowError):
        pass  # it goes on behind these bytes
    architecture = metadata.get("general.architecture")
    return GgufHeader(
        path=Path(Path(name).name or "model.gguf"),
        version=version,
        metadata=metadata,
        tensors=(),
        architecture=architecture if isinstance(architecture, str) else "",
        name="",
        quant="",
        parameters=0,
        context_length=0,
        chat_template="",
        alignment=32,
        data_offset=0,
        data_bytes=0,
        file_bytes=0,
    )


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == STRING:
        return _string(data, at)
    if kind != ARRAY:
        form = "<" + _SIZES.get(kind, "!")
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner == STRING:
        for _ in range(count):
            _, at = _string(data, at)
        return None, at
    return None, at + count * struct.calcsize("<" + _SIZES.get(inner, "!"))


def _string(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise ValueError(end)
    return data[at + 8 : end].decode("utf-8", "replace"), end
