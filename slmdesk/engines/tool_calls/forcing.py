"""What holds an answer to valid tool calls: all of it where one must be made, else from the mark on that begins one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.inference.asks import JsonSchema, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.engines.tool_calls.forms import CallForm
    from slmdesk.inference.asks import Tool

_ANY_OBJECT: dict[str, Any] = {"type": "object"}
_CALLED = "<|channel|>commentary to=functions."
_Choice = tuple[str | JsonSchema, ...]


def may_call(form: CallForm, tools: Sequence[Tool], *, parallel: bool) -> Pieces | None:
    """Text of the model's own, and from the mark of a call on only a call. None where calls are no JSON."""
    if not form.json:
        return None
    if form.family == "harmony":
        return Pieces(tuple(_harmony(tool) for tool in tools), trigger=_CALLED)
    begin, end = _around(form)
    return Pieces(
        tuple(_call(form, tool) for tool in tools),
        repeat=parallel,
        before=begin,
        between=", " if form.many else f"{end}\n{begin}" if form.end else "; ",
        after=end,
        trigger=form.begin if form.family != "llama3" else '{"name": "',
    )


def must_call(form: CallForm, tools: Sequence[Tool]) -> Pieces:
    """One call and nothing else. The form is one whose calls are JSON."""
    if form.family == "harmony":
        return Pieces(tuple(_harmony(tool) for tool in tools))
    begin, end = _around(form)
    return Pieces(tuple(_call(form, tool) for tool in tools), before=begin, after=end)


def call_or_answer(form: CallForm, tools: Sequence[Tool], answer: JsonSchema) -> Pieces:
    """One call, or an answer of this schema."""
    if form.family == "harmony":
        final: _Choice = ("<|channel|>final<|message|>", answer)
        return Pieces((*(_harmony(tool) for tool in tools), final))
    begin, end = _around(form)
    return Pieces((*((begin, *_call(form, tool), end) for tool in tools), (answer,)))


def _around(form: CallForm) -> tuple[str, str]:
    if form.family == "llama3":
        return "", ""
    if form.many:
        return f"{form.begin}[", f"]{form.end}"
    return f"{form.begin}\n", f"\n{form.end}"


def _call(form: CallForm, tool: Tool) -> _Choice:
    name = json.dumps(tool.name)
    return f'{{"name": {name}, "{form.arguments}": ', _schema(tool), "}"


def _harmony(tool: Tool) -> _Choice:
    return f"{_CALLED}{tool.name} <|constrain|>json<|message|>", _schema(tool)


def _schema(tool: Tool) -> JsonSchema:
    return JsonSchema(tool.parameters or _ANY_OBJECT, exact=tool.strict)
