"""Request bodies: from bytes to a struct of the API, with errors that name the field."""

from __future__ import annotations

import re
from typing import Any, NoReturn, TypeVar

import msgspec

from slmdesk.serving.request_errors import RequestError, refuse

T = TypeVar("T")
Number = int | float
"""A number as clients send it: 100 and 100.0 are the same."""

_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
_WRONG = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
_LARGEST = 1000  # bits of an integer that is shown


class Body(msgspec.Struct, kw_only=True):
    """A request of some API. Fields it does not name are ignored, null counts as absent."""


def read_body(data: bytes, kind: type[T]) -> T:
    """The body as `kind`. Raises `RequestError` (`malformed_json`, `invalid_type`, `missing_field`)."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        body = msgspec.json.decode(data)
        if _HALF_CHARACTER.search(data):
            msgspec.json.encode(body)
    except RecursionError as error:
        raise RequestError(
            "malformed_json", "The body is nested too deeply.", "Send a flatter JSON object."
        ) from error
    except UnicodeEncodeError as error:
        raise RequestError(
            "malformed_json",
            "The body holds half of a surrogate pair, which is not a character.",
            "Send the whole character.",
        ) from error
    except msgspec.DecodeError as error:
        raise RequestError(
            "malformed_json", f"The body is not valid JSON: {_reason(error)}.", "Send one JSON object."
        ) from error
    if not isinstance(body, dict):
        raise RequestError("malformed_json", f"The body is {_kind_of(body)}.", "Send one JSON object.")
    return as_body(body, kind)


def as_body(values: object, kind: type[T], place: str = "") -> T:
    """Plain values as `kind`; `place` names where they stand in the request. Raises `RequestError`."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        _refuse(error, place)


def whole(name: str, value: Number | None, least: float, most: float) -> int | None:
    """An integer within limits, written as 100 or 100.0. Raises `RequestError`."""
    if value is None:
        return None
    if isinstance(value, float):
        if not value.is_integer():
            refuse(name, f"“{name}” must be an integer, not a number.", code="invalid_type")
        value = int(value)
    return int(within(name, value, least, most))


def within(name: str, value: Number, least: float, most: float) -> Number:
    """A number within limits. Raises `RequestError`."""
    if not least <= value <= most:
        refuse(name, f"“{name}” is {_shown(value)}; it must be {_limits(least, most)}.")
    return value


def required(name: str, value: T | None) -> T:
    """A field that must be there. Raises `RequestError("missing_field")`."""
    if value is None:
        refuse(name, f"“{name}” is missing.", code="missing_field")
    return value


def unsupported(name: str, what: str, hint: str = "Leave it out.") -> NoReturn:
    """Refuse by name what this program does not do."""
    refuse(name, what, hint, code="unsupported")


def _refuse(error: msgspec.ValidationError, place: str) -> NoReturn:
    """msgspec says "Expected `int | null`, got `str` - at `$.messages[0].role`"."""
    reason, _, at = str(error).partition(" - at ")
    name = f"{place}{at.strip('`').removeprefix('$')}".lstrip(".").removesuffix("[...]")
    if missing := _MISSING.fullmatch(reason):
        name = f"{name}.{missing[1]}".lstrip(".")
        refuse(name, f"“{name}” is missing.", code="missing_field")
    if wrong := _WRONG.fullmatch(reason):
        kinds = dict.fromkeys(_TYPES.get(kind, kind) for kind in wrong[1].split(" | ") if kind != "null")
        if "a number" in kinds:
            kinds.pop("an integer", None)
        got = _TYPES.get(wrong[2], wrong[2])
        refuse(name, f"“{name}” must be {' or '.join(kinds)}, not {got}.", code="invalid_type")
    refuse(name, f"“{name}” cannot be read: {reason.replace('`', '')}.", code="invalid_type")


def _reason(error: msgspec.DecodeError) -> str:
    text = str(error)
    if "UTF-8" in text:
        return "it is not UTF-8 text"
    return text.replace("JSON is malformed: ", "").lower()


def _kind_of(value: Any) -> str:
    kinds: dict[type, str] = {
        dict: "object",
        list: "array",
        bool: "bool",
        int: "int",
        float: "float",
        str: "str",
    }
    return _TYPES[kinds.get(type(value), "null")]


def _limits(least: float, most: float) -> str:
    if most == float("inf"):
        return f"{least:g} or more"
    if least == float("-inf"):
        return f"{most:g} or less"
    return f"from {least:g} to {most:g}"


def _shown(value: Number) -> str:
    # Python writes no integer of thousands of digits.
    text = str(value) if isinstance(value, float) or value.bit_length() < _LARGEST else "too large"
    return text if len(text) <= 24 else f"{text[:20]}…"
