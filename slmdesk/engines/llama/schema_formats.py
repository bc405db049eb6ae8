"""Values of `format` that llguidance does not know, by other means."""

from __future__ import annotations

_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

FORMATS = {
    "base64": _BASE64,  # as pydantic says it
    "base64url": r"^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}(?:==)?|[A-Za-z0-9_-]{3}=?)?$",
    "byte": _BASE64,  # as OpenAPI 3.0 says it
    "json-pointer": r"^(?:/(?:[^~/]|~[01])*)*$",  # RFC 6901
    "relative-json-pointer": r"^(?:0|[1-9][0-9]*)(?:[+-][1-9][0-9]*)?(?:#|(?:/(?:[^~/]|~[01])*)*)$",
}
"""By name, a pattern that holds strings to it (ECMA-262)."""

INTEGERS = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**53), 2**53),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**53),
}
"""By name, the smallest and largest number. 64 bits: as far as every reader of JSON takes a number exactly."""

NOTHING_SAID = frozenset(
    {
        "binary",
        "directory-path",
        "double",
        "file-path",
        "float",
        "password",
        "path",
        "string",
        "text",
        "textarea",
    }
)
"""Names that OpenAPI and pydantic write for the reader: any text, or any number, meets them."""
