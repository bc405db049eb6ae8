"""An importance matrix by itself, and several added up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.quants import FULL_PRECISION
from slmdesk.quantize.file_tools.tool_plan import (
    FileTool,
    Made,
    MadeFile,
    OutputFile,
    ToolPlan,
    target_file,
)
from slmdesk.quantize.file_tools.tool_work import sha256_of
from slmdesk.quantize.matrix_forecast import matrix_bytes, sum_bytes
from slmdesk.quantize.protocol import ForecastSpec, MatrixMergeSpec, MatrixSpec
from slmdesk.quantize.source import open_source, stem_of
from slmdesk.quantize.texts import calibration_text

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.quantize.file_tools.tool_requests import MatrixRequest, MatrixSumRequest
    from slmdesk.quantize.file_tools.tool_work import ToolWork
    from slmdesk.quantize.source import SourceGguf
    from slmdesk.quantize.texts import TextFile

_SMALLEST_CHUNK = 32  # tokens; llama.cpp passes over batches of fewer than 16


class MatrixTool(FileTool):
    def __init__(self, request: MatrixRequest, home: Path, paths: Paths) -> None:
        self._request = request
        self._home = home
        self._paths = paths

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `chunk_invalid`, `text_unreadable`, `text_too_short`, and as `open_source`."""
        source, text, chunk = self._opened()
        name = f"{stem_of(source.path, source.quant)}.imatrix.gguf"
        warnings = []
        if source.quant not in FULL_PRECISION:
            warnings.append(
                f"{source.path.name} is quantized ({source.quant}): the matrix of the full model is a little better."
            )
        return ToolPlan(
            f"Importance matrix of {stem_of(source.path, source.quant)}",
            (
                OutputFile(
                    target_file(self._request.output, self._home, name),
                    matrix_bytes(source.header, text.name),
                ),
            ),
            exact=False,
            warnings=tuple(warnings),
            facts={"source": str(source.path), "text": text.name, "chunk_size": chunk},
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        source, text, chunk = await asyncio.to_thread(self._opened)
        counted = await work.child(
            ForecastSpec(str(source.path), [], texts=(str(text.path),)), "counting tokens", (0.0, 0.02)
        )
        _check_length(text, counted["tokens"][0], chunk)
        partial = work.folder / "matrix.gguf"
        spec = MatrixSpec(
            source=str(source.path),
            text=str(text.path),
            output=str(partial),
            dataset=text.name,
            chunk=chunk,
            most_chunks=self._request.most_chunks,
            special=text.special,
            threads=self._request.threads,
        )
        found = await work.child(spec, "importance matrix", (0.02, 1.0))
        await asyncio.to_thread(source.check_unchanged)
        made = MadeFile(partial, plan.files[0].path, await asyncio.to_thread(sha256_of, partial))
        facts = {key: found[key] for key in ("chunks", "tokens", "entries")}
        return Made((made,), {**facts, "chunk_size": chunk, "text": text.name}, source.header.licence)

    def _opened(self) -> tuple[SourceGguf, TextFile, int]:
        source = open_source(Path(self._request.source))
        text = calibration_text(self._paths, source.header, self._request.text)
        text.digest()  # whether it can be read
        chunk, most = self._request.chunk, source.header.context_length
        if chunk < _SMALLEST_CHUNK or self._request.most_chunks < 0:
            raise SlmDeskError(
                "chunk_invalid",
                f"{chunk} tokens are too few to be evaluated together.",
                f"Choose at least {_SMALLEST_CHUNK}; llama.cpp's tools take 512.",
            )
        return source, text, min(chunk, most) if most else chunk


class MatrixSumTool(FileTool):
    def __init__(self, request: MatrixSumRequest, home: Path) -> None:
        self._files = [Path(request.source), *map(Path, request.others)]
        self._chunk = request.chunk
        self._target = target_file(request.output, home, "merged.imatrix.gguf")

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `imatrix_alone`, `imatrix_mismatch`, `imatrix_missing`, `imatrix_unreadable`."""
        from slmdesk.quantize.matrix_file import read_matrix  # brings numpy
        from slmdesk.quantize.matrix_sum import merged

        if len(self._files) < 2:
            raise SlmDeskError(
                "imatrix_alone", "One importance matrix alone needs no merging.", "Name two or more."
            )
        whole = merged([(file.name, read_matrix(file)) for file in self._files], self._chunk)
        return ToolPlan(
            f"Merge {len(self._files)} importance matrices",
            (OutputFile(self._target, sum_bytes(whole)),),
            facts={
                "sources": [str(file) for file in self._files],
                "entries": len(whole.entries),
                "chunks": whole.chunks,
                "datasets": list(whole.datasets),
            },
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        partial = work.folder / "matrix.gguf"
        spec = MatrixMergeSpec([str(file) for file in self._files], str(partial), self._chunk)
        found = await work.child(spec, "merging")
        made = MadeFile(partial, plan.files[0].path, await asyncio.to_thread(sha256_of, partial))
        return Made((made,), found)


def _check_length(text: TextFile, tokens: int, chunk: int) -> None:
    if tokens < 2 * chunk:
        raise SlmDeskError(
            "text_too_short",
            f"{text.path.name} has {tokens} tokens; at least {2 * chunk} are needed.",
            "Choose a longer text.",
        )
