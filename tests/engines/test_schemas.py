"""JSON schemas: what is enforced, what is refused and by which name, and that nothing hostile gets further."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.main import _STACK
from slmdesk.engines.llama.matchers import Matcher, Matchers
from slmdesk.inference.asks import Ask, JsonSchema, Pieces
from slmdesk.inference.schemas import DEEPEST_SCHEMA, LARGEST_SCHEMA
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native

Takes = Callable[..., bool]


@pytest.fixture(scope="module")
def model(desk_guide: Path) -> Iterator[Model]:
    loaded = Model(Native(), str(desk_guide))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def matchers(model: Model) -> Matchers:
    return Matchers(model)


@pytest.fixture(scope="module")
def takes(model: Model, matchers: Matchers) -> Takes:
    """Whether an answer of this schema can be this text, with nothing behind it."""

    def taken(schema: dict[str, Any], text: str, *, exact: bool = True) -> bool:
        matcher = matchers.matcher(JsonSchema(schema, exact))
        return wholly(matcher, model, text)

    return taken


def wholly(matcher: Matcher, model: Model, text: str) -> bool:
    end = min(token for token in range(model.tokens) if model.piece(token) is None)
    tokens = [*model.tokenize(text, special=False), end]
    return all(matcher.take(token) for token in tokens)


def refused(matchers: Matchers, schema: dict[str, Any]) -> str:
    with pytest.raises(SlmDeskError) as caught:
        matchers.matcher(JsonSchema(schema))
    assert caught.value.code == "schema_invalid"
    assert caught.value.hint
    return caught.value.message


ODD = ['🙂 "q"', "C:\\new", "a\nb\t", "日本", "\u2028", "\x01", "'", "</s>"]


@pytest.mark.parametrize("text", ODD)
def test_any_text_is_itself_in_enum_const_and_names(takes: Takes, text: str) -> None:
    told = json.dumps(text, ensure_ascii=False)
    for schema in ({"enum": ["x", text]}, {"const": text}, {"type": "string", "enum": [text]}):
        assert takes(schema, told)
        assert not takes(schema, json.dumps(text + "y", ensure_ascii=False))
    named = {"type": "object", "properties": {text: {"type": "null"}}, "required": [text]}
    assert takes(named, f"{{{told}: null}}")
    assert not takes(named, "{}")


def test_no_raw_control_character_gets_into_a_string(takes: Takes) -> None:
    for schema in (
        {"type": "string"},
        {"type": "string", "maxLength": 9},
        {"type": "string", "pattern": "^a.b$"},
    ):
        assert takes(schema, '"a b"')
        for raw in "\n\t\x00\x01\x1f":
            assert not takes(schema, f'"a{raw}b"'), repr(raw)
    assert takes({"type": "object"}, '{"a": [1, {"b": null}]}')
    assert not takes({"type": "object"}, '{"a": "\n"}')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 5}, ["1", "5"], ["0", "6", "20", "-3", "1.5"]),
        ({"type": "integer", "exclusiveMinimum": -2, "multipleOf": 3}, ["0", "333"], ["-2", "-3", "4"]),
        ({"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}, ["0.5", "1.99"], ["0.4", "2"]),
        ({"type": "number", "multipleOf": 0.01}, ["1.25", "7"], ["1.255"]),
        (
            {"type": "string", "pattern": "^[A-Z][a-z]{2,3}\\d$"},
            ['"Abc1"', '"Abcd2"'],
            ['"abc1"', '"Ab1"', '"Abc"'],
        ),
        ({"type": "string", "pattern": "b+"}, ['"abba"'], ['"aa"']),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ['"🙂🙂"', '"\\n\\n"'], ['"🙂"', '"abcd"']),
        ({"type": "string", "maxLength": 500}, [f'"{"a" * 500}"'], [f'"{"a" * 501}"']),
        ({"type": "string", "format": "date"}, ['"2026-02-03"'], ['"2026-13-03"', '"soon"']),
        ({"type": "string", "format": "byte"}, ['"aGk="'], ['"aGk"', '"?"']),
        ({"type": "string", "format": "base64url"}, ['"aG_-"', '"aG8"'], ['"a+/="']),
        (
            {
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/c"},
                "additionalProperties": {"type": "integer"},
                "$defs": {"c": {"enum": ["red", "blue"], "title": "Color", "type": "string"}},
            },
            ['{"red": 1}'],
            ['{"green": 1}', '{"red": "1"}'],
        ),
        ({"type": "integer", "format": "int32"}, ["2147483647"], ["2147483648"]),
        ({"type": "string", "format": "password"}, ['"x"'], ["1"]),
        (
            {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2.0},
            ["[true]"],
            ["[]", "[1]"],
        ),
        (
            {"prefixItems": [{"type": "null"}], "items": False, "type": "array"},
            ["[null]", "[]"],
            ["[null, 1]"],
        ),
        ({"type": ["string", "null"]}, ["null", '"a"'], ["1"]),
        ({}, ["1", '{"a": []}', "null"], ["{", "nul"]),
        ({"properties": {"a": True}, "required": ["a"], "type": "object"}, ['{"a": [{}]}'], ["{}"]),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            ['{"a": 1, "b": 2}', "{}"],
            ['{"a": "1"}'],
        ),
        (
            {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False},
            ['{"xy": null}'],
            ['{"y": null}', '{"xy": 1}'],
        ),
        (
            {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}},
            ["[[], [[]]]"],
            ["[1]"],
        ),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, ["3"], ["2"]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ['"a"', "1"], ["true"]),
        (
            {
                "type": "object",
                "propertyNames": {"enum": ["a", "b"]},
                "additionalProperties": {"type": "null"},
            },
            ['{"a": null}', "{}"],
            ['{"c": null}', '{"a": 1}'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "null"}}, "unevaluatedProperties": False},
            ['{"a": null}'],
            ['{"b": null}'],
        ),
    ],
)
def test_keywords_are_enforced(takes: Takes, schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    for text in good:
        assert takes(schema, text), text
    for text in bad:
        assert not takes(schema, text), text


def test_objects_are_closed_where_the_schema_leaves_them_open_and_they_stand_alone(takes: Takes) -> None:
    one = {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}
    other = {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]}
    assert takes(one, '{"a": null}')
    assert not takes(one, '{"a": null, "b": null}')
    assert takes({**one, "additionalProperties": True}, '{"a": null, "b": null}')
    assert takes({"allOf": [one, other]}, '{"a": null, "b": null}')
    assert takes({"$ref": "#/$defs/o", "$defs": {"o": one}, **other}, '{"a": null, "b": null}')
    assert takes({"anyOf": [one, other]}, '{"b": null}')


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "string"}, "then": {"minLength": 1}}, "if, then"),
        ({"type": "array", "contains": {"type": "null"}}, "contains"),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"allOf": [{"type": "object"}], "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"type": "object", "dependencies": {"a": ["b"]}}, "dependencies"),
        ({"type": "string", "format": "uri-template"}, "uri-template"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 3}]}, "oneOf"),
        ({"type": "string", "pattern": "^(?=a)b"}, "Look-around"),
        ({"type": "no such type"}, "no such type"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"$ref": "http://example.com/schema"}, "example.com"),
        ({"type": "string", "minLength": -1}, "minLength"),
        ({"type": "string", "minLength": "long"}, "minLength"),
        ({"enum": [1], "type": "string"}, "nsatisfiable"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(
    matchers: Matchers, schema: dict[str, Any], named: str
) -> None:
    assert named in refused(matchers, schema)
    below = {"type": "object", "properties": {"here": schema}, "required": ["here"]}
    assert named in refused(matchers, below)
    if "$ref" not in schema:
        matchers.matcher(JsonSchema({"type": "object", "$defs": {"unused": schema}}))


def test_a_refusal_says_where(matchers: Matchers) -> None:
    inner = {"type": "array", "items": {"type": "array", "uniqueItems": True}}
    assert "properties/list/items" in refused(matchers, {"type": "object", "properties": {"list": inner}})


def test_where_it_need_not_be_exact_the_rest_is_enforced(takes: Takes) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    assert takes(schema, "[1, 1]", exact=False)
    assert not takes(schema, '["a"]', exact=False)
    hopeless = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    assert takes(hopeless, '{"a": "b"}', exact=False)
    assert not takes(hopeless, "[]", exact=False)


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


HUGE = 400_000_000
HOSTILE: list[dict[str, Any]] = [
    {"type": "string", "minLength": HUGE},
    {"type": "string", "minLength": 10**9},
    {"type": "string", "maxLength": 10**18},
    {"type": "array", "minItems": HUGE},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 1_000_000},
    {"type": "object", "minProperties": 10**6},
    {"type": "object", "maxProperties": 10**9},
    {"type": "integer", "multipleOf": 99_999_989},
    {"allOf": [{"type": "integer", "multipleOf": divisor} for divisor in (9973, 9967, 9949)]},
    {"type": "number", "multipleOf": 1.0000000001},
    {"type": "string", "pattern": "a?" * 20_000},
    {"type": "string", "pattern": "(" * 5000 + "a" + ")" * 5000},
    {"type": "string", "pattern": "a{5000000000}"},
    {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(5000)}},
    {"allOf": [{"anyOf": [{"properties": {f"{a}{n}": {"type": "null"}}} for a in "ab"]} for n in range(30)]},
    {"enum": ["x" * 600_000]},
    {
        "propertyNames": {"enum": [f"n{number}" for number in range(10_000)]},
        "additionalProperties": {"enum": ["x" * 100_000]},
    },
    {"$ref": "#"},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    {"type": "array", "items": {"anyOf": [{"$ref": "#"}]}, "minItems": 1},
    deep(DEEPEST_SCHEMA),
    deep(300),
]


@pytest.mark.parametrize("schema", HOSTILE, ids=lambda schema: json.dumps(schema)[:50])
def test_what_would_take_for_ever_is_refused(matchers: Matchers, schema: dict[str, Any]) -> None:
    assert refused(matchers, schema)


LARGE: list[tuple[dict[str, Any], str]] = [
    ({"type": "string", "maxLength": 1_000_000}, '"a"'),
    ({"type": "array", "items": {"type": "integer"}, "maxItems": 100_000}, "[1]"),
    ({"type": "string", "pattern": "^(a{1000}){1000}|b$"}, '"b"'),
    ({"enum": [f"value {number}" for number in range(10_000)]}, '"value 9999"'),
    (
        {"type": "object", "properties": {f"p{number}": {"type": "null"} for number in range(500)}},
        '{"p499": null}',
    ),
    (
        {
            "$ref": "#/$defs/d39",
            "$defs": {
                "d0": {"type": "null"},
                **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 40)},
            },
        },
        "null",
    ),
    ({"type": ["array", "null"], "items": {"$ref": "#"}, "minItems": 1}, "[[null]]"),
    (
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["a"],
        },
        '{"a": {"a": null}}',
    ),
    (deep(30), '{"a": ' * 30 + "1" + "}" * 30),
]


@pytest.mark.parametrize(("schema", "text"), LARGE, ids=lambda value: json.dumps(value)[:40])
def test_what_is_merely_large_is_not(takes: Takes, schema: dict[str, Any], text: str) -> None:
    assert takes(schema, text)


def test_no_answer_is_led_where_it_could_not_end(takes: Takes, matchers: Matchers, model: Model) -> None:
    loop = {
        "loop": {"type": "array", "items": {"$ref": "#/$defs/loop"}, "minItems": 1},
        "self": {"$ref": "#/$defs/self"},
    }
    for name in loop:
        other = {"$ref": f"#/$defs/{name}"}
        schema = {"type": "object", "properties": {"a": other, "b": {"type": "null"}}, "$defs": loop}
        assert takes(schema, '{"b": null}')
        matcher = matchers.matcher(JsonSchema(schema))
        assert not all(matcher.take(token) for token in model.tokenize('{"a"', special=False))
        assert takes({"anyOf": [other, {"type": "null"}], "$defs": loop}, "null")


def test_options_of_the_library_are_not_a_clients(takes: Takes, matchers: Matchers) -> None:
    assert "uniqueItems" in refused(
        matchers, {"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}
    )
    assert not takes({"type": "array", "x-guidance": {"item_separator": ";"}}, "[1;2]")


def test_white_space_ends(takes: Takes) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "null"}}}
    assert takes(schema, '{"a":null}')
    assert takes(schema, '{\n  "a": null\n}')
    assert not takes(schema, '{  "a": null}')
    assert not takes(schema, "{\n" + " " * 100 + '"a": null}')


def test_many_schemas_in_one_shape_share_what_they_may_cost(matchers: Matchers) -> None:
    dear = {"type": "integer", "multipleOf": 60_000}
    matchers.matcher(Pieces((("a", JsonSchema(dear)),)))
    with pytest.raises(SlmDeskError) as caught:
        matchers.matcher(Pieces(tuple((f"{number}", JsonSchema(dear)) for number in range(9))))
    assert caught.value.code == "schema_invalid"


def test_a_schema_too_deep_to_be_sent_on_is_refused_before() -> None:
    for shape in (JsonSchema(deep(900)), Pieces((("a", JsonSchema(deep(900))),))):
        with pytest.raises(SlmDeskError) as caught:
            Ask(prompt="a", shape=shape).check()
        assert caught.value.code == "schema_invalid"


def test_what_was_compiled_is_used_again_and_let_go(model: Model) -> None:
    matchers = Matchers(model)
    for _ in range(3):
        matchers.matcher(JsonSchema({"const": 0})).close()
    assert len(matchers._kept) == 1
    kept = next(iter(matchers._kept.values()))[0]
    for number in range(30):
        matchers.matcher(JsonSchema({"const": number}))
    assert len(matchers._kept) <= 10
    assert kept not in [compiled for compiled, _ in matchers._kept.values()]


def test_what_reached_a_limit_is_not_shared(model: Model) -> None:
    matchers = Matchers(model)
    shape = JsonSchema({"type": "string", "pattern": "^(?:.*a.{20}){3}$"})
    matcher = matchers.matcher(shape)
    letters = [model.tokenize(letter, special=False)[0] for letter in "ab"]
    assert matcher.take(model.tokenize('"', special=False)[0])
    random = Random(2)
    for _ in range(3000):
        if not matcher.take(random.choice(letters)) or not len(matcher.allowed()):
            break
    assert not len(matcher.allowed())
    assert not matcher.ended
    fresh = matchers.matcher(shape)
    assert len(fresh.allowed())


CHAINS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "references": lambda after: after,
    "choices": lambda after: {"anyOf": [after, {"type": "null"}]},
    "properties": lambda after: {"type": "object", "properties": {"a": after}, "required": ["a"]},
    "items": lambda after: {"items": after},
    "all": lambda after: {"allOf": [after, {"type": ["string", "null"]}]},
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_long_row_of_definitions_ends_nothing(matchers: Matchers, kind: str) -> None:
    """With the stack that an engine's threads have (`engines/llama/main.py`)."""
    definitions: dict[str, Any] = {}
    while len(json.dumps(definitions)) < LARGEST_SCHEMA - 5000:
        for _ in range(50):
            count = len(definitions)
            definitions[f"d{count}"] = CHAINS[kind]({"$ref": f"#/$defs/d{count + 1}"})
    definitions[f"d{len(definitions)}"] = {"type": "string"}
    schema = JsonSchema({"$defs": definitions, "$ref": "#/$defs/d0"})
    heard: list[str] = []

    def compiled() -> None:
        try:
            matchers.matcher(schema)
            heard.append("compiled")
        except SlmDeskError as error:
            heard.append(error.code)

    usual = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=compiled)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(usual)
    assert heard in (["compiled"], ["schema_invalid"])
