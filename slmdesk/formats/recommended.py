"""How a model's publisher recommends to sample from it, as its file, or a file beside it, tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.inference.limits import in_range

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GENERATION_CONFIG = "generation_config.json"
_LIMIT = 1024 * 1024  # bytes
_IN_HEADER = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "penalty_last_n",
}
# Source: transformers' GenerationConfig, "Parameters for manipulation of the model output logits".
_IN_CONFIG = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}

# What publishers recommend on the model's page where their files do not say so, by `general.basename`.
_BY_FAMILY: dict[str, dict[str, float]] = {
    # huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct (the same for 360M and 1.7B), "How to use".
    "smollm2": {"temperature": 0.2, "top_p": 0.9},
}


def recommended_sampling(metadata: Mapping[str, Any]) -> dict[str, float]:
    """What the publisher recommends, by the names of sampling. Source: GGUF keys `general.sampling.*`, which
    llama.cpp's converter copies from the model's generation_config.json, and for some families the model's page."""
    family = metadata.get("general.basename")
    known = _BY_FAMILY.get(family.casefold(), {}) if isinstance(family, str) else {}
    found = {field: metadata.get(f"general.sampling.{key}") for key, field in _IN_HEADER.items()}
    # What makes no sense is passed over: a person who set nothing should not be told of it with every question.
    return {**known, **{field: value for field, value in found.items() if in_range(value, field)}}


def recommended_beside(folder: Path) -> dict[str, float]:
    """What a generation_config.json in a model's folder recommends; nothing where there is none, or none for sampling.

    Blocking. With `do_sample` false the values stand there and count for nothing.
    """
    try:
        with (folder / GENERATION_CONFIG).open("rb") as file:
            config = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(config, dict) or config.get("do_sample") is False:
        return {}
    found = {name: config.get(key) for key, name in _IN_CONFIG.items()}
    return {name: value for name, value in found.items() if in_range(value, name)}
