"""Adapters (LoRA) that change a loaded model: read by llama.cpp and added to what it computes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats.gguf import check_weights, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.loading import ScaledAdapter
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model


def apply_adapters(model: Model, context: Context, adapters: Sequence[ScaledAdapter]) -> list[str]:
    """Add these adapters to a context, each by its scale; a sentence for each that does not go with the model.

    They belong to the model and are freed with it. Called before the first token. Raises
    `SlmDeskError("adapter_unsuitable")` for one that is needed.
    """
    problems: list[str] = []
    handles: list[int | None] = []
    scales_asked: list[float] = []
    api = model.native.api
    for adapter in adapters:
        path = adapter.path
        problem = _not_usable(path)
        handle = None if problem else api.llama_adapter_lora_init(model.handle, os.fsencode(path))
        if handle:
            handles.append(ctypes.cast(handle, ctypes.c_void_p).value)
            scales_asked.append(adapter.scale)
            continue
        reason = problem or _said(model) or "llama.cpp does not read it"
        if adapter.needed:
            raise SlmDeskError(
                "adapter_unsuitable",
                f"The adapter {Path(path).name} does not go with this model: {reason}.",
                "Choose the model it was made for, or take the adapter out.",
            )
        problems.append(f"The adapter {Path(path).name} is not used: {reason}.")
    if handles:
        pointers = (ctypes.c_void_p * len(handles))(*handles)
        scales = (ctypes.c_float * len(handles))(*scales_asked)
        result = api.llama_set_adapters_lora(
            context.handle,
            ctypes.cast(pointers, api.llama_set_adapters_lora.argtypes[1]),
            len(handles),
            scales,
        )
        if result != 0:
            problems.append("The model's adapters are not used: llama.cpp did not take them.")
    return problems


def _not_usable(path: str) -> str:
    """What our own reader says against a file: what llama.cpp meets in a bad one may end the process."""
    try:
        header = read_header(Path(path))
        check_weights(header)
    except SlmDeskError as error:
        return error.message.rstrip(".")
    if header.metadata.get("adapter.type") != "lora":
        return "it is no LoRA"
    return ""


def _said(model: Model) -> str:
    """llama.cpp's last words about it."""
    return model.native.said[-1].rpartition(": ")[2].strip() if model.native.said else ""
