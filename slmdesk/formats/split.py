"""A model in several GGUF files as one model: publishers cut large ones, some with a first part of metadata alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import check_weights, quant_of, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.formats.gguf import GgufHeader

_PART = re.compile(r"(.+-)\d{5}(-of-\d{5}\.gguf)")


def parts_of(path: Path) -> list[Path]:
    """All parts of a split model in order, given any of them (`name-00001-of-00003.gguf`); else the path alone."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return [path]
    return sorted(
        file
        for file in path.parent.iterdir()
        if file.name.startswith(part[1]) and file.name.endswith(part[2])
    )


def read_whole(path: Path) -> GgufHeader:
    """The header of a model, with the tensors and the size of all its parts where `path` is the first of several.

    Offsets are those of each tensor's own part. Raises `SlmDeskError` as `gguf.read_header` and
    `gguf.check_weights`, and `model_parts_missing`.
    """
    header = read_header(path)
    count = header.metadata.get("split.count", 1)
    if not isinstance(count, int) or count < 2 or header.metadata.get("split.no") != 0:
        return header
    parts = parts_of(path)
    if len(parts) != count:
        raise SlmDeskError(
            "model_parts_missing",
            f"{path.name} is one of {count} parts; {len(parts)} lie beside each other under such names.",
            "Put the missing parts into the same folder, or download the model again.",
        )
    headers = [header, *(read_header(part) for part in parts if part != path)]
    for one in headers:
        check_weights(one)
    return joined(headers)


def joined(headers: Sequence[GgufHeader]) -> GgufHeader:
    """One header for the parts of a model, the first part's first."""
    first = headers[0]
    if len(headers) == 1:
        return first
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    return replace(
        first,
        tensors=tensors,
        quant=quant_of(first.metadata, tensors),
        parameters=sum(header.parameters for header in headers),
        file_bytes=sum(header.file_bytes for header in headers),
    )
