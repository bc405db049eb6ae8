"""What stands between the marks of a tool call, read while it is written.

Which syntax it is shows at its first characters: a JSON object or a list of them, a name with JSON behind it
(Mistral), Qwen3-Coder's tags, or the call expressions of FunctionGemma and Gemma 4.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from slmdesk.engines.tool_calls.expressions import read_expression
from slmdesk.engines.tool_calls.json_scan import JsonScan
from slmdesk.inference.answers import ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.asks import Tool

# A call whose name comes first: its arguments can be given out as they come.
_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters|args)"\s*:\s*(?=\{)'
)
_NAMED = re.compile(r"\s*([A-Za-z0-9_.\-]{1,128})\s*(?:\[CALL_ID\]\s*\w*\s*)?(?:\[ARGS\]\s*)?(?=\{)")
_TAG = re.compile(r"<function=([^>\s]+)>")
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_ID_LETTERS = 9  # exactly as many as Mistral's templates ask for


@dataclass(slots=True)
class Calls:
    """The calls of one answer: which tools there are, and the next call's index and id.

    Ids follow from `seed`, so that an answer read again (its engine died and another goes on) has the same.
    """

    tools: Sequence[Tool]
    seed: str
    count: int = 0
    _known: dict[str, Tool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = {tool.name: tool for tool in self.tools}

    def knows(self, name: str) -> bool:
        return name in self._known

    def schema(self, name: str) -> dict[str, Any]:
        return self._known[name].parameters

    def opened(self, name: str, arguments: str = "") -> ToolCallDelta:
        """The beginning of one more call."""
        index = self.count
        self.count += 1
        digest = hashlib.sha256(f"{self.seed} {index}".encode()).hexdigest()
        return ToolCallDelta(index, digest[:_ID_LETTERS], name, arguments)


class CallBody:
    """One stretch between marks. `done` once its syntax ended by itself; `rest` is what stands behind it then.

    `given`: something of it was given out as a call; else its text is part of the answer.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._syntax: Literal["", "json", "late"] = ""  # late: understood once it is whole
        self._head = ""  # JSON not understood yet
        self._list = False
        self._call = JsonScan()
        self._arguments: JsonScan | None = None
        self._index = -1
        self._bracketed = False  # the call is an object of its own around its arguments
        self.raw = ""
        self.rest = ""
        self.done = False
        self.given = False

    @property
    def in_string(self) -> bool:
        """Whether the text read so far ends inside a JSON string, where marks are only text."""
        if self._arguments is not None:
            return self._arguments.in_string
        scan = JsonScan()
        scan.feed(self._head)
        return scan.in_string

    def push(self, text: str) -> list[ToolCallDelta]:
        """Take the next text."""
        self.raw += text
        if not self._syntax:
            self._syntax = _syntax(self.raw.lstrip())
            text = self.raw
        if self._syntax != "json" or self.done:
            return []
        self._head += text
        found: list[ToolCallDelta] = []
        while self._head and not self.done:
            before = self._head, self._list, self._arguments
            found += self._read()
            if (self._head, self._list, self._arguments) == before:
                break
        self.given = self.given or bool(found)
        self._settle()
        return found

    def _settle(self) -> None:
        if self.done:
            self.rest, self._head = self._head, ""

    def close(self) -> list[ToolCallDelta]:
        """The end mark came, or the answer ended: what can be understood of the rest."""
        self.done = True
        if self.given or self._syntax != "late":
            return []
        found = self._whole()
        self.given = bool(found)
        return found

    def _read(self) -> list[ToolCallDelta]:
        if self._arguments is not None:
            return self._in_arguments(self._arguments)
        start = self._head.lstrip()
        if not start:
            return []
        if self._list and start[0] in ",]":
            self._head = start[1:]
            self.done = start[0] == "]"
            return []
        if start[0] == "[" and not self._list:
            self._list, self._head = True, start[1:]
            return []
        return self._object() if start[0] == "{" else self._named()

    def _object(self) -> list[ToolCallDelta]:
        head = _HEAD.match(self._head)
        if head is not None and self._calls.knows(name := json.loads(head[1])):
            return self._begin(name, head[0], self._head[head.end() :])
        scan = JsonScan()
        size = scan.feed(self._head)
        if not scan.ended:
            return []
        text, self._head = self._head[:size], self._head[size:]
        found = self._complete(text)
        self.done = not self._list or not found
        return found

    def _named(self) -> list[ToolCallDelta]:
        """A name, and its arguments behind it."""
        named = _NAMED.match(self._head)
        if named is not None and self._calls.knows(named[1]):
            return self._begin(named[1], "", self._head[named.end() :])
        self.done = named is not None
        return []

    def _begin(self, name: str, before: str, rest: str) -> list[ToolCallDelta]:
        opened = self._calls.opened(name)
        self._index, self._arguments, self._head = opened.index, JsonScan(), rest
        self._call = JsonScan()
        self._call.feed(before)
        self._bracketed = bool(before)
        return [opened]

    def _in_arguments(self, scan: JsonScan) -> list[ToolCallDelta]:
        """More of the arguments, then the bracket that ends the call."""
        found: list[ToolCallDelta] = []
        if not scan.ended:
            size = scan.feed(self._head)
            piece, self._head = self._head[:size], self._head[size:]
            self._call.feed(piece)
            found.append(ToolCallDelta(self._index, arguments=piece))
        if not scan.ended:
            return found
        if self._bracketed and not self._call.ended:
            self._head = self._head[self._call.feed(self._head) :]
        if self._call.ended or not self._bracketed:
            self._arguments = None
            self.done = not self._list
        return found

    def _complete(self, text: str) -> list[ToolCallDelta]:
        """A whole object whose keys come in another order, or that says more than it must."""
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            return []
        inner = value.get("function")
        value = inner if isinstance(inner, dict) else value
        name = value.get("name")
        arguments: object = next(
            (value[key] for key in ("arguments", "parameters", "args") if key in value), {}
        )
        if not isinstance(name, str) or not self._calls.knows(name):
            return []
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        return [self._calls.opened(name, arguments)]

    def _whole(self) -> list[ToolCallDelta]:
        """The syntaxes that are read once they are whole."""
        start = self.raw.strip()
        if (tag := _TAG.match(start)) is not None and self._calls.knows(tag[1]):
            properties = self._calls.schema(tag[1]).get("properties", {})
            values = {
                key: _typed(value, properties.get(key))
                for key, value in _PARAMETER.findall(start[tag.end() :])
            }
            return [self._calls.opened(tag[1], json.dumps(values, ensure_ascii=False))]
        expression = read_expression(start)
        if expression is None or not self._calls.knows(expression[0]):
            return []
        return [self._calls.opened(expression[0], json.dumps(expression[1], ensure_ascii=False))]


def _syntax(start: str) -> Literal["", "json", "late"]:
    """What the first characters tell, once they tell it."""
    if not start or any(head.startswith(start) for head in ("<function=", "call:")):
        return ""
    return "late" if start.startswith(("<function=", "call:")) else "json"


def _typed(text: str, schema: object) -> object:
    """A value between tags: text where the schema says so, else the JSON that it is."""
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
