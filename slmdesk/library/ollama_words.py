"""What Ollama's parameters mean here: its names and ours, and what has no counterpart."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.limits import check_model_setting, limits_in_words
from slmdesk.inference.model_settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
_NOT_HERE = frozenset(
    "num_keep num_batch num_thread num_gqa main_gpu low_vram f16_kv logits_all vocab_only use_mmap use_mlock numa "
    "embedding_only rope_frequency_base rope_frequency_scale tfs_z typical_p mirostat mirostat_eta mirostat_tau "
    "penalize_newline draft_num_predict".split()
)
"""Parameters that Ollama knows or knew and that have no counterpart here."""
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


def parameters_asked(
    given: Iterable[tuple[str, object, int]],
) -> tuple[ModelSettings, tuple[str, ...]]:
    """What parameters by Ollama's names mean here, and the names of those that have no counterpart.

    `given`: name, value or its text, and the number of its line (0: it stands in no text). `stop` may come several
    times. Raises `SlmDeskError("modelfile_invalid")` for a name that neither program knows, and for a wrong value.
    """
    values: dict[str, Any] = {}
    unused: dict[str, None] = {}
    for name, value, line in given:
        if name in _NOT_HERE:
            unused[name] = None
        elif name not in _NAMES:
            raise _unknown_parameter(name, line)
        elif name == "stop":
            stops = value if isinstance(value, list | tuple) else [value]
            values["stop"] = [*values.get("stop", ()), *stops]
        elif (found := _value(name, _number(name, value))) is not None:
            values[_NAMES[name]] = found
        elif _any(name, value):
            unused[name] = None
        else:
            raise SlmDeskError(
                "modelfile_invalid",
                f"{_where(line)}{value!r} is no value for the parameter {name}.",
                f"{name} takes {limits_in_words(_NAMES[name])}.",
            )
    if "stop" in values:
        try:
            values["stop"] = check_model_setting("stop", values["stop"])
        except SlmDeskError as error:
            raise SlmDeskError("modelfile_invalid", error.message, error.hint) from error
    return ModelSettings(**values), tuple(unused)


def parameters_of(settings: ModelSettings) -> dict[str, tuple[str, ...]]:
    """A model's settings by Ollama's names, as the texts of its parameters."""
    found: dict[str, tuple[str, ...]] = {}
    for theirs, ours in _NAMES.items():
        value = settings.get(ours)
        if isinstance(value, tuple):
            found[theirs] = tuple(f'"{text}"' for text in value)
        elif value is not None:
            found[theirs] = (f"{value:g}" if isinstance(value, float) else str(value),)
    return found


def _number(name: str, value: object) -> object:
    """A text as the number that it is."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if name in _WHOLE else float(value)
    except ValueError:
        return value


def _any(name: str, value: object) -> bool:
    """Whether this value is Ollama's word for leaving it open."""
    return name in {"repeat_last_n", "seed"} and _number(name, value) in {-1, -1.0}


def _unknown_parameter(name: str, line: int) -> SlmDeskError:
    ours = {value: key for key, value in _NAMES.items()}
    near = [ours[name]] if name in ours else difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.5)
    return SlmDeskError(
        "modelfile_invalid",
        f"{_where(line)}there is no parameter “{name[:40]}”.",
        f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(_NAMES)}.",
    )


def _where(line: int) -> str:
    return f"Line {line} of the Modelfile: " if line else ""
