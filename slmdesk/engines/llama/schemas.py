"""JSON schemas before they are compiled: checked, and brought to what llguidance can hold an answer to.

Draft 2020-12. llguidance enforces the better half of it and says what it does not; here its gaps are closed where
another way to say the same exists, what it would not survive is refused, and so is each keyword that nobody enforces:
by name, unless the asker said that it may be left out.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from slmdesk.engines.llama.schema_ends import endless
from slmdesk.engines.llama.schema_formats import FORMATS, INTEGERS, NOTHING_SAID
from slmdesk.inference.schemas import LARGEST_SCHEMA, check_depth, schema_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 100_000  # of what is counted: more than an answer can hold, or a parser should
_LONGEST = 1_000_000_000  # of characters, where a bound costs nothing until it is reached
_LARGEST_DIVISOR = 100_000  # an automaton has a state for each remainder
_MOST_PAIRS = 4_000_000  # of optional properties of one object, added up: each may follow each
_LONGEST_PATTERN = 10_000  # characters
_MOST_OPEN = 500  # signs of a pattern that leave something open; each may follow each
_MOST_OPEN_IN_ALL = 5000
_COUNTS = {
    "minLength": _MOST,
    "maxLength": _LONGEST,
    "minItems": _MOST,
    "maxItems": _MOST,
    "minProperties": _MOST,
    "maxProperties": _MOST,
}
_ONE = ("additionalItems", "additionalProperties", "items")  # schemas in these keywords
_MANY = ("allOf", "anyOf", "items", "oneOf", "prefixItems")  # lists of them
_NAMED = ("patternProperties", "properties")  # by names
_INSIDE = {"additionalProperties", "items", "patternProperties", "prefixItems", "properties", "required"}
_BESIDE = (
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "$dynamicRef",
)  # more of the same value
# Each of these can be met by an answer or not, and nothing here sees to it.
_UNENFORCED = (
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
)


@dataclass(slots=True)
class Budget:
    """What the schemas of one shape have cost together, of what is dear to compile."""

    divisors: int = 0
    pairs: int = 0
    open_signs: int = 0


def prepared(definition: dict[str, Any], budget: Budget, *, exact: bool = True) -> dict[str, Any]:
    """The schema as it can be compiled; `definition` is left as it is. Not `exact`: without what cannot be enforced.

    Raises `SlmDeskError("schema_invalid")` that names what is wrong and where.
    """
    check_depth(definition)
    try:
        text = json.dumps(definition, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise schema_refused(f"It is not JSON ({error}).") from error
    if len(text) > LARGEST_SCHEMA:
        raise schema_refused(f"It has {len(text)} characters; {LARGEST_SCHEMA} are allowed.")
    return _Preparation(json.loads(text), budget, exact=exact).done()


@dataclass(frozen=True, slots=True)
class _Subschema:
    """A schema in the schema, and where. `shared`: another one says something of the same value."""

    node: Any
    place: str
    shared: bool


class _Preparation:
    """One schema on its way. Only what can be reached from the root is looked at, so unused definitions may hold
    anything."""

    def __init__(self, root: dict[str, Any], budget: Budget, *, exact: bool) -> None:
        self._root = root
        self._budget = budget
        self._exact = exact
        self._multiple = 1  # of all divisors

    def done(self) -> dict[str, Any]:
        waiting = [_Subschema(self._root, "", shared=False)]
        seen: dict[int, _Subschema] = {}
        while waiting:
            found = waiting.pop()
            node = found.node
            before = seen.get(id(node))
            if not isinstance(node, dict) or (before and before.shared >= found.shared):
                continue
            seen[id(node)] = found
            if before is None:
                self._mend(node, found.place)
            beside = [keyword for keyword in _BESIDE if keyword in node]
            # Where several schemas say what one object may have, none of them alone says all of it.
            shared = found.shared or len(beside) > 1 or bool(beside and _INSIDE & node.keys())
            together = shared or len(node.get("allOf") or []) > 1
            waiting.extend(_below(node, found.place, shared=shared, together=together))
            waiting.extend(self._referred(node, shared=shared))
        for found in seen.values():
            if not found.shared:
                _close(found.node)
        for node in endless([found.node for found in seen.values()], self._target):
            if node is self._root:
                raise schema_refused("It allows no answer that ends.")
            node.clear()
            node["enum"] = []  # nothing at all, so that no answer is led there
        return self._root

    def _referred(self, node: dict[str, Any], *, shared: bool) -> Iterator[_Subschema]:
        """What `$ref` leads to, where that is in this document."""
        reference = node.get("$ref")
        if not isinstance(reference, str):
            return
        if reference.startswith("#") and not reference.startswith("#/") and reference != "#":
            # An anchor may be anywhere among the definitions.
            for keyword in ("$defs", "definitions"):
                named = self._root.get(keyword)
                if isinstance(named, dict):
                    for name, one in named.items():
                        yield _Subschema(one, f"{keyword}/{name}", shared=shared)
            return
        yield _Subschema(self._target(reference), reference.removeprefix("#/"), shared=shared)

    def _target(self, reference: str) -> Any:
        """The schema at a pointer into this document; None where there is none, which llguidance says then."""
        if reference != "#" and not reference.startswith("#/"):
            return None
        target: Any = self._root
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                return None
        return target

    def _mend(self, node: dict[str, Any], place: str) -> None:
        node.pop("x-guidance", None)  # llguidance's own options are not a client's to set
        _drop_what_says_nothing(node)
        _say_otherwise(node)
        self._say_names_otherwise(node)
        self._check_counts(node, place)
        self._check_divisor(node, place)
        self._check_properties(node, place)
        self._check_patterns(node, place)
        self._mend_format(node)
        left = [keyword for keyword in _UNENFORCED if keyword in node]
        if left and self._exact:
            raise schema_refused(f"It uses {', '.join(left)}{_at(place)}, which cannot be enforced.")
        for keyword in left:
            del node[keyword]

    def _say_names_otherwise(self, node: dict[str, Any]) -> None:
        """Put `propertyNames` as properties, or patterns of them, where these are not taken."""
        names = node.get("propertyNames")
        if not isinstance(names, dict) or "properties" in node or "patternProperties" in node:
            return
        if isinstance(names.get("$ref"), str) and len(names) == 1:
            names = self._target(names["$ref"])
            if not isinstance(names, dict):
                return
        rest = node.get("additionalProperties", True)
        said = {key: value for key, value in names.items() if key not in ("title", "description")}
        if said.get("type") == "string" and len(said) > 1:
            del said["type"]
        match said:
            case {"enum": list(known)} if len(said) == 1 and all(isinstance(name, str) for name in known):
                node["properties"] = dict.fromkeys(known, self._once(rest) if len(known) > 1 else rest)
            case {"const": str(name)} if len(said) == 1:
                node["properties"] = {name: rest}
            case {"pattern": str(pattern)} if len(said) == 1:
                node["patternProperties"] = {pattern: rest}
            case _:
                return
        del node["propertyNames"]
        node["additionalProperties"] = False

    def _once(self, schema: Any) -> Any:
        """A reference to this schema, which is then written once however often it is meant."""
        if not isinstance(schema, dict):
            return schema
        definitions = self._root.setdefault("$defs", {})
        if not isinstance(definitions, dict):
            raise schema_refused("$defs must be an object.")
        name = f"of-many-{len(definitions)}"
        definitions[name] = schema
        return {"$ref": f"#/$defs/{name}"}

    def _check_counts(self, node: dict[str, Any], place: str) -> None:
        for keyword, most in _COUNTS.items():
            value = node.get(keyword)
            if isinstance(value, float) and value.is_integer():
                node[keyword] = value = int(value)
            if isinstance(value, int) and value > most:
                raise schema_refused(f"{keyword} is {value}{_at(place)}; {most} is the most.")

    def _check_divisor(self, node: dict[str, Any], place: str) -> None:
        value = node.get("multipleOf")
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            return  # llguidance says so
        divisor = Fraction(repr(value)).numerator
        self._multiple = math.lcm(self._multiple, divisor)
        self._budget.divisors += divisor
        if max(self._multiple, self._budget.divisors) > _LARGEST_DIVISOR:
            raise schema_refused(
                f"multipleOf is {value}{_at(place)}, which is too much (with the others of the schema,"
                f" {_LARGEST_DIVISOR} is the most)."
            )

    def _check_patterns(self, node: dict[str, Any], place: str) -> None:
        named = node.get("patternProperties")
        patterns = [*named] if isinstance(named, dict) else []
        if isinstance(node.get("pattern"), str):
            patterns.append(node["pattern"])
        for pattern in patterns:
            count = sum(map(pattern.count, "*+?{|"))
            self._budget.open_signs += count
            if (
                len(pattern) > _LONGEST_PATTERN
                or count > _MOST_OPEN
                or self._budget.open_signs > _MOST_OPEN_IN_ALL
            ):
                raise schema_refused(
                    f"A pattern{_at(place)} is too large, or with the others too much, to be enforced."
                )

    def _check_properties(self, node: dict[str, Any], place: str) -> None:
        properties, required = node.get("properties"), node.get("required")
        if not isinstance(properties, dict):
            return
        needed = len(required) if isinstance(required, list) else 0
        self._budget.pairs += max(len(properties) - needed, 0) ** 2
        if self._budget.pairs > _MOST_PAIRS:
            raise schema_refused(
                f"It has too many properties that may be left out{_at(place)}: use fewer than"
                f" {math.isqrt(_MOST_PAIRS)} of them, or add them to “required”."
            )

    @staticmethod
    def _mend_format(node: dict[str, Any]) -> None:
        """A format by another keyword, or none, where llguidance does not know it."""
        name = node.get("format")
        if not isinstance(name, str):
            return
        types = node.get("type")
        kinds = {types} if isinstance(types, str) else set(types) if isinstance(types, list) else set()
        if name in NOTHING_SAID or (kinds and "string" not in kinds and name not in INTEGERS):
            del node["format"]
        elif name in INTEGERS:
            del node["format"]
            low, high = INTEGERS[name]
            if kinds and not kinds & {"string", "array", "object"}:
                _add(node, {"minimum": low, "maximum": high})
        elif name in FORMATS:
            del node["format"]
            _add(node, {"pattern": FORMATS[name]})


def _below(node: dict[str, Any], place: str, *, shared: bool, together: bool) -> Iterator[_Subschema]:
    """The schemas in this one that hold for the value or for what is in it.

    `shared`: whether what this one says of an object, others say as well; `together`: the same of those in allOf.
    """

    def found(one: Any, *steps: str | int, shared: bool = shared) -> _Subschema:
        return _Subschema(one, "/".join([*([place] if place else []), *map(str, steps)]), shared=shared)

    for keyword in _ONE:
        if isinstance(node.get(keyword), dict):
            yield found(node[keyword], keyword)
    for keyword in _MANY:
        if isinstance(node.get(keyword), list):
            for index, one in enumerate(node[keyword]):
                yield found(one, keyword, index, shared=together if keyword == "allOf" else shared)
    for keyword in _NAMED:
        if isinstance(node.get(keyword), dict):
            for name, one in node[keyword].items():
                yield found(one, keyword, name)


def _close(node: dict[str, Any]) -> None:
    """Let an object have the properties that are named and no others, where the schema leaves that open.

    Any answer that this allows, the schema allows. Without it a model goes on to invent properties.
    """
    properties, required = node.get("properties"), node.get("required", [])
    if not isinstance(properties, dict) or not properties or not isinstance(required, list):
        return
    leaves_open = not any(keyword in node for keyword in (*_BESIDE, "patternProperties", "minProperties"))
    if leaves_open and all(isinstance(name, str) and name in properties for name in required):
        node.setdefault("additionalProperties", False)


def _add(node: dict[str, Any], more: dict[str, Any]) -> None:
    """Let this hold as well."""
    already = node.get("allOf", [])
    node["allOf"] = (
        [*already, more] if isinstance(already, list) else already
    )  # llguidance refuses the latter


def _at(place: str) -> str:
    return f" (in {place[:200]})" if place else ""


def _always(schema: object) -> bool:
    return schema is True or schema == {}


def _drop_what_says_nothing(node: dict[str, Any]) -> None:
    """Take out keywords that every value meets as they stand."""
    if "then" not in node and "else" not in node:
        node.pop("if", None)
    if "if" not in node:
        node.pop("then", None)
        node.pop("else", None)
    if node.get("minContains") == 0 and "maxContains" not in node:
        node.pop("contains", None)
    if "contains" not in node:
        node.pop("minContains", None)
        node.pop("maxContains", None)
    for keyword in [keyword for keyword in _UNENFORCED if keyword in node and _meets_all(keyword, node)]:
        del node[keyword]


def _meets_all(keyword: str, node: dict[str, Any]) -> bool:
    """Whether this keyword of the schema is one that any value meets."""
    value = node[keyword]
    match keyword:
        case "not":
            return value is False
        case "uniqueItems":
            most = node.get("maxItems")
            return value is False or (isinstance(most, int | float) and most <= 1)
        case "propertyNames":
            return _always(value) or value == {"type": "string"}
        case "unevaluatedItems" | "unevaluatedProperties":
            return _always(value)
        case "dependentRequired" | "dependentSchemas" | "dependencies":
            return isinstance(value, dict) and all(one == [] or _always(one) for one in value.values())
    return False


def _say_otherwise(node: dict[str, Any]) -> None:
    """Put keywords that llguidance does not know as others that say the same."""
    anchor = node.pop(
        "$dynamicAnchor", None
    )  # without a $dynamicRef, which is refused, an anchor like any other
    if anchor is not None:
        node.setdefault("$anchor", anchor)
    if not any(keyword in node for keyword in _BESIDE):  # all that is evaluated, is evaluated here
        _rename(node, "unevaluatedProperties", "additionalProperties")
        if not isinstance(node.get("items"), list) and "contains" not in node:
            _rename(node, "unevaluatedItems", "items")


def _rename(node: dict[str, Any], keyword: str, other: str) -> None:
    """What is left over for `keyword` is what `other` is about, so it only counts where that is not there."""
    if keyword in node:
        value = node.pop(keyword)
        node.setdefault(other, value)
