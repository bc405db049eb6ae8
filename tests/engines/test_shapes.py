"""What holds an answer to its shape, with a real vocabulary and logits that know nothing: whatever comes out right
came from the shape alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.matchers import Matchers
from slmdesk.engines.llama.sampling import COMPLETE, NOTHING_LEFT, Candidates, build_sampler
from slmdesk.inference.asks import JsonSchema, Pieces, Sampling, Shape
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 5}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[Model]:
    loaded = Model(Native(), str(smollm2))
    yield loaded
    loaded.close()


def written(model: Model, shape: Shape, seed: int, *, begin: str = "", most: int = 2000) -> str:
    """An answer of this shape from noise. `begin`: what the model would like to begin with; quotes, brackets and the
    end of the answer are likelier than the rest, so that it comes to one."""
    random = np.random.default_rng(seed)
    sampler = build_sampler(model, Sampling(temperature=1.5, top_k=0, min_p=0.0, top_p=1.0, seed=seed), shape)
    room = Candidates(model.native, model.tokens)
    ends = [token for one in '"}],\n' for token in model.tokenize(one, special=False)]
    wanted = model.tokenize(begin, special=False)
    data = b""
    try:
        for step in range(most):
            row = random.standard_normal(model.tokens, dtype=np.float32) * np.float32(4)
            row[ends] += np.float32(random.uniform(0, 24))
            row[model.eos] += np.float32(random.uniform(10, 24))
            if step < len(wanted):
                row[wanted[step]] += np.float32(200)
            token = sampler.sample(row, room)
            assert token != NOTHING_LEFT, data
            piece = None if token == COMPLETE else model.piece(token)
            if piece is None:
                return data.decode()
            data += piece
    finally:
        sampler.close()
    pytest.fail(f"no end: {data!r}")


def call(name: str, schema: dict[str, Any]) -> tuple[str | JsonSchema, ...]:
    return (f'<tool_call>\n{{"name": "{name}", "arguments": ', JsonSchema(schema), "}\n</tool_call>")


CALLS = Pieces((call("get", CITY), call("get_more", NUMBER)))
MANY = Pieces(CALLS.choices, repeat=True, between="\n")
FREE = Pieces(CALLS.choices, repeat=True, between="\n", trigger="<tool_call>")


def parsed(text: str) -> list[dict[str, Any]]:
    """The calls in a text, checked."""
    found = []
    for part in text.split("<tool_call>")[1:]:
        body, closed, _ = part.partition("\n</tool_call>")
        assert closed
        found.append(json.loads(body))
    for one in found:
        if one["name"] == "get":
            assert list(one["arguments"]) == ["city"]
            assert len(one["arguments"]["city"]) <= 12
        else:
            assert one["name"] == "get_more"
            assert one["arguments"]["n"] in range(6)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_one_of_several_pieces(model: Model, seed: int) -> None:
    text = written(model, CALLS, seed)
    assert len(parsed(text)) == 1
    assert text.startswith("<tool_call>\n{")
    assert text.endswith("}\n</tool_call>")


def test_pieces_that_repeat(model: Model) -> None:
    counts = {len(parsed(written(model, MANY, seed))) for seed in range(12)}
    assert len(counts) > 1
    assert 0 not in counts


def test_pieces_behind_free_text_begin_with_their_trigger(model: Model) -> None:
    for seed in range(6):
        text = written(model, FREE, seed, begin="I <b>look</b> it up.\n<tool_call>")
        assert text.startswith("I <b>look</b> it up.\n<tool_call>\n{")
        assert parsed(text)
    assert parsed(written(model, FREE, 1, begin="Nothing to call here.")) == []


def test_before_and_after_surround_pieces(model: Model) -> None:
    choice = ('{"name": "f", "arguments": ', JsonSchema(NUMBER), "}")
    shape = Pieces((choice,), repeat=True, before="[", between=", ", after="]")
    for seed in range(6):
        found = json.loads(written(model, shape, seed))
        assert found
        assert all(one["arguments"]["n"] in range(6) for one in found)


def test_a_trigger_must_begin_each_choice() -> None:
    with pytest.raises(SlmDeskError) as caught:
        Pieces((("a",), ("b",)), trigger="a").check()
    assert caught.value.code == "bad_request"
    Pieces((("x",), ("y",)), before="ab", trigger="a").check()


def test_a_sampler_that_goes_on_stands_where_the_other_stood(model: Model) -> None:
    random = np.random.default_rng(9)
    rows = random.standard_normal((40, model.tokens), dtype=np.float32) * np.float32(4)
    room = Candidates(model.native, model.tokens)
    shape = JsonSchema({"type": "array", "items": {"enum": ["north", "south", "west"]}, "minItems": 12})
    first = build_sampler(model, Sampling(temperature=0.0), shape)
    tokens = [first.sample(row, room) for row in rows]
    assert min(tokens) >= 0
    for count in (0, 1, 7, 30):
        other = build_sampler(model, Sampling(temperature=0.0), shape)
        other.go_on(tokens[:count], room)
        assert [other.sample(row, room) for row in rows[count:]] == tokens[count:]
        other.close()
    first.close()


def test_answers_of_one_shape_do_not_disturb_each_other(model: Model) -> None:
    shape = JsonSchema({"type": "string", "enum": ["north", "south", "southern", "west"]})
    samplers = [build_sampler(model, Sampling(temperature=1.0, seed=seed), shape) for seed in range(20)]
    room = Candidates(model.native, model.tokens)
    random = np.random.default_rng(2)
    written = [b""] * len(samplers)
    ended: set[int] = set()
    while len(ended) < len(samplers):
        for number, sampler in enumerate(samplers):
            if number in ended:
                continue
            token = sampler.sample(random.standard_normal(model.tokens, dtype=np.float32), room)
            piece = None if token == COMPLETE else model.piece(token)
            if piece is None:
                ended.add(number)
            else:
                written[number] += piece
    assert {json.loads(text) for text in written} <= {"north", "south", "southern", "west"}
    for sampler in samplers:
        sampler.close()


def test_a_control_token_in_a_literal_is_that_token(model: Model) -> None:
    token = model.token_of("<|im_start|>")
    model.shown = frozenset({token})
    try:
        matcher = Matchers(model).matcher(
            Pieces((("a<|im_start|>", JsonSchema(NUMBER)),), trigger="a<|im_start|>")
        )
        spelled = model.tokenize("a<|im_start|>x", special=False)
        assert all(matcher.take(one) for one in spelled)  # ordinary characters are no mark
        matcher = Matchers(model).matcher(Pieces((("a<|im_start|>", JsonSchema(NUMBER)),)))
        text = [
            *model.tokenize("a", special=False),
            token,
            *model.tokenize('{"n": 5}', special=False),
            model.eos,
        ]
        assert all(matcher.take(one) for one in text)
    finally:
        model.shown = frozenset()


def test_a_model_without_an_end_of_turn_ends_with_its_shape(endless_model: Path) -> None:
    endless = Model(Native(), str(endless_model))
    sampler = build_sampler(endless, Sampling(temperature=0.0), JsonSchema({"const": "over"}))
    room = Candidates(endless.native, endless.tokens)
    data = b""
    while (token := sampler.sample(np.zeros(endless.tokens, np.float32), room)) != COMPLETE:
        data += endless.piece(token) or b""
    assert data == b'"over"'
    sampler.close()
    endless.close()
