"""From the bodies of Ollama's API to what engines are asked. Its own words: docs/api.md of that project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slmdesk.inference.asks import (
    ANY_SEED,
    Ask,
    JsonSchema,
    Reasoning,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from slmdesk.inference.limits import MOST_SEED
from slmdesk.serving.dialects.bodies import Body, Number, as_body, unsupported, whole, within
from slmdesk.serving.dialects.dialect import Asked
from slmdesk.serving.dialects.ollama_management import read_keep_alive
from slmdesk.serving.dialects.openai_requests import MOST_TOKENS, read_model, read_stop
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.inference.asks import Role

_MOST_CONTEXT = 2**24
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class OllamaFunctionCall(Body):
    """A call in a conversation, with its arguments as an object."""

    name: str
    arguments: dict[str, Any] | str | None = None


class OllamaCall(Body):
    """One entry of `tool_calls`."""

    function: OllamaFunctionCall
    id: str | None = None


class OllamaMessage(Body):
    """One entry of `messages`."""

    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaFunction(Body):
    """What a tool is."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(Body):
    """One entry of `tools`."""

    function: OllamaFunction


class OllamaOptions(Body):
    """`options`. What is not named here (threads, batch, devices) is this program's own business."""

    temperature: Number | None = None
    top_k: Number | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    seed: Number | None = None
    num_predict: Number | None = None
    num_ctx: Number | None = None
    repeat_penalty: Number | None = None
    repeat_last_n: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    stop: str | list[str] | None = None


class OllamaAsking(Body):
    """What chat and generate have."""

    model: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    keep_alive: str | Number | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: Number | None = None
    truncate: bool | None = None


class OllamaChatBody(OllamaAsking):
    """`POST /api/chat`."""

    messages: list[OllamaMessage] | None = None
    tools: list[OllamaTool] | None = None


class OllamaGenerateBody(OllamaAsking):
    """`POST /api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    raw: bool | None = None
    images: list[str] | None = None
    context: list[int] | None = None


def read_chat(body: OllamaChatBody) -> Asked:
    """`POST /api/chat`. Raises `RequestError`."""
    tools = tuple(
        Tool(entry.function.name, entry.function.description or "", entry.function.parameters or {})
        for entry in body.tools or ()
    )
    turns = tuple(_turn(f"messages[{index}]", entry) for index, entry in enumerate(body.messages or ()))
    return _asked(body, _together(turns), tools=tools)


def read_generate(body: OllamaGenerateBody) -> Asked:
    """`POST /api/generate`. Raises `RequestError`."""
    if body.images:
        unsupported("images", "Only text can be read.", "Leave “images” out.")
    if body.template:
        unsupported(
            "template",
            "A template for one request is not supported.",
            "Send “raw”: true with the whole text.",
        )
    prompt = body.prompt or ""
    if body.raw or body.suffix:
        return _asked(body, (), prompt=prompt, suffix=body.suffix or "")
    turns = [Turn.of("system", body.system)] if body.system else []
    return _asked(body, (*turns, Turn.of("user", prompt)) if prompt else ())


def is_empty(asked: Asked) -> bool:
    """Whether the request only wants the model loaded or unloaded."""
    return not asked.ask.turns and not asked.ask.prompt


def _asked(
    body: OllamaAsking,
    turns: tuple[Turn, ...],
    *,
    tools: tuple[Tool, ...] = (),
    prompt: str | None = None,
    suffix: str = "",
) -> Asked:
    options = body.options or OllamaOptions()
    limit = options.num_predict
    ask = Ask(
        model=read_model(body.model),
        turns=turns,
        prompt=prompt,
        suffix=suffix,
        tools=tools,
        apart=bool(turns) and body.think is not False,
        sampling=_sampling(options),
        max_tokens=0
        if limit is None or limit < 0
        else whole("options.num_predict", limit, 1, MOST_TOKENS) or 0,
        stop=read_stop("options.stop", options.stop) if options.stop is not None else None,
        shape=_shape(body.format),
        overflow="drop_oldest" if body.truncate else "refuse",
        context_length=whole("options.num_ctx", options.num_ctx, 1, _MOST_CONTEXT) or 0,
        template_options=_thinking(body.think),
        logprobs=(whole("top_logprobs", body.top_logprobs, 0, 20) or 0) if body.logprobs else None,
    )
    return Asked(ask, stream=body.stream is not False, keep_s=read_keep_alive(body.keep_alive))


def _turn(place: str, entry: OllamaMessage) -> Turn:
    if entry.images:
        unsupported(f"{place}.images", "Only text can be read.", "Leave “images” out.")
    text = entry.content or ""
    role = _ROLES.get(entry.role)
    if role is None:
        refuse(f"{place}.role", f"“{place}.role” must be one of {', '.join(_ROLES)}.")
    if role == "tool":
        return Turn("tool", (ToolResult(entry.tool_call_id or entry.tool_name or "", text),))
    if role != "assistant":
        return Turn.of(role, text)
    parts: list[Reasoning | Text | ToolCall] = []
    if entry.thinking:
        parts.append(Reasoning(entry.thinking))
    if text:
        parts.append(Text(text))
    calls = [_call(index, call) for index, call in enumerate(entry.tool_calls or ())]
    return Turn("assistant", (*parts, *calls))


def _call(index: int, call: OllamaCall) -> ToolCall:
    """Results name the tool, or the call's place among the calls."""
    given = call.function.arguments
    arguments = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
    return ToolCall(call.id or call.function.name or str(index), call.function.name, arguments)


def _together(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The results of calls made at once as one turn."""
    found: list[Turn] = []
    for turn in turns:
        if found and turn.role == found[-1].role == "tool":
            found[-1] = Turn("tool", (*found[-1].parts, *turn.parts))
        else:
            found.append(turn)
    return tuple(found)


def _sampling(options: OllamaOptions) -> Sampling:
    values: dict[str, Any] = {}
    for name, least, most in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("min_p", 0, 1),
        ("repeat_penalty", 0.01, 10),
        ("presence_penalty", -2, 2),
        ("frequency_penalty", -2, 2),
    ):
        if (value := getattr(options, name)) is not None:
            values[name] = within(f"options.{name}", value, least, most)
    if options.top_k is not None:
        values["top_k"] = max(0, whole("options.top_k", options.top_k, -1, 2**31 - 1) or 0)
    if options.repeat_last_n is not None:
        values["penalty_last_n"] = max(
            0, whole("options.repeat_last_n", options.repeat_last_n, -1, 2**20) or 0
        )
    if options.seed is not None:
        seed = whole("options.seed", options.seed, -(2**63), 2**63 - 1) or 0
        values["seed"] = seed if seed == ANY_SEED else seed % (MOST_SEED + 1)
    return Sampling(**values)


def _shape(given: str | dict[str, Any] | None) -> JsonSchema | None:
    if given is None or given == "":
        return None
    if given == "json":
        return JsonSchema({"type": "object"})
    if isinstance(given, str):
        refuse("format", "“format” must be json or a JSON schema.")
    return JsonSchema(as_body(given, dict[str, Any], "format"))


def _thinking(think: bool | str | None) -> dict[str, Any]:
    if think is None:
        return {}
    if isinstance(think, bool):
        return {"enable_thinking": think}
    if think not in {"low", "medium", "high"}:
        refuse("think", "“think” must be true, false, low, medium or high.")
    return {"enable_thinking": True, "reasoning_effort": think}
