"""LoRA adapters merged into a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import gguf_pieces as pieces
from slmdesk.formats.adapter_file import check_belongs, read_adapter
from slmdesk.formats.quants import FULL_PRECISION
from slmdesk.quantize.adapter_types import AUTO, CHOICES, KEPT, merged_type
from slmdesk.quantize.file_tools.tool_plan import (
    FileTool,
    Made,
    MadeFile,
    OutputFile,
    ToolPlan,
    one_of,
    target_file,
)
from slmdesk.quantize.protocol import AdapterMergeSpec, CheckSpec
from slmdesk.quantize.source import open_source, stem_of

if TYPE_CHECKING:
    from slmdesk.quantize.file_tools.tool_requests import AdapterMergeRequest
    from slmdesk.quantize.file_tools.tool_work import ToolWork
    from slmdesk.quantize.source import SourceGguf

_MERGING, _CHECKING = (0.0, 0.8), (0.8, 1.0)


class AdapterMergeTool(FileTool):
    def __init__(self, request: AdapterMergeRequest, home: Path) -> None:
        self._request = request
        self._home = home

    def plan(self) -> ToolPlan:
        """Raises `SlmDeskError`: `type_unknown`, `adapter_missing`, and as `open_source`, `read_adapter` and
        `check_belongs`."""
        request = self._request
        one_of(request.type, CHOICES, "type for the weights that change")
        if not request.adapters:
            raise SlmDeskError(
                "adapter_missing", "No adapter was named.", "Name a LoRA adapter as GGUF beside the model."
            )
        source = open_source(Path(request.source))
        adapters = [read_adapter(Path(path)) for path, _ in request.adapters]
        for adapter in adapters:
            check_belongs(adapter, source.header.architecture, source.header.tensors)
        changed = {name for adapter in adapters for name in adapter.pairs}
        new = [
            pieces.NewTensor(
                t.name, t.shape, merged_type(t.type, request.type) if t.name in changed else t.type
            )
            for t in source.header.tensors
        ]
        raw = pieces.raw_metadata(source.header)
        size = pieces.file_bytes(
            {key: value for key, value in raw.items() if not key.startswith("split.")},
            new,
            source.header.alignment,
        )
        label = (
            request.type
            if request.type not in {AUTO, KEPT}
            else source.quant
            if request.type == KEPT
            else "F16"
        )
        stem = "-".join([stem_of(source.path, source.quant), *(adapter.path.stem for adapter in adapters)])
        target = target_file(request.output, self._home, f"{stem}-{label}.gguf")
        return ToolPlan(
            f"Merge {', '.join(adapter.path.name for adapter in adapters)} into {source.path.name}",
            (OutputFile(target, size),),
            warnings=tuple(_warnings(source, request.type, [a.left_out for a in adapters])),
            facts={
                "source": str(source.path),
                "changed": len(changed),
                "kept": len(new) - len(changed),
                "adapters": [
                    {"path": str(a.path), "scale": s, "alpha": a.alpha, "ranks": list(a.ranks)}
                    for a, (_, s) in zip(adapters, request.adapters, strict=True)
                ],
            },
        )

    async def make(self, work: ToolWork, plan: ToolPlan) -> Made:
        request = self._request
        partial = work.folder / "merged.gguf"
        spec = AdapterMergeSpec(
            request.source,
            [(path, scale) for path, scale in request.adapters],
            str(partial),
            request.type,
            request.threads,
        )
        found = await work.child(spec, "merging", _MERGING)
        checked = await work.child(
            CheckSpec([str(partial)], found["types"], request.threads), "checking", _CHECKING
        )
        made = MadeFile(partial, plan.files[0].path, checked["sha256"][partial.name])
        cost = {key: found[key] for key in ("delta_rms", "rounding_rms", "weights_rms")}
        note = _note(found["delta_rms"], found["rounding_rms"])
        header = open_source(partial).header
        return Made(
            (made,),
            {"changed": plan.facts["changed"], **cost, **({"note": note} if note else {})},
            header.licence,
        )


def adapter_home(models: Path, source: Path, adapters: tuple[tuple[str, float], ...]) -> Path:
    """A merged model is a model of its own, with a folder of its own."""
    return models / "-".join([stem_of(source, ""), *(Path(path).stem for path, _ in adapters)])


def _warnings(source: SourceGguf, kind: str, left_out: list[tuple[str, ...]]) -> list[str]:
    found = []
    if source.quant not in FULL_PRECISION:
        if kind == KEPT:
            found.append(
                f"The changed weights are rounded to {source.quant} again, without an importance matrix: part of what"
                " the adapter learned may be lost. The result says how much. Merging into the full model and"
                " quantizing that is better."
            )
        else:
            found.append(
                f"{source.path.name} is quantized ({source.quant}): what was rounded away there stays away, and the"
                " changed weights become larger."
            )
    norms = sum(map(len, left_out))
    if norms:
        found.append(
            f"The adapter holds {norms} norms, which llama.cpp passes over; so does the merged model."
        )
    return found


def _note(delta: float, rounding: float) -> str:
    """What packing cost, where that is worth a sentence."""
    if not delta or rounding < 0.1 * delta:
        return ""
    share = rounding / delta
    return (
        f"Rounding moved the weights by {share:.0%} of what the adapter moved them"
        + (": more than the adapter itself." if share >= 1 else ".")
        + " F16 keeps more of it."
    )
