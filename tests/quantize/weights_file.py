"""safetensors files as tests want them, whole or damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def write_weights(path: Path, tensors: dict[str, tuple[str, bytes, list[int]]]) -> None:
    """Write tensors: a type, bytes and a shape each."""
    header, data = {}, b""
    for name, (kind, content, shape) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
