"""Requests as they come over HTTP, with their types checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.protocol import GenerateRequest, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_STOPS = 64  # with those of a form that stands in for a template


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
