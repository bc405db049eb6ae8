"""The part of a Hugging Face folder that lets its model see or hear: whether a projector can be made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.quantize.hf_folder import HfFolder, read_config, weight_headers
from slmdesk.quantize.hf_unsuitable import refuse_packed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_PARTS = ("vision_config", "audio_config", "vision_encoder", "audio_encoder")


def projector_architecture(config: Mapping[str, Any]) -> str:
    """The name of the class as the converter finds it for a projector; "" where there is none."""
    for described in (config.get("vision_config"), config):
        names = described.get("architectures") if isinstance(described, dict) else None
        if isinstance(names, list) and names and isinstance(names[0], str):
            return names[0]
    return ""


def has_projector(config: Mapping[str, Any], supported: Collection[str]) -> bool:
    """Whether config.json tells of a part that sees or hears, of a kind the converter knows."""
    told = any(isinstance(config.get(part), dict) for part in _PARTS)
    return told and projector_architecture(config) in supported


def examine_projector(folder: Path, supported: Collection[str]) -> HfFolder:
    """Check a folder whose projector is wanted: as `hf_folder.examine`, without the tokenizer. Only the tensors that
    seem to be the projector's are counted in what comes back.

    Raises `SlmDeskError`: `projector_missing`, `architecture_unsupported`, and as `hf_folder.examine`.
    """
    config = read_config(folder)
    refuse_packed(config)
    if not any(isinstance(config.get(part), dict) for part in _PARTS):
        raise SlmDeskError(
            "projector_missing",
            f"{folder.name} is a model that neither sees nor hears, so it has no projector.",
            "Convert the model itself.",
        )
    architecture = projector_architecture(config)
    if architecture not in supported:
        raise SlmDeskError(
            "architecture_unsupported",
            f"Of the architecture {architecture[:80] or 'of this model'} llama.cpp's converter makes no projector.",
            "Look for a GGUF of the projector (mmproj), or for a newer SLM Desk.",
        )
    return HfFolder(folder, architecture, weight_headers(folder), ())
