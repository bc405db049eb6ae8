"""From the body of an Anthropic request to what engines are asked."""

from __future__ import annotations

import json
from typing import Any

from slmdesk.inference.asks import (
    Ask,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from slmdesk.inference.limits import find_model_setting
from slmdesk.serving.dialects.bodies import Body, Number, as_body, required, unsupported, whole, within
from slmdesk.serving.dialects.dialect import Asked
from slmdesk.serving.dialects.openai_requests import MOST_TOKENS, read_model, read_stop
from slmdesk.serving.request_errors import refuse

_FILES = frozenset({"image", "document", "search_result", "container_upload"})
_LEAST_THINKING = 1024  # tokens; the API's own limit, below which clients send nothing


class AnthropicMessage(Body):
    """One entry of `messages`."""

    role: str
    content: str | list[dict[str, Any]]


class AnthropicTool(Body):
    """One entry of `tools`; those that a server runs have a `type` of their own."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class MessagesBody(Body):
    """`POST /v1/messages`, and of its counting."""

    model: str | None = None
    messages: list[AnthropicMessage] | None = None
    system: str | list[dict[str, Any]] | None = None
    max_tokens: Number | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Number | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


def read_messages(body: MessagesBody) -> Asked:
    """`POST /v1/messages`. Raises `RequestError`."""
    tools = tuple(_tool(f"tools[{index}]", entry) for index, entry in enumerate(body.tools or ()))
    ask = Ask(
        model=read_model(body.model),
        turns=_turns(body),
        tools=tools,
        tool_choice=_choice(body.tool_choice or {}, tools),
        apart=True,
        max_tokens=whole("max_tokens", body.max_tokens, 1, MOST_TOKENS) or 0,
        stop=read_stop("stop_sequences", body.stop_sequences) if body.stop_sequences is not None else None,
        sampling=_sampling(body),
        template_options=_thinking(body.thinking),
    )
    return Asked(ask, bool(body.stream))


def _turns(body: MessagesBody) -> tuple[Turn, ...]:
    messages = required("messages", body.messages)
    if not messages:
        refuse("messages", "“messages” is empty.", "Send at least one message.")
    turns: list[Turn] = []
    system = _text("system", body.system) if body.system is not None else ""
    if system:
        turns.append(Turn.of("system", system))
    for index, message in enumerate(messages):
        turns += _message(f"messages[{index}]", message)
    return tuple(turns)


def _message(place: str, message: AnthropicMessage) -> list[Turn]:
    """A message's turns: results of tools stand before what a person says beside them."""
    inside = f"{place}.content"
    if message.role == "assistant":
        return [_assistant(inside, message.content)]
    if message.role == "system":
        return [Turn.of("system", _text(inside, message.content))]
    if message.role != "user":
        refuse(f"{place}.role", f"“{place}.role” must be user or assistant.")
    results, texts = _user(inside, message.content)
    found = [Turn("tool", tuple(results))] if results else []
    return [*found, Turn.of("user", texts)] if texts or not results else found


def _user(place: str, content: str | list[dict[str, Any]]) -> tuple[list[ToolResult], str]:
    if isinstance(content, str):
        return [], content
    results: list[ToolResult] = []
    texts: list[str] = []
    for index, block in enumerate(content):
        where = f"{place}[{index}]"
        if block.get("type") == "tool_result":
            call = block.get("tool_use_id")
            if not isinstance(call, str):
                refuse(f"{where}.tool_use_id", f"“{where}.tool_use_id” is missing.", code="missing_field")
            text = _text(f"{where}.content", block.get("content") or "")
            results.append(ToolResult(call, text, failed=block.get("is_error") is True))
        else:
            texts.append(_block_text(where, block))
    return results, "\n".join(texts)


def _assistant(place: str, content: str | list[dict[str, Any]]) -> Turn:
    if isinstance(content, str):
        return Turn.of("assistant", content)
    parts: list[Text | Reasoning | ToolCall] = []
    for index, block in enumerate(content):
        where = f"{place}[{index}]"
        match block.get("type"):
            case "tool_use":
                name, call, given = block.get("name"), block.get("id"), block.get("input")
                if not isinstance(name, str) or not isinstance(call, str):
                    refuse(where, f"“{where}” must have an “id” and a “name”.", code="missing_field")
                parts.append(ToolCall(call, name, json.dumps(given or {}, ensure_ascii=False)))
            case "thinking":
                parts.append(Reasoning(str(block.get("thinking") or "")))
            case "redacted_thinking":
                continue
            case _:
                parts.append(Text(_block_text(where, block)))
    return Turn("assistant", tuple(part for part in parts if isinstance(part, ToolCall) or part.text))


def _text(place: str, content: object) -> str:
    if isinstance(content, str):
        return content
    blocks = as_body(content, list[dict[str, Any]], place)
    return "\n".join(_block_text(f"{place}[{index}]", block) for index, block in enumerate(blocks))


def _block_text(place: str, block: dict[str, Any]) -> str:
    kind = block.get("type")
    if isinstance(kind, str) and kind in _FILES:
        unsupported(
            place, "Only text can be read; this message holds an image or a document.", "Send the text alone."
        )
    text = block.get("text")
    if kind != "text" or not isinstance(text, str):
        refuse(
            place, f"“{place}” must be a block of type “text” with a string in “text”.", code="invalid_type"
        )
    return text


def _tool(place: str, entry: AnthropicTool) -> Tool:
    if entry.type not in {None, "custom"}:
        unsupported(f"{place}.type", f"Tools of type “{entry.type}” run at Anthropic, not here.")
    return Tool(entry.name, entry.description or "", entry.input_schema or {})


def _choice(choice: dict[str, Any], tools: tuple[Tool, ...]) -> ToolChoice:
    names = [tool.name for tool in tools]
    kind = choice.get("type", "auto")
    if kind == "auto":
        return ToolChoice()
    if kind == "none":
        return ToolChoice("none")
    if kind == "any" and names:
        return ToolChoice("required")
    if kind not in ("any", "tool"):
        refuse("tool_choice", "“tool_choice.type” must be auto, any, tool or none.")
    if choice.get("name") not in names:
        refuse("tool_choice", "“tool_choice” wants a tool that is not among the tools.")
    return ToolChoice("required", str(choice["name"]))


def _sampling(body: MessagesBody) -> Sampling:
    values: dict[str, Any] = {}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(body, name)
        if value is None:
            continue
        limit = find_model_setting(name)
        least, most = limit.minimum or 0, limit.maximum if limit.maximum is not None else float("inf")
        whole_number = limit.type is int
        values[name] = whole(name, value, least, most) if whole_number else within(name, value, least, most)
    return Sampling(**values)


def _thinking(thinking: dict[str, Any] | None) -> dict[str, Any]:
    """As chat templates know it; nothing is said where nothing was asked."""
    if thinking is None:
        return {}
    kind = thinking.get("type")
    if kind not in {"enabled", "disabled", "adaptive"}:
        refuse("thinking.type", "“thinking.type” must be enabled, adaptive or disabled.")
    if kind != "enabled":
        return {"enable_thinking": kind != "disabled"}
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        refuse("thinking.budget_tokens", f"“thinking.budget_tokens” must be {_LEAST_THINKING} or more.")
    return {"enable_thinking": True, "thinking_budget": budget}
