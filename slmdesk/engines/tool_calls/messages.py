"""A conversation with tools as chat templates take it: natively, or in words where a template knows no tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Media, Reasoning, Text, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slmdesk.inference.asks import Tool, Turn

Messages = list[dict[str, Any]]

_ID_LETTERS = 9  # Mistral's templates take no other ids


def plain_messages(turns: Sequence[Turn]) -> Messages:
    """A conversation without calls. Raises `unsupported` for what this engine cannot read."""
    return [{"role": turn.role, "content": _text(turn)} for turn in turns]


def has_calls(turns: Iterable[Turn]) -> bool:
    """Whether tools were called in the conversation."""
    return any(isinstance(part, ToolCall | ToolResult) for turn in turns for part in turn.parts)


def native_messages(turns: Sequence[Turn], *, as_text: bool = False) -> Messages:
    """As templates that know tools take it, in OpenAI's form. `as_text`: arguments as JSON text instead of values."""
    found: Messages = []
    ids: dict[str, str] = {}
    names = {part.id: part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall)}
    asked = max((index for index, turn in enumerate(turns) if turn.role == "user"), default=-1)
    for index, turn in enumerate(turns):
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        found += [
            {
                "role": "tool",
                "content": part.text,
                "tool_call_id": _short(part.id, ids),
                "name": names.get(part.id, ""),
            }
            for part in results
        ]
        if results and len(results) == len(turn.parts):
            continue
        message: dict[str, Any] = {"role": turn.role, "content": _text(turn)}
        calls = [part for part in turn.parts if isinstance(part, ToolCall)]
        if calls:
            message["tool_calls"] = [_call(part, _short(part.id, ids), as_text=as_text) for part in calls]
            thought = "".join(part.text for part in turn.parts if isinstance(part, Reasoning))
            if thought and index > asked:  # within one answer models want to see why they called
                message |= {"reasoning_content": thought, "thinking": thought}
        found.append(message)
    return found


def native_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools as templates take them, in OpenAI's form."""
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def worded_messages(turns: Sequence[Turn], tools: Sequence[Tool]) -> Messages:
    """For a template without tools: they stand in the instructions, calls and results in the text of the turns."""
    found: Messages = []
    for turn in turns:
        role = "user" if turn.role == "tool" else turn.role
        content = _worded(turn)
        if found and role == found[-1]["role"] == "user":
            found[-1]["content"] += f"\n{content}"
        else:
            found.append({"role": role, "content": content})
    if not tools:
        return found
    told = _instructions(tools)
    if found and found[0]["role"] == "system":
        found[0]["content"] = f"{found[0]['content']}\n\n{told}"
        return found
    return [{"role": "system", "content": told}, *found]


def _instructions(tools: Sequence[Tool]) -> str:
    lines = "\n".join(json.dumps(_function(tool), ensure_ascii=False) for tool in tools)
    return (
        "You can call these functions when they help with the question. Each line describes one:\n"
        f"<tools>\n{lines}\n</tools>\n"
        "To call a function, write this and nothing else, once for each call:\n"
        '<tool_call>\n{"name": "the function\'s name", "arguments": {"its arguments": "as JSON"}}\n</tool_call>\n'
        "What it gives comes in the next message. Then answer the question in your own words."
    )


def _worded(turn: Turn) -> str:
    pieces = [_text(turn)]
    for part in turn.parts:
        if isinstance(part, ToolCall):
            arguments = _arguments(part)
            call = json.dumps({"name": part.name, "arguments": arguments}, ensure_ascii=False)
            pieces.append(f"<tool_call>\n{call}\n</tool_call>")
        elif isinstance(part, ToolResult):
            pieces.append(f"<tool_response>\n{part.text}\n</tool_response>")
    return "\n".join(piece for piece in pieces if piece)


def _text(turn: Turn) -> str:
    if any(isinstance(part, Media) for part in turn.parts):
        raise SlmDeskError(
            "unsupported", "This model reads text only.", "Leave out images, sounds and other files."
        )
    return "".join(part.text for part in turn.parts if isinstance(part, Text))


def _short(given: str, ids: dict[str, str]) -> str:
    """An id that every template takes, the same for a call and its result."""
    if len(given) == _ID_LETTERS and given.isalnum():
        return given
    return ids.setdefault(given, f"{len(ids) + 1:0{_ID_LETTERS}d}")


def _call(part: ToolCall, short: str, *, as_text: bool) -> dict[str, Any]:
    arguments = part.arguments if as_text else _arguments(part)
    return {"id": short, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _arguments(part: ToolCall) -> Any:
    try:
        return json.loads(part.arguments or "{}")
    except ValueError:
        return part.arguments


def _function(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters or _NOTHING}


_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
