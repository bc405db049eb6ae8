"""What a folder is when it is no model that can be converted: said for what it is, before the converter fails at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

ADAPTER = "adapter_config.json"
_JSON_LIMIT = 1024 * 1024
# Ways of packing weights, by what transformers calls them, that llama.cpp's converter cannot undo
# (conversion/base.py, dequant_model). Ways not named here are tried.
_PACKED = {
    "bitsandbytes": "bitsandbytes",
    "awq": "AWQ",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "eetq": "EETQ",
    "quanto": "Quanto",
    "torchao": "torchao",
    "vptq": "VPTQ",
    "higgs": "HIGGS",
    "spqr": "SpQR",
    "fbgemm_fp8": "FBGEMM",
    "quark": "Quark",
    "auto-round": "AutoRound",
    "bitblas": "BitBLAS",
    "exl2": "EXL2",
    "exl3": "EXL3",
}


def refuse_packed(config: Mapping[str, Any]) -> None:
    """Raises `SlmDeskError("weights_type_unsupported")` where config.json says that the weights are packed in a way
    that cannot be undone."""
    for described in (config, config.get("text_config")):
        packing = described.get("quantization_config") if isinstance(described, dict) else None
        if isinstance(packing, dict) and (name := _packing_of(packing)):
            raise SlmDeskError(
                "weights_type_unsupported",
                f"The weights are packed by {name}, which llama.cpp's converter cannot undo.",
                "Choose the model that it was made from, in F16, BF16 or F32.",
            )


def refuse_adapter(names: Collection[str], about: Mapping[str, Any] | None = None) -> None:
    """Raises `SlmDeskError("adapter_alone")` for the files of an adapter. `about`: its adapter_config.json."""
    if ADAPTER not in names and not any(name.startswith("adapter_model.") for name in names):
        return
    if any(name.startswith("model") and name.endswith((".safetensors", ".index.json")) for name in names):
        return  # a whole model, with an adapter beside it
    base = (about or {}).get("base_model_name_or_path")
    known = isinstance(base, str) and 0 < len(base) <= 200 and base.isprintable()
    model = f"for {base}" if known else "for another model"
    raise SlmDeskError(
        "adapter_alone",
        f"This is an adapter (LoRA) {model}, and no model of its own.",
        f"Choose {base if known else 'the model it belongs to'}, or a version with the adapter merged into it.",
    )


def refuse_other_kinds(folder: Path, names: Collection[str]) -> None:
    """For a folder without config.json: raises what it is instead, where its files tell.

    `adapter_alone`, or `source_unsuitable`.
    """
    refuse_adapter(names, _about(folder / ADAPTER))
    if "model_index.json" in names:
        raise _unsuitable(
            f"{folder.name} holds a pipeline that makes pictures or sound, and no language model.",
            "Choose a language model.",
        )
    if ggufs := sorted(name for name in names if name.lower().endswith(".gguf")):
        raise _unsuitable(
            f"{folder.name} holds GGUF files, which need no conversion.", f"Name one of them: {ggufs[0]}."
        )
    if "genai_config.json" in names or any(name.endswith(".onnx") for name in names):
        raise _unsuitable(
            f"{folder.name} holds an ONNX model, from which no GGUF can be made.",
            "Choose the model in safetensors.",
        )
    if "params.json" in names:
        raise _unsuitable(
            f"{folder.name} holds a model in its maker's own form, without config.json.",
            "Choose the form for transformers, which most makers publish too.",
        )


def _packing_of(packing: Mapping[str, Any]) -> str:
    method = packing.get("quant_method")
    if isinstance(method, str):
        return _PACKED.get(method.lower(), "")
    if packing.get("load_in_4bit") or packing.get("load_in_8bit"):
        return "bitsandbytes"
    return "MLX" if {"group_size", "bits"} <= packing.keys() else ""


def _about(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_JSON_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _unsuitable(message: str, hint: str) -> SlmDeskError:
    return SlmDeskError("source_unsuitable", message, hint)
