"""A LoRA adapter as training programs leave it (PEFT): a folder with adapter_config.json and its weights in
safetensors. Checked before the converter reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.formats import safetensors
from slmdesk.quantize.hf_unsuitable import ADAPTER

if TYPE_CHECKING:
    from pathlib import Path

    from slmdesk.formats.safetensors import SafetensorsHeader

WEIGHTS = "adapter_model.safetensors"
_JSON_LIMIT = 1024 * 1024
_WIDE = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}


@dataclass(frozen=True, slots=True)
class PeftFolder:
    """`base`: the model it was trained on, as the adapter names it; "" where it does not. `alpha`: as the GGUF needs
    it: the weights are changed by alpha / rank · B·A."""

    path: Path
    base: str
    rank: int
    alpha: float
    header: SafetensorsHeader

    def converted_bytes(self, out_type: str) -> int:
        """About how large the GGUF becomes."""
        return int(self.header.parameters * _WIDE[out_type]) + 256 * 1024


def examine_adapter(folder: Path) -> PeftFolder:
    """Raises `SlmDeskError`: `source_missing`, `adapter_unsuitable`, `config_damaged`, `pickle_refused`,
    `weights_missing`, `safetensors_damaged`, `safetensors_truncated`."""
    try:
        names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as error:
        raise SlmDeskError(
            "source_missing",
            f"{folder} is not there, or no folder.",
            "Check the path, and that its disk is connected.",
        ) from error
    if ADAPTER not in names:
        raise SlmDeskError(
            "adapter_unsuitable",
            f"{folder.name} holds no {ADAPTER}, so it is no adapter.",
            "Name the folder that the training program wrote.",
        )
    config = _config(folder / ADAPTER)
    _check_kind(config)
    if WEIGHTS not in names:
        pickled = any(name.startswith("adapter_model.") for name in names)
        raise SlmDeskError(
            "pickle_refused" if pickled else "weights_missing",
            "The adapter's weights are pickled, and reading pickled files can run code that is hidden in them."
            if pickled
            else f"There is no {WEIGHTS} in {folder.name}.",
            "Save the adapter as safetensors, which training programs do by default."
            if pickled
            else "Download the whole folder again.",
        )
    rank, alpha = _number(config, "r"), _number(config, "lora_alpha")
    base = config.get("base_model_name_or_path")
    return PeftFolder(
        path=folder,
        base=base if isinstance(base, str) else "",
        rank=int(rank),
        alpha=alpha * rank**0.5 if config.get("use_rslora") else alpha,
        header=safetensors.read_header(folder / WEIGHTS),
    )


def _check_kind(config: dict[str, Any]) -> None:
    """Ways to train that a GGUF adapter cannot hold."""
    kind = str(config.get("peft_type", ""))
    why = ""
    if kind.upper() != "LORA":
        why = f"it is of the kind {kind[:40] or 'that it does not name'}, and only LoRA can be converted"
    elif config.get("use_dora"):
        why = "it was trained as DoRA, which changes weights in another way"
    elif config.get("alpha_pattern"):
        why = "it has several values of alpha, and the GGUF form holds one"
    elif config.get("use_rslora") and config.get("rank_pattern"):
        why = "it has several ranks with rank-stabilized scales, and the GGUF form holds one scale"
    elif config.get("modules_to_save"):
        modules = config["modules_to_save"]
        named = ", ".join(map(str, modules)) if isinstance(modules, list) else str(modules)
        why = f"it replaces whole parts of the model ({named[:80]})"
    if why:
        raise SlmDeskError(
            "adapter_unsuitable",
            f"This adapter cannot become a GGUF adapter: {why}.",
            "Merge it into its model with the program that trained it, and convert the whole model.",
        )


def _number(config: dict[str, Any], key: str) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise _damaged(f"{key} is no number above 0")
    return float(value)


def _config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_JSON_LIMIT).decode("utf-8-sig"))
    except OSError as error:
        raise SlmDeskError(
            "file_unreadable",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check its permissions.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(str(error)[:80]) from error
    if not isinstance(content, dict):
        raise _damaged("it is no list of names and values")
    return content


def _damaged(why: str) -> SlmDeskError:
    return SlmDeskError(
        "config_damaged",
        f"{ADAPTER} cannot be read: {why.rstrip('.')}.",
        f"Download {ADAPTER} again, or compare it with the publisher's.",
    )
