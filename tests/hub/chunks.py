"""Chunk storage (xet) as the hub's: how a file is put together from chunks, and the blocks they lie in.

The formats are those of the Xet protocol specification (huggingface.co/docs/xet: api, download-protocol, xorb): a
block ("xorb") is a row of chunks, each with a header of eight bytes. Nothing is compressed here, every chunk but a
file's last has the same size, and blocks are named by their file, not by their content.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .repositories import HubFile

CHUNK = 65_536
HEADER = 8
IN_BLOCK = 64
"""Chunks in one block."""


def block_name(file: HubFile, number: int) -> str:
    return f"{file.sha256[:56]}{number:08x}"


def reconstruction(file: HubFile, first: int, last: int, address: Callable[[str], str]) -> dict[str, Any]:
    """The answer for the bytes `first` to `last` (included); `address` tells where a block is fetched."""
    begin, end = first // CHUNK, last // CHUNK + 1
    terms, places = [], {}
    for number in range(begin // IN_BLOCK, (end - 1) // IN_BLOCK + 1):
        chunks = range(max(begin, number * IN_BLOCK), min(end, (number + 1) * IN_BLOCK))
        inner = {"start": chunks.start % IN_BLOCK, "end": chunks.start % IN_BLOCK + len(chunks)}
        length = min(chunks.stop * CHUNK, file.size) - chunks.start * CHUNK
        name = block_name(file, number)
        terms.append({"hash": name, "unpacked_length": length, "range": inner})
        begins = inner["start"] * (CHUNK + HEADER)
        places[name] = [
            {
                "range": inner,
                "url": address(name),
                "url_range": {"start": begins, "end": begins + length + len(chunks) * HEADER - 1},
            }
        ]
    return {"offset_into_first_range": first - begin * CHUNK, "terms": terms, "fetch_info": places}


def block(file: HubFile, number: int) -> bytes:
    """All chunks of a block, each behind version, packed size, compression (none) and size."""
    content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    written = bytearray()
    start = number * IN_BLOCK * CHUNK
    for at in range(start, min(start + IN_BLOCK * CHUNK, file.size), CHUNK):
        chunk = content[at : at + CHUNK]
        size = len(chunk).to_bytes(3, "little")
        written += b"\0" + size + b"\0" + size + chunk
    return bytes(written)
