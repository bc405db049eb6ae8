"""From the body of a Responses request to what engines are asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import (
    Ask,
    JsonSchema,
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
from slmdesk.serving.dialects.bodies import Body, Number, as_body, unsupported, whole, within
from slmdesk.serving.dialects.dialect import Asked
from slmdesk.serving.dialects.openai_messages import read_content
from slmdesk.serving.dialects.openai_requests import EFFORTS, MOST_TOKENS, read_model
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.inference.asks import Role
    from slmdesk.serving.dialects.responses_store import ResponseStore

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


class ResponsesTool(Body):
    """One entry of `tools`."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ResponsesBody(Body):
    """`POST /v1/responses`."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    tools: list[ResponsesTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    max_output_tokens: Number | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_logprobs: Number | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    truncation: str | None = None


def read_response(body: ResponsesBody, store: ResponseStore) -> Asked:
    """`POST /v1/responses`. `extra` of what comes back is the body. Raises `RequestError`."""
    for name, what in (
        ("background", "Answers in the background are not supported."),
        ("prompt", "Prompts kept by a server are not supported."),
        ("conversation", "Conversations kept by a server are not supported; use “previous_response_id”."),
    ):
        if getattr(body, name):
            unsupported(name, what)
    tools = tuple(_tool(f"tools[{index}]", entry) for index, entry in enumerate(body.tools or ()))
    ask = Ask(
        model=read_model(body.model),
        turns=_turns(body, store),
        tools=tools,
        tool_choice=_choice(body.tool_choice, tools),
        apart=True,
        max_tokens=whole("max_output_tokens", body.max_output_tokens, 1, MOST_TOKENS) or 0,
        sampling=_sampling(body),
        shape=_shape(body.text or {}),
        overflow="drop_oldest" if body.truncation == "auto" else "refuse",
        template_options=_thinking(body.reasoning or {}),
    )
    return Asked(ask, bool(body.stream), extra=body)


def _turns(body: ResponsesBody, store: ResponseStore) -> tuple[Turn, ...]:
    """What was said before, then what is said now; instructions are of this request alone."""
    turns: list[Turn] = []
    if body.instructions:
        turns.append(Turn.of("system", body.instructions))
    if body.previous_response_id:
        kept = store.find(body.previous_response_id)
        if kept is None:
            raise SlmDeskError(
                "response_not_found",
                f"There is no response {body.previous_response_id} here: not stored, or the service ended since.",
                "Send the whole conversation as “input”.",
            )
        turns += kept.turns
    turns += read_input(body.input)
    return tuple(turns)


def read_input(given: str | list[dict[str, Any]] | None) -> list[Turn]:
    """The items of `input`. Raises `RequestError`."""
    if given is None or given in ("", []):
        refuse("input", "“input” is missing.", code="missing_field")
    if isinstance(given, str):
        return [Turn.of("user", given)]
    turns: list[Turn] = []
    for index, item in enumerate(given):
        turn = _item(f"input[{index}]", item)
        if turn is None:
            continue
        last = turns[-1] if turns else None
        # One answer is several items, and so are the results of its calls.
        if last is not None and last.role == turn.role and turn.role in {"assistant", "tool"}:
            turns[-1] = Turn(turn.role, (*last.parts, *turn.parts))
        else:
            turns.append(turn)
    return turns


def _item(place: str, item: dict[str, Any]) -> Turn | None:
    kind = item.get("type", "message")
    if kind == "message":
        return _message(place, item)
    if kind == "function_call":
        name, call, arguments = item.get("name"), item.get("call_id"), item.get("arguments")
        if not isinstance(name, str) or not isinstance(call, str):
            refuse(place, f"“{place}” must have a “name” and a “call_id”.", code="missing_field")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        return Turn("assistant", (ToolCall(call, name, text or "{}"),))
    if kind == "function_call_output":
        call, output = item.get("call_id"), item.get("output")
        if not isinstance(call, str):
            refuse(f"{place}.call_id", f"“{place}.call_id” is missing.", code="missing_field")
        if not isinstance(output, str | list):
            refuse(f"{place}.output", f"“{place}.output” must be a string or an array.", code="invalid_type")
        return Turn("tool", (ToolResult(call, read_content(f"{place}.output", output)),))
    if kind != "reasoning":
        unsupported(f"{place}.type", f"Items of type “{kind}” are not supported.")
    texts = [part.get("text", "") for part in item.get("content") or () if isinstance(part, dict)]
    thought = "".join(text for text in texts if isinstance(text, str))
    return Turn("assistant", (Reasoning(thought),)) if thought else None


def _message(place: str, item: dict[str, Any]) -> Turn:
    given = item.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        refuse(f"{place}.role", f"“{place}.role” must be one of {', '.join(_ROLES)}.")
    content = item.get("content")
    if not isinstance(content, str | list):
        refuse(f"{place}.content", f"“{place}.content” must be a string or an array.", code="invalid_type")
    text = read_content(f"{place}.content", content)
    return Turn(role, (Text(text),) if text else ())


def _tool(place: str, entry: ResponsesTool) -> Tool:
    if entry.type != "function":
        unsupported(f"{place}.type", f"Tools of type “{entry.type}” are not supported.", "Use functions.")
    if not entry.name:
        refuse(f"{place}.name", f"“{place}.name” is missing.", code="missing_field")
    return Tool(entry.name, entry.description or "", entry.parameters or {})


def _choice(choice: str | dict[str, Any] | None, tools: tuple[Tool, ...]) -> ToolChoice:
    names = [tool.name for tool in tools]
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice("none")
    if choice == "required" and names:
        return ToolChoice("required")
    if not isinstance(choice, dict) or choice.get("name") not in names:
        refuse("tool_choice", "“tool_choice” must be auto, none, required, or name one of the functions.")
    return ToolChoice("required", str(choice["name"]))


def _sampling(body: ResponsesBody) -> Sampling:
    values: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        value = getattr(body, name)
        if value is not None:
            limit = find_model_setting(name)
            values[name] = float(within(name, value, limit.minimum or 0, limit.maximum or 1))
    return Sampling(**values)


def _shape(text: dict[str, Any]) -> JsonSchema | None:
    form = text.get("format") or {"type": "text"}
    form = as_body(form, dict[str, Any], "text.format")
    kind = form.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return JsonSchema({"type": "object"})
    schema = form.get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        refuse("text.format", "“text.format” must be text, json_object, or json_schema with a “schema”.")
    return JsonSchema(schema)


def _thinking(reasoning: dict[str, Any]) -> dict[str, Any]:
    effort = reasoning.get("effort")
    if effort is None:
        return {}
    if effort not in EFFORTS:
        refuse("reasoning.effort", f"“reasoning.effort” must be one of {', '.join(EFFORTS)}.")
    return {"reasoning_effort": effort, "enable_thinking": effort != "none"}
