"""The fields of an API request as data: type and limits of each, and one function that checks a body against them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.error_codes import ErrorCode

Kind = Literal["text", "integer", "number", "boolean", "object", "array", "text or array"]

MAX_BODY = 16 * 1024 * 1024  # bytes

_TYPES: dict[Kind, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "text or array": (str, list),
}
_NAMES: dict[Kind, str] = {
    "text": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "an array",
    "text or array": "a string or an array of strings",
}


class RequestError(SlmDeskError):
    """A request that is wrong in itself; `param` names the field, where it is one."""

    def __init__(self, code: ErrorCode, message: str, hint: str = "", *, param: str | None = None) -> None:
        super().__init__(code, message, hint)
        self.param = param


@dataclass(frozen=True, slots=True)
class BodyField:
    """What one field may hold. null always counts as absent, as other servers of this API have it."""

    kind: Kind
    minimum: float = -math.inf
    maximum: float = math.inf


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object of a request body. Raises `RequestError("malformed_json")`."""
    try:
        text = data.decode("utf-8-sig")
        body = json.loads(text, parse_constant=_no_constant)
        if "\\ud" in text.lower():
            _refuse_half_characters(body)
    except RecursionError as error:
        raise RequestError(
            "malformed_json", "The body is nested too deeply.", "Send a flatter JSON object."
        ) from error
    except ValueError as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise RequestError(
            "malformed_json", f"The body is not valid JSON: {reason}.", "Send one JSON object."
        ) from error
    if not isinstance(body, dict):
        raise RequestError("malformed_json", f"The body is {_kind_of(body)}.", "Send one JSON object.")
    return body


def read_fields(body: Mapping[str, Any], table: Mapping[str, BodyField]) -> dict[str, Any]:
    """The known fields that are present, checked; unknown ones are left out.

    Raises `RequestError("invalid_type" | "invalid_value")`.
    """
    values: dict[str, Any] = {}
    for name, field in table.items():
        value = body.get(name)
        if value is None:
            continue
        _check(name, value, field)
        values[name] = value
    return values


def refuse(name: str, message: str, hint: str = "", *, code: ErrorCode = "invalid_value") -> NoReturn:
    """Raise the error of a field."""
    raise RequestError(code, message, hint, param=name)


def _check(name: str, value: object, field: BodyField) -> None:
    # true is an int to Python and nothing of the kind to a person.
    wrong = not isinstance(value, _TYPES[field.kind]) or (isinstance(value, bool) and field.kind != "boolean")
    if wrong:
        refuse(
            name,
            f"“{name}” must be {_NAMES[field.kind]}, not {_kind_of(value)}.",
            code="invalid_type",
        )
    if isinstance(value, int | float) and not field.minimum <= value <= field.maximum:
        refuse(name, f"“{name}” is {_shown(value)}; it must be {_limits(field)}.")


def _refuse_half_characters(body: object) -> None:
    """JSON can write half of a surrogate pair, which no text holds: an engine could not even be told of it."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            "malformed_json",
            "The body holds half of a surrogate pair, which is not a character.",
            "Send the whole character.",
        ) from error


def _limits(field: BodyField) -> str:
    if field.maximum == math.inf:
        return f"{field.minimum:g} or more"
    if field.minimum == -math.inf:
        return f"{field.maximum:g} or less"
    return f"from {field.minimum:g} to {field.maximum:g}"


def _shown(value: float) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]}…"


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind in ("text", "integer", "number", "object", "array"):
        if isinstance(value, _TYPES[kind]):
            return _NAMES[kind]
    return "something else"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
