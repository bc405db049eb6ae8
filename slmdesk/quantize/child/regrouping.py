"""In the child: a GGUF split into parts, or parts joined into one: written, and read again."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.files import writing_error
from slmdesk.formats import gguf_pieces as pieces
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.regroup_plan import FilePlan, join_plan, part_names, split_plan
from slmdesk.quantize.source import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from slmdesk.formats.gguf_pieces import PlacedTensor
    from slmdesk.quantize.child.main import Teller
    from slmdesk.quantize.protocol import RegroupSpec

_STEP = 4 * 1024 * 1024


def run(spec: RegroupSpec, tell: Teller) -> dict[str, Any]:
    """In the child: write the files and read them again. The result: `files` (name, bytes, sha256), `tensors`,
    `seconds`.

    Raises `SlmDeskError`: `source_changed`, `check_failed`, `disk_full`, `file_unwritable`, and as the plans do.
    """
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
