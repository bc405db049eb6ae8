"""What Ollama's parameters mean here: its names and ours, and what has no counterpart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.limits import check_model_setting
from slmdesk.inference.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

# Source: docs/modelfile.mdx of Ollama, "Valid Parameters and Values", and api/types.go's Options.
_NAMES = {
    "num_ctx": "context_length",
    "num_gpu": "gpu_layers",
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_last_n": "penalty_last_n",
    "seed": "seed",
    "stop": "stop",
}
_WHOLE = frozenset({"num_ctx", "num_gpu", "num_predict", "top_k", "repeat_last_n", "seed"})


def text_of(said: Mapping[str, Any], kind: str) -> str:
    """A layer of text, "" where there is none."""
    value = said.get(kind)
    return value if isinstance(value, str) else ""


def settings_of(said: Mapping[str, Any]) -> ModelSettings:
    """What an import kept of Ollama's layers (`params`, `system`), as a model's settings."""
    values: dict[str, Any] = {}
    for name, value in _parameters(said).items():
        found = _value(name, value)
        if found is not None:
            values[_NAMES[name]] = found
    system = text_of(said, "system")
    if system.strip():
        values["system_prompt"] = system
    return ModelSettings.from_json(values)


def unused_parameters(said: Mapping[str, Any]) -> list[str]:
    """The names of parameters that have no counterpart here, or a value that none takes."""
    return [name for name, value in _parameters(said).items() if _value(name, value) is None]


def _parameters(said: Mapping[str, Any]) -> Mapping[str, Any]:
    params = said.get("params")
    return params if isinstance(params, dict) else {}


def _value(name: str, value: object) -> Any:
    """The value as our setting takes it, None where it has none."""
    if name not in _NAMES:
        return None
    if name in _WHOLE and isinstance(value, float) and value.is_integer():
        value = int(value)
    if name == "num_predict" and isinstance(value, int) and value < 0:
        value = 0  # -1: no end of its own, -2: until the context is full
    if name == "repeat_last_n" and value == -1:
        return None  # the whole context, which has no number before it is loaded
    if name == "seed" and isinstance(value, int) and value < 0:
        return None
    try:
        return check_model_setting(_NAMES[name], value)
    except SlmDeskError:
        return None
