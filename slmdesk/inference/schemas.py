"""What a JSON schema from a client must keep to before anything else reads it."""

from __future__ import annotations

from typing import Any

from slmdesk.core.errors import SlmDeskError

DEEPEST_SCHEMA = 100
"""Nested objects and lists of the schema's own text; parsers and compilers recurse."""
LARGEST_SCHEMA = 256 * 1024
"""Characters, as JSON: definitions that refer to each other in one long row are compiled by recursion too."""


def schema_refused(why: str) -> SlmDeskError:
    """The error of a schema that no answer can be held to. `why`: a sentence."""
    return SlmDeskError(
        "schema_invalid",
        f"The JSON schema cannot be used. {why}",
        "Change the schema there; what cannot be enforced is never ignored.",
    )


def check_depth(definition: dict[str, Any]) -> None:
    """Raise `SlmDeskError("schema_invalid")` where it is nested more deeply than `DEEPEST_SCHEMA`."""
    level: list[Any] = [definition]
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST_SCHEMA:
            raise schema_refused(f"It is nested more than {DEEPEST_SCHEMA} deep.")
        below: list[Any] = []
        for node in level:
            below.extend(node.values() if isinstance(node, dict) else node)
        level = [node for node in below if isinstance(node, dict | list)]
