"""JSON of the contract's types: one codec, by msgspec, with errors in our words."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import msgspec

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from types import UnionType

T = TypeVar("T")


class _Json:
    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """As plain Python values."""
        return plain(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Back from plain values. Raises `SlmDeskError("bad_request")` that says which field is wrong."""
        return converted(data, cls)


class Wire(_Json, msgspec.Struct, frozen=True):
    """What travels between processes. Unknown keys are ignored, so either side may be newer."""


class Record(_Json, msgspec.Struct):
    """What is kept and changes: of a job's row, for example. Unknown keys are ignored."""


def plain(value: object) -> dict[str, Any]:
    """A struct or a dataclass as plain Python values."""
    return dict(msgspec.to_builtins(value, enc_hook=_out))


@overload
def converted(data: object, kind: type[T]) -> T: ...
@overload
def converted(data: object, kind: UnionType) -> Any: ...
def converted(data: object, kind: Any) -> Any:
    """Plain values as `kind`. Raises `SlmDeskError("bad_request")` that says which field is wrong."""
    try:
        return msgspec.convert(data, kind, dec_hook=_in)
    except msgspec.ValidationError as error:
        raise _refused(error) from error


@overload
def decoded(data: bytes | str, kind: type[T]) -> T: ...
@overload
def decoded(data: bytes | str, kind: UnionType) -> Any: ...
def decoded(data: bytes | str, kind: Any) -> Any:
    """JSON as `kind`. Raises `SlmDeskError("bad_request")`: no JSON, or which field is wrong."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_in)
    except msgspec.ValidationError as error:
        raise _refused(error) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise SlmDeskError("bad_request", f"The body is not JSON: {error}.", "") from error


def encoded(value: object) -> bytes:
    """As JSON, in UTF-8."""
    return msgspec.json.encode(value, enc_hook=_out)


def _out(value: object) -> object:
    """What msgspec does not know: paths are text, errors tell of themselves."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, SlmDeskError):
        return value.to_json()
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _in(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is SlmDeskError and isinstance(value, dict):
        return SlmDeskError.from_json(value)
    raise TypeError(f"Expected `{'str' if kind is Path else 'object'}`, got `{type(value).__name__}`")


_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "bytes": "base64 text",
}
_TYPES = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")


def _refused(error: msgspec.ValidationError) -> SlmDeskError:
    """msgspec says "Expected `int | null`, got `str` - at `$.sampling.top_k`"."""
    reason, _, place = str(error).partition(" - at ")
    field = place.strip("`").removeprefix("$").lstrip(".") or "The value"
    if types := _TYPES.fullmatch(reason):
        wanted = [_WORDS.get(one, one) for one in types[1].split(" | ") if one != "null"]
        reason = f"it must be {' or '.join(wanted) or 'null'}, not {_WORDS.get(types[2], types[2])}"
    elif missing := _MISSING.fullmatch(reason):
        reason = f"“{missing[1]}” is missing"
    return SlmDeskError(
        "bad_request", f"{field}: {reason.replace('`', '')}.", "Correct that field, or leave it out."
    )
