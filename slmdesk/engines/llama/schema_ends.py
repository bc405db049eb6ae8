"""Schemas that have no answer which ends: a list that needs a list that needs a list."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTAINERS = {"array", "object"}


def endless(nodes: list[dict[str, Any]], resolve: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Those of these schemas that no value of finite depth meets, by their structure alone.

    `nodes`: all that they can reach, themselves among them; `resolve`: what a `$ref` leads to, None where unknown.
    """
    ending: set[int] = set()
    users: dict[int, list[dict[str, Any]]] = {}
    for node in nodes:
        for other in _consulted(node, resolve):
            users.setdefault(id(other), []).append(node)

    def ends(schema: Any) -> bool:
        return schema is not False and (not isinstance(schema, dict) or id(schema) in ending)

    waiting = deque(nodes)
    while waiting:
        node = waiting.popleft()
        if id(node) not in ending and _ends(node, ends, resolve):
            ending.add(id(node))
            waiting.extend(users.get(id(node), ()))
    return [node for node in nodes if id(node) not in ending]


def _consulted(node: dict[str, Any], resolve: Callable[[str], Any]) -> Iterator[Any]:
    """The schemas that `_ends` asks about."""
    if isinstance(node.get("$ref"), str):
        yield resolve(node["$ref"])
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from _listed(node, keyword)
    yield from _needed_of_object(node)
    yield from _needed_of_array(node)


def _ends(node: dict[str, Any], ends: Callable[[Any], bool], resolve: Callable[[str], Any]) -> bool:
    if isinstance(node.get("$ref"), str) and not ends(resolve(node["$ref"])):
        return False
    if not all(map(ends, _listed(node, "allOf"))):
        return False
    for keyword in ("anyOf", "oneOf"):
        choices = _listed(node, keyword)
        if choices and not any(map(ends, choices)):
            return False
    said = node.get("type")
    types = {said} if isinstance(said, str) else set(map(str, said)) if isinstance(said, list) else set()
    if "const" in node or "enum" in node or not types or types - _CONTAINERS:
        return True
    if "object" in types and all(map(ends, _needed_of_object(node))):
        return True
    return "array" in types and all(map(ends, _needed_of_array(node)))


def _listed(node: dict[str, Any], keyword: str) -> list[Any]:
    value = node.get(keyword)
    return value if isinstance(value, list) else []


def _needed_of_object(node: dict[str, Any]) -> list[Any]:
    """What the properties that must be there are held to."""
    properties = node.get("properties")
    named = properties if isinstance(properties, dict) else {}
    rest = True if "patternProperties" in node else node.get("additionalProperties", True)
    return [named.get(name, rest) for name in _listed(node, "required") if isinstance(name, str)]


def _needed_of_array(node: dict[str, Any]) -> list[Any]:
    """What the items that must be there are held to."""
    least = node.get("minItems", 0)
    if not isinstance(least, int) or least < 1:
        return []
    first = _listed(node, "prefixItems")[:least]
    return [*first, node.get("items", True)] if least > len(first) else first
