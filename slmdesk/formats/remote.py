"""Reading a model's header where the model lies: the first bytes by range requests, nothing of the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from slmdesk.formats.gguf import GgufHeader

    # The bytes of the file from `start` up to, not including, `end`; fewer where it ends before.
    Fetch = Callable[[int, int], Awaitable[bytes]]

_UNKNOWN_SIZE = 2**50  # bytes; above any file, so that only the header's own limits hold


async def read_remote_header(fetch: Fetch, *, name: str = "model.gguf", file_bytes: int = 0) -> GgufHeader:
    """The header of a GGUF file elsewhere, checked as a local one; short arrays of numbers are lists.

    Fetches the first mebibyte, then as much more as the header takes. `file_bytes` 0: not known, then the header's own
    sum stands for it. Raises what `fetch` raises, and `SlmDeskError` as `gguf.read_header`.
    """
    path = Path(Path(name).name or "model.gguf")
    size = file_bytes or _UNKNOWN_SIZE
    data = await fetch(0, min(gguf.FIRST_READ, size))
    while isinstance(header := gguf.parse_header(path, data, size), int):
        more = await fetch(len(data), min(header, size))
        if not more:
            raise SlmDeskError(
                "gguf_truncated",
                f"{path.name} ends in the middle of its header.",
                "The file at its source is not complete; choose another one.",
            )
        data += more
    header = gguf.with_short_arrays(header, data)
    if not file_bytes:
        header = replace(header, file_bytes=header.data_offset + header.data_bytes)
    return header
