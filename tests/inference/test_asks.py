"""Asks travel between processes as JSON, and make sense or say why not."""

from __future__ import annotations

import pytest

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Ask, Grammar, JsonSchema, Pieces, Shape
from slmdesk.inference.wire import decoded, encoded

SCHEMA = JsonSchema({"type": "object", "properties": {"b": {}, "a": {"enum": ["🙂\n"]}}})


@pytest.mark.parametrize(
    "shape",
    [
        SCHEMA,
        JsonSchema({}, exact=False),
        Grammar('root ::= "ü"'),
        Pieces((("a", SCHEMA, "b"), (JsonSchema({}, exact=False),))),
        Pieces((("a",),), repeat=True, before="[", between=", ", after="]", trigger="["),
    ],
)
def test_a_shape_arrives_as_it_was(shape: Shape) -> None:
    ask = decoded(encoded(Ask(prompt="x", shape=shape)), Ask)
    assert ask.shape == shape
    ask.check()
    if shape is SCHEMA:
        assert isinstance(ask.shape, JsonSchema)
        assert list(ask.shape.definition["properties"]) == ["b", "a"]  # answers keep to this order


@pytest.mark.parametrize(
    "shape",
    [
        Pieces(()),
        Pieces(((),)),
        Pieces((("",),)),
        Pieces((("a", SCHEMA), ("b",)), trigger="a"),
        Pieces(((SCHEMA,),), trigger="a"),
    ],
)
def test_pieces_that_make_no_sense_are_refused(shape: Pieces) -> None:
    with pytest.raises(SlmDeskError) as caught:
        Ask(prompt="x", shape=shape).check()
    assert caught.value.code == "bad_request"
