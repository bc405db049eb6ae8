"""Splitting a GGUF into parts and joining parts into one: which tensor goes where, and (in the child) writing it.

Names and keys are those of llama.cpp's gguf-split: `NAME-00001-of-0000N.gguf`, `split.no`, `split.count`,
`split.tensors.count`; the first part has the metadata. Unlike there, a part's limit counts its header too, and a file
made of parts has no `split.` keys left, so that it is the file that was split.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.formats import gguf_pieces as pieces
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.protocol import RegroupSpec
from slmdesk.quantize.source import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO

    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.formats.gguf_pieces import PlacedTensor
    from slmdesk.quantize.child import Teller

MOST_PARTS = 9999
_NO, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_STEP = 4 * 1024 * 1024


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


def run(data: Mapping[str, Any], tell: Teller) -> dict[str, Any]:
    """In the child: write the files and read them again. The result: `files` (name, bytes, sha256), `tensors`,
    `seconds`.

    Raises `SlmDeskError`: `source_changed`, `check_failed`, `disk_full`, `file_unwritable`, and as the plans do.
    """
    spec = RegroupSpec.from_json(data)
    started = time.perf_counter()
    headers = pieces.open_parts(parts_of(Path(spec.source)))
    if spec.max_bytes or spec.max_tensors:
        plans = split_plan(
            headers,
            max_bytes=spec.max_bytes,
            max_tensors=spec.max_tensors,
            metadata_first=spec.metadata_first,
        )
        names = part_names(spec.name, len(plans))
    else:
        plans, names = [join_plan(headers)], [f"{spec.name}.gguf"]
    total = 2 * sum(plan.bytes for plan in plans)
    done = 0

    def came(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total)

    written = [
        (Path(spec.folder) / name, plan, write_file(Path(spec.folder) / name, plan, came))
        for name, plan in zip(names, plans, strict=True)
    ]
    files = [
        {"name": path.name, "bytes": plan.bytes, "sha256": checked_file(path, plan, digests, came)}
        for path, plan, digests in written
    ]
    return {
        "files": files,
        "tensors": sum(len(plan.tensors) for plan in plans),
        "seconds": time.perf_counter() - started,
    }


def write_file(path: Path, plan: FilePlan, came: Any) -> dict[str, bytes]:
    """Write one file, to the disk; the digest of each tensor's bytes as they were read. `came(bytes)` is called while
    it goes. Raises `SlmDeskError`: `source_changed`, `disk_full`, `file_unwritable`."""
    start = pieces.head(plan.metadata, plan.tensors, plan.alignment)
    digests: dict[str, bytes] = {}
    opened: dict[Path, BinaryIO] = {}
    try:
        with path.open("wb") as target:
            target.write(start)
            came(len(start))
            for tensor in plan.tensors:
                if tensor.file not in opened:
                    opened[tensor.file] = _open_source(tensor.file)
                digests[tensor.name] = _copy(opened[tensor.file], tensor, target, came)
                target.write(bytes(pieces.padded(tensor.nbytes, plan.alignment) - tensor.nbytes))
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        for file in opened.values():
            file.close()
    return digests


def checked_file(path: Path, plan: FilePlan, digests: Mapping[str, bytes], came: Any) -> str:
    """Read a written file again: its size, its header, each tensor's bytes. Returns its SHA-256.

    Raises `SlmDeskError("check_failed")`.
    """
    header = read_header(path)
    there = {tensor.name: tensor for tensor in header.tensors}
    if header.file_bytes != plan.bytes or list(there) != [tensor.name for tensor in plan.tensors]:
        raise _failed(path, "it is not as long as it was written, or lacks tensors")
    whole = hashlib.sha256()
    with path.open("rb") as file:
        whole.update(file.read(header.data_offset))
        came(header.data_offset)
        for tensor in header.tensors:
            _skip(file, header.data_offset + tensor.offset, whole)
            own = hashlib.sha256()
            left = tensor.nbytes
            while left:
                chunk = file.read(min(left, _STEP))
                if not chunk:
                    raise _failed(path, f"{tensor.name} is cut off")
                own.update(chunk)
                whole.update(chunk)
                left -= len(chunk)
                came(len(chunk))
            if own.digest() != digests[tensor.name]:
                raise _failed(path, f"{tensor.name} is not what was written")
        _skip(file, header.file_bytes, whole)
    return whole.hexdigest()


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


def _open_source(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _gone(path) from error


def _copy(source: BinaryIO, tensor: PlacedTensor, target: BinaryIO, came: Any) -> bytes:
    digest = hashlib.sha256()
    left = tensor.nbytes
    try:
        source.seek(tensor.at)
    except OSError as error:
        raise _gone(tensor.file) from error
    while left:
        try:
            chunk = source.read(min(left, _STEP))
        except OSError as error:
            raise _gone(tensor.file) from error
        if not chunk:
            raise _gone(tensor.file)
        target.write(chunk)
        digest.update(chunk)
        left -= len(chunk)
        came(len(chunk))
    return digest.digest()


def _skip(file: BinaryIO, to: int, digest: Any) -> None:
    digest.update(file.read(to - file.tell()))


def _gone(path: Path) -> SlmDeskError:
    return SlmDeskError(
        "source_changed",
        f"{path.name} could not be read to its end: it was changed, or its disk went away.",
        "Check that its disk is connected and that nothing writes to it, and start again.",
    )


def _failed(path: Path, why: str) -> SlmDeskError:
    return SlmDeskError(
        "check_failed",
        f"{path.name} was written, but fails its check: {why}.",
        "Try again; if it happens again, check the disk and the memory of this machine.",
    )
