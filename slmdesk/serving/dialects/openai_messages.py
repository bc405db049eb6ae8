"""From the messages and tools of an OpenAI request to turns and tools."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.inference.asks import Reasoning, Text, Tool, ToolCall, ToolChoice, ToolResult, Turn
from slmdesk.serving.dialects.bodies import unsupported
from slmdesk.serving.dialects.openai_bodies import Call
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.inference.asks import Part, Role
    from slmdesk.serving.dialects.openai_bodies import ChatBody, ChatMessage, Function

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_FILES = frozenset({"image_url", "input_image", "image", "input_audio", "file", "input_file", "video_url"})
_TEXTS = frozenset({"text", "input_text", "output_text", "refusal"})
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_MOST_TOOLS = 512


def read_turns(messages: Sequence[ChatMessage]) -> tuple[Turn, ...]:
    """The conversation. Raises `RequestError`."""
    if not messages:
        refuse("messages", "“messages” is empty.", "Send at least one message.")
    turns: list[Turn] = []
    for index, message in enumerate(messages):
        turn = _turn(f"messages[{index}]", message)
        if turns and turn.role == turns[-1].role == "tool":  # the results of calls made at once are one turn
            turns[-1] = Turn("tool", (*turns[-1].parts, *turn.parts))
        else:
            turns.append(turn)
    return tuple(turns)


def _turn(place: str, message: ChatMessage) -> Turn:
    role = _ROLES.get(message.role)
    if role is None:
        refuse(f"{place}.role", f"“{place}.role” must be one of {', '.join(_ROLES)}.")
    if role == "tool":
        return Turn("tool", (_result(place, message),))
    calls = _calls(place, message) if role == "assistant" else ()
    if message.content is None and role != "assistant":
        refuse(f"{place}.content", f"“{place}.content” must be a string or an array.", code="invalid_type")
    parts: list[Part] = []
    if role == "assistant" and message.reasoning_content:
        parts.append(Reasoning(message.reasoning_content))
    text = read_content(f"{place}.content", message.content or "")
    if text:
        parts.append(Text(text))
    return Turn(role, (*parts, *calls))


def _result(place: str, message: ChatMessage) -> ToolResult:
    call = message.tool_call_id or message.name
    if not call:
        refuse(f"{place}.tool_call_id", f"“{place}.tool_call_id” is missing.", code="missing_field")
    return ToolResult(call, read_content(f"{place}.content", message.content or ""))


def _calls(place: str, message: ChatMessage) -> tuple[ToolCall, ...]:
    given = list(message.tool_calls or ())
    if message.function_call is not None:
        given.append(Call(function=message.function_call, id=message.function_call.name))
    found = []
    for index, call in enumerate(given):
        arguments = call.function.arguments
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        found.append(ToolCall(call.id or f"{place}.{index}", call.function.name, arguments or "{}"))
    return tuple(found)


def read_content(place: str, content: str | list[Any]) -> str:
    """The text of a message. Raises `RequestError`; pictures, sounds and files are refused by name."""
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        where = f"{place}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in _FILES:
            unsupported(
                where,
                "Only text can be read; this message holds an image, sound or file.",
                "Send the text alone.",
            )
        text = (part.get("text", part.get("refusal")) if isinstance(part, dict) else part) or ""
        known = not isinstance(part, dict) or (isinstance(kind, str) and kind in _TEXTS)
        if not known or (not text and not _has_text(part)):
            refuse(
                where,
                f"“{where}” must be a part of type “text” with a string in “text”.",
                code="invalid_type",
            )
        if not isinstance(text, str):
            refuse(where, f"“{where}.text” must be a string.", code="invalid_type")
        texts.append(text)
    return "".join(texts)


def _has_text(part: object) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and isinstance(part.get("text"), str))


def read_tools(body: ChatBody) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools, and whether they are to be called. Raises `RequestError`."""
    given: list[tuple[str, Function]] = []
    for index, entry in enumerate(body.tools or ()):
        if entry.type != "function":
            unsupported(
                f"tools[{index}].type", f"Tools of type “{entry.type}” are not supported.", "Use functions."
            )
        if entry.function is None:
            refuse(f"tools[{index}].function", f"“tools[{index}].function” is missing.", code="missing_field")
        given.append((f"tools[{index}].function", entry.function))
    given += [(f"functions[{index}]", function) for index, function in enumerate(body.functions or ())]
    if len(given) > _MOST_TOOLS:
        refuse("tools", f"“tools” holds {len(given)} functions; {_MOST_TOOLS} are allowed.")
    tools = tuple(_tool(place, function) for place, function in given)
    names = [tool.name for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        refuse("tools", f"Two tools are called “{twice}”.", "Give each its own name.")
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    chosen = _choice(choice, names)
    return tools, replace(chosen, parallel=body.parallel_tool_calls is not False)


def _tool(place: str, function: Function) -> Tool:
    if not _NAME.fullmatch(function.name):
        refuse(f"{place}.name", f"“{place}.name” may have letters, digits, “_”, “-” and “.”, up to 128.")
    return Tool(function.name, function.description or "", function.parameters or {}, function.strict is True)


def _choice(choice: str | dict[str, Any] | None, names: Sequence[str]) -> ToolChoice:
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice("none")
    if isinstance(choice, str) and choice in {"required", "any"}:
        if not names:
            refuse("tool_choice", "“tool_choice” wants a call, and there are no tools.")
        return ToolChoice("required")
    if not isinstance(choice, dict):
        refuse("tool_choice", "“tool_choice” must be auto, none, required, or name a function.")
    kind = choice.get("type", "function")
    if kind != "function":
        unsupported("tool_choice", f"“tool_choice” of type “{kind}” is not supported.", "Name a function.")
    inner = choice.get("function")
    name = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    if name not in names:
        refuse("tool_choice", "“tool_choice” names a function that is not among the tools.")
    return ToolChoice("required", str(name))
