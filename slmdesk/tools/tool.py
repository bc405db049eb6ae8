"""What a tool is, what a call of it gives, and who offers tools."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN = "built-in"
"""The source of the tools that need no server; no server may be called so."""

MOST_ARGUMENTS = 256 * 1024
"""Characters of a call's arguments, as JSON. A model that runs away writes more; no tool of ours wants more."""

_NO_NAME_SIGN = re.compile(r"[^A-Za-z0-9_-]+")
_MARK = 60  # characters for the words that stand where something was left out
_LONGEST_NAME = 64  # what the chat templates and APIs of the field allow


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool of one source. `server`: `BUILT_IN`, or the name of an MCP server; `parameters`: a JSON Schema.

    `read_only` is what its server says of it, and is shown as that: nothing is decided by it.
    """

    server: str
    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    read_only: bool = False

    @property
    def key(self) -> str:
        """Names it among all tools: "built-in/calculator"."""
        return f"{self.server}/{self.name}"

    def asked_as(self, name: str) -> Tool:
        """As a model is told of it, under a name that no other tool of the question has."""
        return Tool(name, self.description, self.parameters)

    def to_json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "parameters": self.parameters,
            "read_only": self.read_only,
        }


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What a call gave: text for the model. `failed`: the text says why it did not work. `seconds`: how long it took;
    `left_out`: characters of the result that were not kept."""

    text: str
    failed: bool = False
    seconds: float = 0.0
    left_out: int = 0


class ToolSource(Protocol):
    """Who offers tools: the built-in ones, or one MCP server."""

    @property
    def name(self) -> str: ...

    async def tools(self) -> tuple[OfferedTool, ...]:
        """What it offers now. May start a server. Raises `SlmDeskError`."""

    async def call(self, tool: str, arguments: dict[str, Any], limit_s: float) -> ToolOutcome:
        """Call one of them. What the tool itself refuses is a failed outcome.

        Raises `SlmDeskError` where the source cannot be asked, and where it takes longer than `limit_s` seconds.
        """

    async def close(self) -> None:
        """End what it started; it starts again when it is asked."""


def named(tools: tuple[OfferedTool, ...]) -> dict[str, OfferedTool]:
    """The tools by the names a model is told: their own, and where two have one, with the server's before it."""
    plain = [_sign(tool.name) for tool in tools]
    found: dict[str, OfferedTool] = {}
    for tool, name in zip(tools, plain, strict=True):
        wanted = name if plain.count(name) == 1 else _sign(f"{tool.server}_{name}")
        number, unique = 2, wanted
        while unique in found:
            unique, number = f"{wanted[: _LONGEST_NAME - 4]}_{number}", number + 1
        found[unique] = tool
    return found


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call as the model wrote them; nothing is an empty object.

    Raises `SlmDeskError("tool_arguments_invalid")`, whose words are for the model that is to try again.
    """
    if len(text) > MOST_ARGUMENTS:
        raise SlmDeskError(
            "tool_arguments_invalid",
            f"The arguments are longer than {MOST_ARGUMENTS:,} characters.",
            "Call the tool with less.",
        )
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise SlmDeskError(
            "tool_arguments_invalid",
            f"The arguments are no JSON: {error}.",
            "Call the tool again with a JSON object.",
        ) from error
    if not isinstance(found, dict):
        raise SlmDeskError(
            "tool_arguments_invalid",
            "The arguments are no JSON object.",
            "Call the tool again with a JSON object.",
        )
    return found


def cut(text: str, limit: int) -> tuple[str, int]:
    """The text within `limit` characters, its middle left out and said so; and how many were."""
    if len(text) <= limit:
        return text, 0
    room = max(limit - _MARK, 0)
    head, over = room * 2 // 3, len(text) - room
    return f"{text[:head]}\n… {over:,} characters left out …\n{text[len(text) - (room - head) :]}", over


def text_argument(arguments: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """An argument that is text. Raises `SlmDeskError("tool_arguments_invalid")`."""
    value = arguments.get(name, default)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # small models write numbers where they could write text
    if not isinstance(value, str):
        raise SlmDeskError(
            "tool_arguments_invalid", f"“{name}” must be text.", f"Call the tool again with “{name}”."
        )
    return value


def _sign(name: str) -> str:
    return _NO_NAME_SIGN.sub("_", name)[:_LONGEST_NAME] or "tool"
