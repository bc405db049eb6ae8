"""Shapes as llguidance reads them: rules in its dialect of Lark, and the JSON schemas that they name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import llguidance

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.gbnf import GrammarError
from slmdesk.engines.llama.gbnf_rules import lark
from slmdesk.engines.llama.schemas import Budget, prepared
from slmdesk.inference.asks import Grammar, JsonSchema, Pieces
from slmdesk.inference.schemas import schema_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slmdesk.inference.asks import Shape

_LARGEST_GRAMMAR = 256 * 1024  # characters
_HINT = "See llama.cpp's GBNF guide; a grammar needs a rule named root."
_WHITESPACE = (
    r"(?: |\n[ \t]{0,60})"  # between two tokens of JSON at most this: a model cannot go on with it for ever
)

# Of text that can only go one way, each way to cut it into tokens may come, as the model likes. To force one costs a
# look at all of that text, a megabyte of it for (a{1000}){1000}, at each token.
_OPTIONS = '%llguidance {"no_forcing": true}\n'


def grammar_of(shape: Shape, shown: dict[str, int], token_of: Callable[[str], int]) -> str:
    """The shape as JSON for llguidance. `shown`: control tokens that stand for text, by it; `token_of`: any by text.

    Raises `SlmDeskError("grammar_invalid")` or `schema_invalid`.
    """
    schemas: list[JsonSchema] = []
    if isinstance(shape, JsonSchema):
        schemas.append(shape)
        rules = "start: @schema0\n"
    elif isinstance(shape, Grammar):
        rules = _of_gbnf(shape.text, token_of)
    else:
        rules = _Rules(shape, shown, schemas).written()
    grammars: list[dict[str, Any]] = [{"lark_grammar": _OPTIONS + rules}]
    budget = Budget()
    for number, schema in enumerate(schemas):
        options = {"whitespace_pattern": _WHITESPACE, "lenient": not schema.exact}
        definition = {**_definition(schema, budget), "x-guidance": options}
        grammars.append({"name": f"schema{number}", "json_schema": definition})
    return json.dumps({"grammars": grammars})


def _of_gbnf(text: str, token_of: Callable[[str], int]) -> str:
    if "\0" in text:
        raise SlmDeskError("grammar_invalid", "The grammar is not text.", _HINT)
    if len(text) > _LARGEST_GRAMMAR:
        raise SlmDeskError("grammar_invalid", "The grammar is too large.", _HINT)
    try:
        return lark(text, token_of)
    except GrammarError as error:
        raise SlmDeskError("grammar_invalid", f"The grammar is not valid: {error}.", _HINT) from error


def _definition(schema: JsonSchema, budget: Budget) -> dict[str, Any]:
    """What is compiled of a schema: where it need not be exact and all of it cannot be, its outermost type."""
    if schema.exact:
        return prepared(schema.definition, budget)
    try:
        definition = prepared(schema.definition, budget, exact=False)
    except SlmDeskError:
        definition = {}
    tried = {"grammars": [{"json_schema": {**definition, "x-guidance": {"lenient": True}}}]}
    if definition and not llguidance.LLMatcher.validate_grammar(json.dumps(tried)):
        return definition
    return {"type": "object"} if schema.definition.get("type") == "object" else {}


class _Rules:
    """The rules of pieces; the schemas in them are added to `schemas` and named by their places there."""

    def __init__(self, pieces: Pieces, shown: dict[str, int], schemas: list[JsonSchema]) -> None:
        self._pieces = pieces
        self._schemas = schemas
        self._shown = shown
        longest_first = sorted(shown, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if shown else None

    def written(self) -> str:
        pieces = self._pieces
        trigger, before = pieces.trigger, pieces.before[len(pieces.trigger) :]
        cut = max(
            len(trigger) - len(pieces.before), 0
        )  # so much of each choice's first text is the trigger's
        lines: list[str] = []
        first = self._choices(lines, "first", cut)
        other = self._choices(lines, "other", 0) if cut and pieces.repeat else first
        more = f"({self._row([pieces.between])} {other})*" if pieces.repeat else ""
        lines.append(f"whole: {self._row([before])} {first} {more} {self._row([pieces.after])}")
        if not trigger:
            return "\n".join(["start: whole", *lines, ""])
        lines.append("TEXT: /(?s:.*)/")
        head = self._literal(trigger)
        if head[0].startswith("<["):  # a token that no text stands for
            lines.append(f"head: TEXT {' '.join(head)}")
        elif len(head) > 1:  # text before such a token
            lines += [f"BEGIN: TEXT {head[0]}", f"head: BEGIN {' '.join(head[1:])}"]
        else:  # the first that comes ends the text
            lines += [f"begin[lazy]: TEXT {head[0]}", "head: begin"]
        start = "(head whole)* TEXT" if pieces.repeat else "TEXT | head whole"
        return "\n".join([f"start: {start}", *lines, ""])

    def _choices(self, lines: list[str], name: str, cut: int) -> str:
        """The name of a rule that is one of the choices, `cut` characters of each first text left out."""
        ways = []
        for choice in self._pieces.choices:
            row = (str(choice[0])[cut:], *choice[1:]) if cut else choice
            ways.append(self._row(row))
        lines.append(f"{name}: {' | '.join(ways)}")
        return name

    def _row(self, items: Iterable[str | JsonSchema]) -> str:
        found = []
        for item in items:
            if isinstance(item, str):
                found.extend(self._literal(item))
            else:
                found.append(f"@schema{len(self._schemas)}")
                self._schemas.append(item)
        return " ".join(found) or '""'

    def _literal(self, text: str) -> list[str]:
        """As Lark's syntax has it, control tokens by their numbers."""
        parts = self._marks.split(text) if self._marks else [text]
        return [
            f"<[{self._shown[part]}]>" if part in self._shown else json.dumps(part, ensure_ascii=False)
            for part in parts
            if part
        ]


_UNKNOWN = re.compile(r"Unimplemented keys: \[(.*)\]")
_ELSEWHERE = re.compile(r"Resource '(.*)' is not present in a registry")


def refusal(shape: Shape, said: str) -> SlmDeskError:
    """The error of a shape that llguidance does not take, from its words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it gives no reason"]
    reason = next((line for line in reversed(lines) if line.startswith("error:")), lines[0])
    reason = reason.removeprefix("error:").strip()[:300].rstrip(".")
    if isinstance(shape, Grammar):
        return SlmDeskError(
            "grammar_invalid", f"The grammar is not valid: {reason}.", _HINT, details=said[:2000]
        )
    if keys := _UNKNOWN.search(reason):
        names = keys[1].replace('"', "")
        return schema_refused(f"It uses {names}, which cannot be enforced.")
    if outside := _ELSEWHERE.search(reason):
        return schema_refused(f"It refers to {outside[1]}, and nothing outside of it is read.")
    if reason.startswith("oneOf constraints"):
        return schema_refused("It uses oneOf with choices that may hold at once, which cannot be enforced.")
    return schema_refused(f"{reason[:1].upper()}{reason[1:]}.")
