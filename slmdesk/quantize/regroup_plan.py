"""Splitting a GGUF into parts and joining parts into one: which tensor goes where.

Names and keys are those of llama.cpp's gguf-split: `NAME-00001-of-0000N.gguf`, `split.no`, `split.count`,
`split.tensors.count`; the first part has the metadata. Unlike there, a part's limit counts its header too, and a file
made of parts has no `split.` keys left, so that it is the file that was split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf_pieces as pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.formats.gguf_pieces import PlacedTensor

MOST_PARTS = 9999
_NO, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file to write. `metadata`: entries as they stand in a file (`gguf_pieces.raw_metadata`)."""

    metadata: Mapping[str, bytes]
    tensors: tuple[PlacedTensor, ...]
    alignment: int

    @property
    def bytes(self) -> int:
        """Its exact size."""
        return pieces.file_bytes(self.metadata, self.tensors, self.alignment)


def part_names(stem: str, count: int) -> list[str]:
    return [f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]


def split_plan(
    headers: Sequence[GgufHeader], *, max_bytes: int = 0, max_tensors: int = 0, metadata_first: bool = False
) -> list[FilePlan]:
    """The parts of a model: none larger than `max_bytes` (but for one that holds a single tensor), or none with more
    than `max_tensors` tensors. `metadata_first`: the first part holds no tensors.

    Raises `SlmDeskError`: `split_needless` where one part would do, `split_too_many`, `split_unsuitable` for a file
    without tensors.
    """
    raw, tensors, alignment = _pieces_of(headers)
    if not tensors:
        raise SlmDeskError(
            "split_unsuitable", f"{headers[0].path.name} holds no tensors.", "Choose a model's file."
        )
    own = {_NO: pieces.u16(0), _COUNT: pieces.u16(0), _TENSORS: pieces.i32(len(tensors))}
    wide = max(alignment, pieces.DEFAULT_ALIGNMENT)
    first = pieces.head_bytes({**raw, **own}, (), 1)
    later = pieces.head_bytes(own, (), 1)
    groups: list[list[PlacedTensor]] = [[], []] if metadata_first else [[]]
    filled, data = (later if metadata_first else first), 0
    for tensor in tensors:
        group = groups[-1]
        room = pieces.padded(filled + pieces.info_bytes(tensor), wide)
        full = max_bytes and room + data + pieces.padded(tensor.nbytes, wide) > max_bytes
        if group and (full or (max_tensors and len(group) >= max_tensors)):
            groups.append([])
            filled, data = later, 0
        groups[-1].append(tensor)
        filled += pieces.info_bytes(tensor)
        data += pieces.padded(tensor.nbytes, wide)
    _check_count(headers[0], len(groups))
    plans = []
    for number, group in enumerate(groups):
        keys = {_NO: pieces.u16(number), _TENSORS: own[_TENSORS], _COUNT: pieces.u16(len(groups))}
        # A later part names no alignment of its own, so it has the usual one.
        aligned = alignment if number == 0 else pieces.DEFAULT_ALIGNMENT
        plans.append(FilePlan({**raw, **keys} if number == 0 else keys, tuple(group), aligned))
    return plans


def join_plan(headers: Sequence[GgufHeader]) -> FilePlan:
    """All parts as one file. Raises `SlmDeskError("join_needless")` for a file that is no part."""
    if len(headers) == 1 and _COUNT not in headers[0].metadata:
        raise SlmDeskError(
            "join_needless",
            f"{headers[0].path.name} is one file already.",
            "Name the first part of a model in several files (…-00001-of-0000N.gguf).",
        )
    raw, tensors, alignment = _pieces_of(headers)
    return FilePlan(raw, tuple(tensors), alignment)


def _pieces_of(headers: Sequence[GgufHeader]) -> tuple[dict[str, bytes], list[PlacedTensor], int]:
    """The first part's metadata without what concerns parts, all tensors in order, and the alignment."""
    raw = pieces.raw_metadata(headers[0])
    for key in (_NO, _COUNT, _TENSORS):
        raw.pop(key, None)
    tensors = [tensor for header in headers for tensor in pieces.placed(header)]
    return raw, tensors, headers[0].alignment


def _check_count(header: GgufHeader, count: int) -> None:
    if count == 1:
        raise SlmDeskError(
            "split_needless",
            f"{header.path.name} fits into one part of that size.",
            "Choose a smaller size or fewer tensors for each part.",
        )
    if count > MOST_PARTS:
        raise SlmDeskError(
            "split_too_many",
            f"That would be {count} parts; at most {MOST_PARTS} can be named.",
            "Choose a larger size or more tensors for each part.",
        )
