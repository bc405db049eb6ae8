"""Every value that sampling and loading know, declared once: its name, its limits, and what a person is told of it.

What the program has a setting of takes its limits from there. The API's fields, the engine's own check, what a model
keeps of its own, and the forms of the window are all made from this table.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from slmdesk.core.errors import SlmDeskError
from slmdesk.core.setting_table import MODEL_FIRST, Setting, find_setting
from slmdesk.inference.loading import ScaledAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable

FITS = -1
"""As `context_length`: as long as fits the free memory when the model is loaded, at most as it was trained."""
LEAST_CONTEXT = 64  # tokens
MOST_ADAPTERS = 8
MOST_STOPS = 16
LONGEST_STOP = 1000  # characters
MOST_SEED = 2**32 - 2  # llama.cpp takes the largest 32-bit number for "any seed"

_LOADING = "How it is loaded"
_SAMPLING = "How it answers"


def _same(key: str, name: str, group: str, **changes: Any) -> Setting:
    """A setting of the program as one that a model keeps: the same limits, under a name without its table."""
    setting = find_setting(key)
    words = setting.help.removesuffix(MODEL_FIRST)
    return replace(setting, key=name, group=group, aliases=(key,), former=(), **{"help": words, **changes})


LOADING: tuple[Setting, ...] = (
    _same(
        "engine.context_length",
        "context_length",
        _LOADING,
        minimum=FITS,
        help="How much of a conversation the model sees at once. -1 takes as much as fits the free memory, up to what "
        "the model was trained with; 0 the model's own, 8192 at most.",
    ),
    _same("engine.gpu_layers", "gpu_layers", _LOADING),
    _same("engine.cache_type", "cache_type", _LOADING),
    _same(
        "engine.parallel",
        "parallel",
        _LOADING,
        help="How many answers this model writes at the same time; further ones wait in line.",
    ),
    Setting(
        "adapters",
        str,
        "",
        "Adapters",
        "LoRA adapters (GGUF) that change the model, each by its path. “@0.5” behind it lets it count by half.",
        _LOADING,
        form="multiline",
    ),
)

STAYING: tuple[Setting, ...] = (
    _same(
        "service.model_idle_minutes",
        "idle_minutes",
        _LOADING,
        title="Unload after",
        help="When it answered nothing for this long, it gives its memory back. 0 keeps it loaded.",
    ),
    Setting(
        "pinned",
        bool,
        False,
        "Stays loaded",
        "Once it is loaded it stays, and makes no room for other models.",
        _LOADING,
    ),
)

SAMPLING: tuple[Setting, ...] = (
    _same("chat.temperature", "temperature", _SAMPLING),
    _same("chat.top_k", "top_k", _SAMPLING),
    _same("chat.top_p", "top_p", _SAMPLING),
    _same("chat.min_p", "min_p", _SAMPLING),
    _same("chat.repeat_penalty", "repeat_penalty", _SAMPLING),
    Setting(
        "presence_penalty",
        float,
        0.0,
        "Presence penalty",
        "Makes tokens that stand in the text already less likely, however often. 0 turns it off; below 0 they become "
        "likelier.",
        _SAMPLING,
        minimum=-2,
        maximum=2,
    ),
    Setting(
        "frequency_penalty",
        float,
        0.0,
        "Frequency penalty",
        "Makes tokens less likely the more often they stand in the text. 0 turns it off; below 0 they become likelier.",
        _SAMPLING,
        minimum=-2,
        maximum=2,
    ),
    Setting(
        "penalty_last_n",
        int,
        64,
        "Penalty window",
        "How many of the last tokens the penalties look at. 0 turns them off.",
        _SAMPLING,
        minimum=0,
        maximum=2**20,
    ),
    Setting(
        "seed",
        int,
        0,
        "Seed",
        "The same seed gives the same answer to the same conversation. Without one every answer is another.",
        _SAMPLING,
        minimum=0,
        maximum=MOST_SEED,
    ),
)

ANSWERING: tuple[Setting, ...] = (
    _same("chat.max_tokens", "max_tokens", _SAMPLING),
    Setting(
        "stop",
        str,
        "",
        "Stop strings",
        "Texts that end an answer as soon as the model writes one of them; they are no part of it.",
        _SAMPLING,
        form="multiline",
    ),
    _same(
        "chat.system_prompt",
        "system_prompt",
        _SAMPLING,
        help="Instructions that a new conversation with this model starts with, and that a program gets which sends "
        "none of its own.",
    ),
)

MODEL_SETTINGS: tuple[Setting, ...] = (*LOADING, *STAYING, *SAMPLING, *ANSWERING)
"""What a model may keep of its own."""

LISTS = frozenset({"stop", "adapters"})
"""The names of those that hold several texts."""

_BY_NAME = {name: setting for setting in MODEL_SETTINGS for name in (setting.key, *setting.aliases)}
_SAMPLED = {setting.key: setting for setting in SAMPLING}

Value = bool | int | float | str | tuple[str, ...]


def find_model_setting(name: str) -> Setting:
    """The declaration by its name, or by that of the program's setting of the same kind.

    Raises `SlmDeskError("setting_unknown")` with the nearest names.
    """
    setting = _BY_NAME.get(name)
    if setting is None:
        import difflib

        near = difflib.get_close_matches(name.rpartition(".")[2], [s.key for s in MODEL_SETTINGS], n=2)
        known = ", ".join(near) if near else ", ".join(s.key for s in MODEL_SETTINGS)
        raise SlmDeskError(
            "setting_unknown",
            f"A model keeps no setting {name!r} of its own.",
            f"Did you mean {known}?" if near else f"It keeps {known}.",
        )
    return setting


def limits_in_words(name: str) -> str:
    """The values a model's setting takes, for a person."""
    setting = find_model_setting(name)
    if setting.key == "adapters":
        return f"at most {MOST_ADAPTERS} paths, as a JSON list or a single path"
    if setting.key == "stop":
        return (
            f"at most {MOST_STOPS} texts of up to {LONGEST_STOP} characters, as a JSON list or a single text"
        )
    if setting.key == "context_length":
        return f"“fits” ({FITS}), 0, or a whole number from {LEAST_CONTEXT} to {setting.maximum:.0f}"
    return setting.limits()


def check_model_setting(name: str, value: object) -> Value:
    """`value` as this setting's type. Raises `SlmDeskError("setting_invalid")`."""
    setting = find_model_setting(name)
    if setting.key == "adapters":
        return _adapters(setting, value)
    if setting.key == "stop":
        stops = [value] if isinstance(value, str) else value
        if isinstance(stops, list | tuple) and _are_stops(stops):
            return tuple(dict.fromkeys(stop for stop in stops if stop))
        raise _invalid(setting, value)
    checked = setting.validate(value)
    if setting.key == "context_length" and isinstance(checked, int) and 0 < checked < LEAST_CONTEXT:
        raise _invalid(setting, value)
    return checked


def parse_model_setting(name: str, text: str) -> Value:
    """The same from text, as the command line gives it: stop strings as a JSON list, or one as it is."""
    setting = find_model_setting(name)
    if setting.key == "context_length" and text.strip().casefold() == "fits":
        return FITS
    if setting.key not in LISTS:
        return check_model_setting(name, setting.parse(text))
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return check_model_setting(name, value if isinstance(value, list) else text)


def in_range(value: object, name: str) -> TypeGuard[float]:
    """Whether a value of sampling is one that may be asked for."""
    setting = _SAMPLED[name]
    if not is_number(value) or not isinstance(value, int if setting.type is int else int | float):
        return False
    return (setting.minimum is None or value >= setting.minimum) and (
        setting.maximum is None or value <= setting.maximum
    )


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a finite number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_stops(values: Iterable[object]) -> bool:
    stops = list(values)
    return len(stops) <= MOST_STOPS and all(
        isinstance(stop, str) and len(stop) <= LONGEST_STOP and "\0" not in stop for stop in stops
    )


def _adapters(setting: Setting, value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise _invalid(setting, value)
    kept = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(kept) > MOST_ADAPTERS or any("\0" in text for text in kept):
        raise _invalid(setting, value)
    if not all(math.isfinite(ScaledAdapter.of(text).scale) for text in kept):
        raise _invalid(setting, value)
    return kept


def _invalid(setting: Setting, value: object) -> SlmDeskError:
    return SlmDeskError(
        "setting_invalid",
        f"{value!r} is no value for {setting.key}.",
        f"{setting.key} takes {limits_in_words(setting.key)}.",
    )
