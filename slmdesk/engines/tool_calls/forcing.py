"""A schema for an answer that has to be a tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.asks import Tool

_ANY_OBJECT: dict[str, Any] = {"type": "object"}


def call_schema(tools: Sequence[Tool], *, arguments: str = "arguments", many: bool = False) -> dict[str, Any]:
    """JSON Schema of one call of one of the tools, name first; `many`: of a list with one call.

    Each tool's own schema stands below `$defs`, and its references are turned to where it stands now.
    """
    definitions: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for index, tool in enumerate(tools):
        place = f"tool{index}"
        definitions[place] = _moved(tool.parameters or _ANY_OBJECT, f"#/$defs/{place}")
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, arguments: {"$ref": f"#/$defs/{place}"}},
                "required": ["name", arguments],
                "additionalProperties": False,
            }
        )
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if many:
        call = {"type": "array", "items": call, "minItems": 1, "maxItems": 1}
    return {**call, "$defs": definitions}


def _moved(schema: Any, root: str) -> Any:
    """A schema with its references into itself as they are below `root`. Not recursive: schemas may be deep."""
    copy: list[Any] = [None]
    waiting: list[tuple[Any, Any, Any]] = [(schema, copy, 0)]
    while waiting:
        value, target, key = waiting.pop()
        if isinstance(value, dict):
            target[key] = {}
            waiting += [(inner, target[key], name) for name, inner in reversed(value.items())]
        elif isinstance(value, list):
            target[key] = [None] * len(value)
            waiting += [(inner, target[key], index) for index, inner in enumerate(value)]
        elif key == "$ref" and isinstance(value, str) and value.startswith("#"):
            target[key] = root + value[1:]
        else:
            target[key] = value
    return copy[0]
