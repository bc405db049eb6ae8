"""A LoRA adapter as a GGUF: what it changes of which model. Headers only.

The layout is that of llama.cpp's src/llama-adapter.cpp: for a weight NAME, `NAME.lora_a` of shape (columns, rank) and
`NAME.lora_b` of shape (rank, rows), row length first; of the embeddings both with the rank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import check_weights, read_header
from slmdesk.formats.split import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from slmdesk.formats.gguf import GgufHeader, TensorInfo

_A, _B, _NORM = ".lora_a", ".lora_b", "_norm.weight"
EMBEDDINGS = "token_embd"


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """`pairs`: by the name of the weight, its two factors. `left_out`: norms, which llama.cpp passes over."""

    header: GgufHeader
    alpha: float
    pairs: Mapping[str, tuple[TensorInfo, TensorInfo]]
    left_out: tuple[str, ...]

    @property
    def path(self) -> Path:
        return self.header.path

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(sorted({b.shape[0] for _, b in self.pairs.values()}))

    def scale(self, name: str, asked: float) -> float:
        """What B·A is multiplied with: alpha / rank, times what a person asked for (llama.cpp's tools/export-lora)."""
        rank = self.pairs[name][1].shape[0]
        return asked * self.alpha / rank if self.alpha else asked


def read_adapter(path: Path) -> AdapterFile:
    """Raises `SlmDeskError`: `adapter_unsuitable`, and as `gguf.read_header` and `gguf.check_weights`."""
    header = read_header(path)
    check_weights(header)
    kind = header.metadata.get("adapter.type")
    if header.kind != "adapter" or kind != "lora":
        raise _unsuitable(
            path,
            f"it is of the kind “{header.kind}”"
            if header.kind != "adapter"
            else f"it is an adapter of another kind ({kind})",
        )
    if "adapter.alora.invocation_tokens" in header.metadata:
        raise SlmDeskError(
            "adapter_unsuitable",
            f"{path.name} acts only behind certain tokens (aLoRA), so it cannot become part of the weights.",
            "Use it beside its model.",
        )
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = {name.removesuffix(end) for name in tensors for end in (_A, _B) if name.endswith(end)}
    alone = sorted(name for name in names if name + _A not in tensors or name + _B not in tensors)
    others = [name for name in tensors if not name.endswith((_A, _B))]
    strange = [name for name in others if not name.endswith(_NORM)]
    if alone or strange or not names:
        what = alone[0] if alone else strange[0] if strange else "anything"
        raise _unsuitable(path, f"it does not say what becomes of {what}")
    alpha = header.metadata.get("adapter.lora.alpha", 0.0)
    pairs = {name: (tensors[name + _A], tensors[name + _B]) for name in sorted(names)}
    return AdapterFile(header, float(alpha) if isinstance(alpha, int | float) else 0.0, pairs, tuple(others))


def check_belongs(adapter: AdapterFile, architecture: str, tensors: Iterable[TensorInfo]) -> None:
    """Raises `SlmDeskError("adapter_mismatch")` where the adapter was made for another model."""
    there = {tensor.name: tensor for tensor in tensors}
    if adapter.header.architecture != architecture:
        raise _mismatch(
            adapter,
            f"it is for the architecture {adapter.header.architecture}, and the model's is {architecture}",
        )
    for name, (a, b) in adapter.pairs.items():
        weight = there.get(name)
        if weight is None:
            raise _mismatch(adapter, f"the model has no {name}")
        rank, columns = (a.shape[0], b.shape[1]) if name.startswith(EMBEDDINGS) else (a.shape[1], a.shape[0])
        rows = a.shape[1] if name.startswith(EMBEDDINGS) else b.shape[1]
        layers = {shape[2:] for shape in (a.shape, b.shape)} - {(), (1,)}
        if b.shape[0] != rank or (columns, rows) != weight.shape[:2] or layers - {weight.shape[2:]}:
            raise _mismatch(adapter, f"{name} has another size there")


def check_adapter(path: Path, model: Path) -> None:
    """Raises what `read_adapter` and `check_belongs` raise for this adapter and model. Blocking."""
    header = read_whole(model)
    check_belongs(read_adapter(path), header.architecture, header.tensors)


def _unsuitable(path: Path, why: str) -> SlmDeskError:
    return SlmDeskError(
        "adapter_unsuitable",
        f"{path.name} is no LoRA adapter that can be used here: {why}.",
        "Choose a LoRA adapter as GGUF; one from a training program is converted first: slmdesk lora convert.",
    )


def _mismatch(adapter: AdapterFile, why: str) -> SlmDeskError:
    return SlmDeskError(
        "adapter_mismatch",
        f"{adapter.path.name} was made for another model: {why}.",
        "Choose the model it was trained on.",
    )
