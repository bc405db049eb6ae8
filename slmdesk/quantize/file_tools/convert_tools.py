"""A Hugging Face folder into a GGUF, or its projector; a PEFT adapter into a GGUF adapter."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.adapter_file import read_adapter
from slmdesk.formats.gguf import read_header
from slmdesk.quantize.adapter_converting import check_base, convert_adapter
from slmdesk.quantize.convert_forecast import converted_bytes
from slmdesk.quantize.file_tools.tool_plan import (
    FileTool,
    Made,
    MadeFile,
    OutputFile,
    ToolPlan,
    one_of,
    target_file,
)
from slmdesk.quantize.file_tools.tool_work import sha256_of
from slmdesk.quantize.hf_folder import examine
from slmdesk.quantize.hf_projector import examine_projector
from slmdesk.quantize.peft_folder import examine_adapter

if TYPE_CHECKING:
    from slmdesk.core.paths import Paths
    from slmdesk.quantize.convert import Converter
    from slmdesk.quantize.file_tools.tool_requests import AdapterRequest, ConvertRequest
    from slmdesk.quantize.file_tools.tool_work import ToolWork

TYPES = ("", "f32", "f16", "bf16", "q8_0")
_CONVERTING, _TRYING = (0.0, 0.9), (0.9, 1.0)


class ConvertTool(FileTool):
    def __init__(self, request: ConvertRequest, home: Path, paths: Paths) -> None:
        self._request = request
        self._source = Path(request.source)
        self._home = home
        self._shipped = paths.resources / "toolchains"

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `type_unknown`, and as `hf_folder.examine` and `hf_projector.examine_projector`."""
        request = self._request
        one_of(request.type, TYPES, "type to convert to")
        if request.projector:
            folder = examine_projector(self._source, self._known("convert-projectors.txt"))
        else:
            folder = examine(self._source, self._known("convert-architectures.txt"), insist=request.insist)
        kind = request.type or folder.out_type
        name = f"{'mmproj-' if request.projector else ''}{self._source.name}-{kind.upper()}.gguf"
        size = converted_bytes(folder, kind, projector=request.projector)
        widest = max(folder.types, key=lambda key: folder.types[key], default="")
        warnings = list(folder.warnings)
        if kind in {"f16", "q8_0"} and widest in {"BF16", "F32"}:
            lost = (
                "a little of the weights is rounded away"
                if kind == "q8_0"
                else "very small weights become zero"
            )
            warnings.append(f"The weights are {widest}: in {kind.upper()} {lost}.")
        return ToolPlan(
            f"Convert {'the projector of ' if request.projector else ''}{self._source.name} to {kind.upper()}",
            (OutputFile(target_file(request.output, self._home, name), size),),
            exact=False,
            warnings=tuple(warnings),
            facts={"source": str(self._source), "type": kind, "architecture": folder.architecture},
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        request = self._request
        partial = work.folder / "converted.gguf"
        converter = _converter(work)
        done = await work.heeding(
            converter.convert(
                self._source,
                partial,
                lambda done, total, words: work.told(done / total if total else 0.0, words, _CONVERTING),
                out_type=request.type,
                insist=request.insist,
                projector=request.projector,
                log=work.job.log,
            )
        )
        header = await asyncio.to_thread(read_header, partial)
        if request.projector:
            if header.kind not in {"mmproj", "clip-vision"} and header.architecture != "clip":
                raise SlmDeskError(
                    "convert_failed", "The converter wrote something else than a projector.", "Report it."
                )
        else:
            await self._check(work, partial)
        made = MadeFile(partial, plan.files[0].path, await asyncio.to_thread(sha256_of, partial))
        return Made((made,), {"type": done.out_type, "tensors": len(header.tensors)}, header.licence)

    async def _check(self, work: ToolWork, partial: Path) -> None:
        """The converter writes what it finds: what the folder lacks is seen when its file is loaded."""
        try:
            await work.check_loads([partial], _TRYING)
        except SlmDeskError as error:
            if error.code != "check_failed":
                raise
            why = error.message.partition(": ")[2].rstrip(".")
            raise SlmDeskError(
                "source_incomplete",
                f"{self._source.name} was converted, but {why}.",
                "Weights are missing or do not belong together: download the whole folder again.",
                details=error.details,
            ) from error

    def _known(self, name: str) -> list[str]:
        return (self._shipped / name).read_text("utf-8").split()


class AdapterTool(FileTool):
    def __init__(self, request: AdapterRequest, home: Path, paths: Paths) -> None:
        self._request = request
        self._source = Path(request.source)
        self._home = home
        self._shipped = paths.resources / "toolchains"

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `type_unknown`, `adapter_base_needed`, and as `examine_adapter` and `check_base`."""
        request = self._request
        one_of(request.type, TYPES[1:], "type to convert to")
        adapter = examine_adapter(self._source)
        if not request.base:
            named = f", {adapter.base}" if adapter.base and len(adapter.base) < 120 else ""
            raise SlmDeskError(
                "adapter_base_needed",
                f"The adapter does not say all of its model{named}, and that is not in the library as safetensors.",
                "Name a folder with that model's config.json; its weights are not needed.",
            )
        known = (self._shipped / "convert-architectures.txt").read_text("utf-8").split()
        check_base(Path(request.base), known)
        name = self._source.name
        marked = "" if re.search(r"(?i)lora|adapter", name) else "-lora"
        target = target_file(request.output, self._home, f"{name}{marked}-{request.type.upper()}.gguf")
        return ToolPlan(
            f"Convert the adapter {name}",
            (OutputFile(target, adapter.converted_bytes(request.type)),),
            exact=False,
            facts={
                "source": str(self._source),
                "base": adapter.base,
                "rank": adapter.rank,
                "alpha": adapter.alpha,
                "type": request.type,
            },
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        request = self._request
        partial = work.folder / "adapter.gguf"
        await work.heeding(
            convert_adapter(
                _converter(work),
                self._source,
                Path(request.base),
                partial,
                lambda done, total, words: work.told(done / total if total else 0.0, words),
                out_type=request.type,
                log=work.job.log,
            )
        )
        adapter = await asyncio.to_thread(read_adapter, partial)
        made = MadeFile(partial, plan.files[0].path, await asyncio.to_thread(sha256_of, partial))
        return Made(
            (made,),
            {
                "base": plan.facts["base"],
                "alpha": adapter.alpha,
                "ranks": list(adapter.ranks),
                "weights": len(adapter.pairs),
            },
            adapter.header.licence,
        )


def _converter(work: ToolWork) -> Converter:
    if work.converter is None:
        raise SlmDeskError(
            "convert_unavailable", "No converter is installed.", "Install SLM Desk as its page says."
        )
    return work.converter
