"""Engines answer in shapes: real models, hot and under many seeds, so that what is right is so by the shape alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.host import LlamaEngine as Engine
from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import JsonSchema, Pieces

pytestmark = pytest.mark.asyncio(loop_scope="module")

Ask = Callable[..., Awaitable[Any]]
Answer = Callable[..., Awaitable[tuple[str, Stop]]]
Start = Callable[..., Awaitable[Engine]]

ORDER = {
    "type": "object",
    "properties": {
        "dish": {"enum": ['🍕 "large"', "C:\\new", "soup\nof the day"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 20},
        "price": {"type": "number", "minimum": 0, "maximum": 50, "multipleOf": 0.01},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "note": {"type": "string", "maxLength": 20},
        "more": {"type": "array", "items": {"$ref": "#/$defs/extra"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["dish", "count", "price", "code", "note", "more"],
    "$defs": {"extra": {"anyOf": [{"const": None}, {"type": "boolean"}]}},
}


def check_order(text: str) -> None:
    order = json.loads(text)
    assert list(order) == ["dish", "count", "price", "code", "note", "more"]
    assert order["dish"] in ORDER["properties"]["dish"]["enum"]  # type: ignore[index]
    assert 1 <= order["count"] <= 20
    assert isinstance(order["count"], int)
    assert 0 <= order["price"] <= 50
    assert abs(round(order["price"] * 100) - order["price"] * 100) < 1e-6
    assert order["code"][2] == "-"
    assert order["code"][:2].isupper()
    assert order["code"][3:].isdecimal()
    assert len(order["code"]) == 6
    assert len(order["note"]) <= 20
    assert 1 <= len(order["more"]) <= 2
    assert all(one is None or isinstance(one, bool) for one in order["more"])


def hot(seed: int) -> dict[str, Any]:
    return {"temperature": 1.6, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": seed}


async def test_every_answer_is_valid(engine: Engine, answer: Answer) -> None:
    async def one(seed: int) -> None:
        text, stop = await answer(
            engine, "What would you like?", sampling={**hot(seed), "json_schema": ORDER}
        )
        assert stop.reason == "stop", text
        check_order(text)

    await asyncio.gather(*(one(seed) for seed in range(24)))
    text, stop = await answer(engine, "Order a pizza.", sampling={"temperature": 0.0, "json_schema": ORDER})
    assert stop.reason == "stop"
    check_order(text)


async def test_a_general_model_answers_and_calls_in_shape(
    start: Start, answer: Answer, smollm2: Path
) -> None:
    engine = await start(smollm2, parallel=4, context_length=512)
    dish = {**ORDER, "properties": {"dish": ORDER["properties"]["dish"]}, "required": ["dish"]}  # type: ignore[index]
    count = {**ORDER, "properties": {"count": ORDER["properties"]["count"]}, "required": ["count"]}  # type: ignore[index]
    shape = Pieces(
        tuple(
            (f'<tool_call>\n{{"name": "{name}", "arguments": ', JsonSchema(schema), "}\n</tool_call>")
            for name, schema in {"choose": dish, "count": count}.items()
        )
    )

    async def one(seed: int) -> None:
        text, stop = await answer(engine, "A pizza?", sampling={**hot(seed), "json_schema": count})
        assert stop.reason == "stop"
        assert 1 <= json.loads(text)["count"] <= 20

    async def other(seed: int) -> None:
        text, stop = await answer(engine, "A pizza?", sampling=hot(seed), shape=shape)
        assert stop.reason == "stop"
        call = json.loads(text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
        if call["name"] == "choose":
            assert call["arguments"]["dish"] in dish["properties"]["dish"]["enum"]
        else:
            assert 1 <= call["arguments"]["count"] <= 20

    await asyncio.gather(*(run(seed) for run in (one, other) for seed in range(3)))


async def test_a_hostile_schema_costs_the_others_nothing(engine: Engine, ask: Ask, answer: Answer) -> None:
    """An answer that is being written goes on, and so do new ones, while schemas are refused."""
    writing = await ask(engine, "What is Q4_K_M?")
    for schema in (
        {"type": "string", "minLength": 400_000_000},
        {"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000},
        {"type": "string", "pattern": "a?" * 30_000},
    ):
        with pytest.raises(SlmDeskError) as caught:
            await ask(engine, "Hello", sampling={"json_schema": schema})
        assert caught.value.code == "schema_invalid"
    assert (await writing.end).reason == "stop"
    assert (await answer(engine, "Hello"))[0]


async def test_what_no_context_can_hold_ends_with_the_context(engine: Engine, answer: Answer) -> None:
    text, stop = await answer(
        engine,
        "Hello",
        max_tokens=30,
        sampling={**hot(1), "json_schema": {"type": "string", "minLength": 90_000}},
    )
    assert stop.reason == "length"
    assert text.startswith('"')


async def test_an_answer_of_a_hostile_schema_ends_with_its_client(engine: Engine, ask: Ask) -> None:
    schema = {"type": "string", "pattern": "^(a{1000}){1000}$"}
    heard = await ask(engine, "Hello", sampling={**hot(1), "json_schema": schema})
    await heard.until(lambda one: bool(one.texts))
    await engine.cancel(heard.id)
    assert (await heard.end).reason == "cancelled"
    assert set(heard.text) <= {'"', "a"}
