"""What can be said of a source before anything runs. Everything here reads headers and may block for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slmdesk.core import amounts
from slmdesk.formats.quants import FULL_PRECISION
from slmdesk.quantize.room import Quantizable
from slmdesk.quantize.source import SourceGguf, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slmdesk.hub_source import HubModel
    from slmdesk.library.library import LibraryFile, LibraryModel


@dataclass(frozen=True, slots=True)
class SourceOffer:
    """A source to choose: its id (or path), its name, and whether something is to be said against it."""

    id: str
    title: str
    path: Path
    full: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """The source that was chosen. `source` is None for a folder that is converted first, and for a model that is
    still on a hub (`hub`), whose `id` is its repository."""

    id: str
    title: str
    origin: Quantizable
    source: SourceGguf | None
    parameters: int
    quant: str
    facts: str
    warning: str
    note: str
    hub: bool = False

    @property
    def model(self) -> str:
        """Under what its results are kept."""
        return self.origin.model or str(self.origin.path)

    @property
    def parts(self) -> int:
        return len(self.source.parts) if self.source is not None else 1


def offers(models: Sequence[LibraryModel]) -> list[SourceOffer]:
    """What the library holds that can be quantized: full files first, then those already quantized."""
    found: list[SourceOffer] = []
    for model in models:
        for file in model.files:
            if file.problem is not None or file.format == "onnx":
                continue
            full = file.format == "safetensors" or file.quant in FULL_PRECISION
            kind = "safetensors" if file.format == "safetensors" else file.quant or "GGUF"
            found.append(
                SourceOffer(
                    file.id, f"{model.name} · {kind}, {amounts.size(file.size_bytes)}", file.path, full
                )
            )
    return sorted(found, key=lambda offer: (not offer.full, offer.title.lower()))


def look(reference: str, origin: Quantizable, file: LibraryFile | None, converter: str) -> Subject:
    """Open the source's headers. `converter`: what to say of the converter before it is made. Raises what
    `open_source` raises."""
    path = origin.path
    name = origin.model.rpartition("/")[2] or path.stem
    if origin.needs_conversion:
        size = file.size_bytes if file is not None else _folder_bytes(path)
        # Most folders hold two bytes a weight.
        parameters = (file.parameters if file is not None else 0) or size // 2
        facts = [
            amounts.size(size),
            f"about {amounts.parameters(parameters)} parameters",
            "safetensors folder",
        ]
        note = f"It is converted to GGUF first; sizes are estimates until then. {converter}".strip()
        return Subject(reference, name, origin, None, parameters, "F16", " · ".join(facts), "", note)
    source = open_source(path)
    facts = [source.quant or "type unknown", amounts.size(source.bytes)]
    facts.append(f"{amounts.parameters(source.parameters)} parameters")
    if source.header.architecture:
        facts.append(source.header.architecture)
    if len(source.parts) > 1:
        facts.append(f"{len(source.parts)} parts")
    return Subject(
        reference,
        name,
        origin,
        source,
        source.parameters,
        source.quant,
        " · ".join(facts),
        source.warning,
        "",
    )


def on_hub(found: HubModel, models: Path, converter: str) -> Subject:
    """A model that is downloaded first."""
    choice, folder = found.choice, models / found.repo
    gguf = choice.kind == "gguf"
    facts = [
        choice.quant if gguf else "safetensors",
        amounts.size(choice.size_bytes),
        f"about {amounts.parameters(found.parameters)} parameters",
        "on the hub",
    ]
    note = f"{amounts.size(choice.size_bytes)} are downloaded first; sizes are estimates until then."
    if not gguf:
        note = f"{note} Then it is converted to GGUF. {converter}".strip()
    name = found.repo.rpartition("/")[2]
    origin = Quantizable(found.repo, folder, folder)
    quant = choice.quant if gguf else "F16"
    return Subject(
        found.repo, name, origin, None, found.parameters, quant, " · ".join(facts), "", note, hub=True
    )


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
