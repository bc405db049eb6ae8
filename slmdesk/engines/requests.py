"""Requests as they come over HTTP, with their types checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.protocol import GenerateRequest, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_STOPS = 64
# Every number of `Sampling` with its smallest and largest value.
LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**31 - 1),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repeat_penalty": (0.01, 100.0),
    "presence_penalty": (-100.0, 100.0),
    "frequency_penalty": (-100.0, 100.0),
    "penalty_last_n": (0, 2**20),
}
WHOLE_NUMBERS = frozenset({"top_k", "penalty_last_n"})
_RECOMMENDATIONS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "penalty_last_n",
}


# What publishers recommend on the model's page where their files do not say so, by `general.basename`.
_BY_FAMILY: dict[str, dict[str, float]] = {
    # huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct (the same for 360M and 1.7B), "How to use".
    "smollm2": {"temperature": 0.2, "top_p": 0.9},
}


def bad(message: str, hint: str = "") -> SlmDeskError:
    """The error of a request that makes no sense."""
    return SlmDeskError("bad_request", message, hint)


def read_request(data: dict[str, Any]) -> GenerateRequest:
    """The request with its types checked. Message contents given as parts become one text.

    Raises `SlmDeskError("bad_request")`.
    """
    if (data.get("messages") is None) == (data.get("prompt") is None):
        raise bad("Give either messages or a prompt.")
    checks: tuple[tuple[str, type, str], ...] = (
        ("prompt", str, "text"),
        ("messages", list, "a list"),
        ("max_tokens", int, "a whole number, 0 or more"),
        ("stop", list, "a list of texts"),
        ("sampling", dict, "an object"),
        ("template_options", dict, "an object"),
        ("conversation", str, "text"),
        ("written", list, "a list of tokens"),
    )
    for name, kind, wanted in checks:
        value = data.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise bad(f"{name} must be {wanted}.")
    known = {name: value for name, value in data.items() if value is not None}
    if "messages" in known:
        if not known["messages"]:
            raise bad("messages must hold at least one message.")
        known["messages"] = [_message(message) for message in known["messages"]]
    request = GenerateRequest.from_json({"id": "", **known})
    if request.max_tokens < 0:
        raise bad("max_tokens must be a whole number, 0 or more.")
    stops: list[object] = [*request.stop]
    if len(stops) > _MOST_STOPS or not all(isinstance(stop, str) for stop in stops):
        raise bad(f"stop must be a list of at most {_MOST_STOPS} texts.")
    if not all(isinstance(token, int) for token in request.written):
        raise bad("written must be a list of tokens.")
    return request


def in_range(value: object, field: str) -> TypeGuard[float]:
    """Whether `value` is a number that the field of `Sampling` may have."""
    low, high = LIMITS[field]
    kinds = int if field in WHOLE_NUMBERS else int | float
    return is_number(value) and isinstance(value, kinds) and low <= value <= high


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a finite number (True and False are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def recommended_sampling(metadata: Mapping[str, Any]) -> dict[str, float]:
    """What the publisher recommends, as fields of `Sampling`. Source: GGUF keys `general.sampling.*`, which
    llama.cpp's converter copies from the model's generation_config.json, and for some families the model's page."""
    family = metadata.get("general.basename")
    known = _BY_FAMILY.get(family.casefold(), {}) if isinstance(family, str) else {}
    found = {field: metadata.get(f"general.sampling.{key}") for key, field in _RECOMMENDATIONS.items()}
    # What makes no sense is passed over: a person who set nothing should not be told of it with every question.
    return {**known, **{field: value for field, value in found.items() if in_range(value, field)}}


def read_sampling(data: dict[str, Any], recommended: Mapping[str, float] | None = None) -> Sampling:
    """Sampling settings; what is not given (or null) is as recommended for the model, or else the default.

    Ranges are checked with the sampler.
    """
    given = {name: value for name, value in data.items() if value is not None}
    return Sampling.from_json({**(recommended or {}), **given})


def _message(message: object) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise bad("Every message needs a role and a content.")
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if _is_text(part)]
        if len(parts) != len(content):
            raise bad("This model reads text only.", "Leave out images and other parts.")
        content = "".join(parts)
    if not isinstance(content, str | None):
        raise bad("A message's content must be text.")
    return {**message, "content": content or ""}


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
