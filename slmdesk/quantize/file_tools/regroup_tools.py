"""Splitting a GGUF into parts, and joining parts into one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf_pieces import open_parts
from slmdesk.quantize.file_tools.tool_plan import (
    FileTool,
    Made,
    MadeFile,
    OutputFile,
    ToolPlan,
    target_file,
)
from slmdesk.quantize.protocol import RegroupSpec
from slmdesk.quantize.regroup_plan import join_plan, part_names, split_plan
from slmdesk.quantize.source import fingerprint, parts_of, stem_of

if TYPE_CHECKING:
    from slmdesk.formats.gguf import GgufHeader
    from slmdesk.quantize.file_tools.tool_requests import JoinRequest, SplitRequest
    from slmdesk.quantize.file_tools.tool_work import ToolWork

SMALLEST_PART = 1_000_000  # bytes
_WRITING, _TRYING = (0.0, 0.8), (0.8, 1.0)


class SplitTool(FileTool):
    def __init__(self, request: SplitRequest, home: Path) -> None:
        self._request = request
        self._source = Path(request.source)
        self._home = home

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `split_limit`, `split_needless`, `split_too_many`, `split_unsuitable`,
        `source_parts_missing`, `source_parts_mixed`, and as `gguf.read_header`."""
        request = self._request
        _check_limits(request)
        headers = _headers(self._source)
        plans = split_plan(
            headers,
            max_bytes=request.max_bytes,
            max_tensors=request.max_tensors,
            metadata_first=request.metadata_first,
        )
        folder, stem = self._place()
        names = part_names(stem, len(plans))
        files = tuple(OutputFile(folder / name, plan.bytes) for name, plan in zip(names, plans, strict=True))
        largest = max(plan.bytes for plan in plans)
        warnings: tuple[str, ...] = ()
        if request.max_bytes and largest > request.max_bytes:
            warnings = (
                f"The largest part is {amounts.size(largest)}: one of its tensors alone is larger than the limit.",
            )
        return ToolPlan(
            f"Split {self._source.name} into {len(files)} parts",
            files,
            warnings=warnings,
            facts={"source": str(self._source), "parts": len(files), "largest_bytes": largest},
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        request = self._request
        _, stem = self._place()
        spec = RegroupSpec(
            str(self._source),
            str(work.folder),
            stem,
            max_bytes=request.max_bytes,
            max_tensors=request.max_tensors,
            metadata_first=request.metadata_first,
        )
        return await _regrouped(work, plan, spec, self._source)

    def _place(self) -> tuple[Path, str]:
        stem = stem_of(self._source, "")
        if not self._request.output:
            return self._home, stem
        path = Path(self._request.output).expanduser().absolute()
        return (path.parent, path.stem) if path.suffix.lower() == ".gguf" else (path, stem)


class JoinTool(FileTool):
    def __init__(self, request: JoinRequest, home: Path) -> None:
        self._source = Path(request.source)
        self._target = target_file(request.output, home, f"{stem_of(self._source, '')}.gguf")

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `join_needless`, `source_parts_missing`, `source_parts_mixed`, and as
        `gguf.read_header`."""
        headers = _headers(self._source)
        return ToolPlan(
            f"Join the parts of {self._target.stem}",
            (OutputFile(self._target, join_plan(headers).bytes),),
            facts={"source": str(self._source), "parts": len(headers)},
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        spec = RegroupSpec(str(self._source), str(work.folder), self._target.stem)
        return await _regrouped(work, plan, spec, self._source)


async def _regrouped(work: ToolWork, plan: ToolPlan, spec: RegroupSpec, source: Path) -> Made:
    parts = parts_of(source)
    before = fingerprint(parts)
    found = await work.child(spec, "copying", _WRITING)
    if fingerprint(parts) != before:
        raise SlmDeskError(
            "source_changed",
            f"{source.name} was changed while it was copied.",
            "Start again when nothing writes to it any more.",
        )
    partial = [work.folder / entry["name"] for entry in found["files"]]
    header = _headers(source)[0]
    note = ""
    if header.kind == "model" and header.architecture:
        note = await work.check_loads(partial, _TRYING, source=parts[0])
    files = tuple(
        MadeFile(path, planned.path, entry["sha256"])
        for path, planned, entry in zip(partial, plan.files, found["files"], strict=True)
    )
    facts = {"tensors": found["tensors"], **({"note": note} if note else {})}
    return Made(files, facts, header.licence)


def _check_limits(request: SplitRequest) -> None:
    if (
        bool(request.max_bytes) == bool(request.max_tensors)
        or request.max_bytes < 0
        or request.max_tensors < 0
    ):
        raise SlmDeskError(
            "split_limit",
            "Either a size or a number of tensors says where to split, and not both.",
            "For example: at most 2 GB, or at most 128 tensors for each part.",
        )
    if 0 < request.max_bytes < SMALLEST_PART:
        raise SlmDeskError(
            "split_limit",
            f"Parts of {request.max_bytes} bytes are too small.",
            f"Choose at least {SMALLEST_PART // 10**6} MB.",
        )


def _headers(source: Path) -> list[GgufHeader]:
    return open_parts(parts_of(source))
