"""The last steps of a file: its header is read, it is moved into place, and the library is told where it is from."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.downloads.hashing import hash_of
from slmdesk.downloads.transfer import disk_error
from slmdesk.formats import gguf, onnx, safetensors
from slmdesk.formats.purpose import not_for_chat
from slmdesk.library import sidecar
from slmdesk.library.names import split_part
from slmdesk.library.sidecar import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slmdesk.downloads.plan import DownloadPlan, PlannedFile

_log = logging.getLogger(__name__)
_REPLACE_TRIES = 20  # Windows refuses while a scanner looks at the file


def already_there(plan: DownloadPlan, file: PlannedFile, *, look_inside: bool = True) -> bool:
    """Whether the very file lies in its place already: by the sidecar, or, with `look_inside`, by its content.

    Blocks; hashing a file takes a while.
    """
    target = plan.target(file)
    try:
        status = target.stat()
    except OSError:
        return False
    if status.st_size != file.size:
        return False
    known = sidecar.read(plan.folder).get(file.local)
    if known is not None and known.state == "verified" and known.modified_ns == status.st_mtime_ns:
        if file.sha256:
            return known.sha256 == file.sha256
        return known.extra.get("git_oid") == file.oid
    if not look_inside:
        return False
    try:
        if hash_of(target, file) != file.key:
            return False
    except OSError:
        return False
    _note(plan, file, target)
    return True


def arrive(plan: DownloadPlan, file: PlannedFile) -> None:
    """Move a checked partial file into its place. Blocks.

    Raises `DiskError`, or what is wrong with the file's header: such a file stays set aside.
    """
    partial, target = plan.partial(file), plan.target(file)
    try:
        _check_header(plan, file, partial)
    except SlmDeskError:
        with suppress(OSError):
            partial.replace(plan.quarantine(file))
        raise
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(partial, target)
        plan.quarantine(file).unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(plan, target, error) from error
    _note(plan, file, target, {sidecar.UNFLUSHED: sidecar.this_boot()})


def flush(plan: DownloadPlan, file: PlannedFile) -> None:
    """Let the disk have what arrived, and take that down. Blocks for as long as the disk takes; never raises.

    Until then the file counts as verified only while the system runs: a power cut may still take it.
    """

    def flushed(_: str, origin: Origin) -> Origin:
        rest = {key: value for key, value in origin.extra.items() if key != sidecar.UNFLUSHED}
        return replace(origin, extra=rest)

    try:
        descriptor = os.open(plan.target(file), os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if file.local in sidecar.read(plan.folder):
            sidecar.change(plan.folder, [file.local], flushed)
    except (OSError, SlmDeskError) as error:
        _log.warning("%s is not known to be on the disk: %s", plan.target(file), error)


def _check_header(plan: DownloadPlan, file: PlannedFile, path: Path) -> None:
    """A file may be what the hub promised and yet be damaged."""
    name = file.local.lower()
    try:
        if name.endswith(".gguf"):
            _check_gguf(file, path)
        elif name.endswith(".safetensors"):
            safetensors.read_header(path)
        elif name.endswith(".onnx"):
            onnx.read_header(path)
    except SlmDeskError as error:
        if error.code == "safetensors_type_unknown":
            _log.warning("%s of %s was taken as it is: %s", file.path, plan.repo, error)
            return
        # What came is what the publisher put there, under a name of ours; the person knows it by theirs.
        message = error.message.replace(path.name, file.local)
        hint = "It came as its publisher put it on the hub. Choose another file, or ask the publisher."
        raise SlmDeskError(error.code, message, hint) from error


def _check_gguf(file: PlannedFile, path: Path) -> None:
    header = gguf.read_header(path)
    if (
        not_for_chat(header) is not None
    ):  # a projector, an importance matrix: whole, with less to say of itself
        gguf.check_weights(header)
        return
    split = split_part(file.local.rpartition("/")[2].rpartition(".")[0])
    if split is None or split[1] == 1:
        # The first part of a split model may hold metadata alone.
        if header.tensors or split is None:
            gguf.check(header)
    else:
        gguf.check_weights(header)


def _note(plan: DownloadPlan, file: PlannedFile, target: Path, more: Mapping[str, str] | None = None) -> None:
    try:
        status = target.stat()
    except OSError as error:
        raise disk_error(plan, target, error) from error
    origin = Origin(
        state="verified",
        size=file.size,
        sha256=file.sha256,
        repo=plan.repo,
        revision=plan.revision,
        licence=plan.licence,
        source="hub",
        checked_at=time.time(),
        modified_ns=status.st_mtime_ns,
        extra={
            key: value
            for key, value in (("git_oid", file.oid), ("flag", file.flag), *(more or {}).items())
            if value
        },
    )
    sidecar.record(plan.folder, {file.local: origin})


def _replace(source: Path, target: Path) -> None:
    for attempt in range(_REPLACE_TRIES):
        try:
            source.replace(target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_TRIES - 1:
                raise
            time.sleep(0.05)
