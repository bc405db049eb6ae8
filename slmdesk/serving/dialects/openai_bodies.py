"""What requests to the OpenAI API hold, field by field."""

from __future__ import annotations

from typing import Any

from slmdesk.serving.dialects.bodies import Body, Number


class FunctionCall(Body):
    """A call in a conversation. `arguments`: JSON as text; some clients send the object itself."""

    name: str
    arguments: str | dict[str, Any] | None = None


class Call(Body):
    """One entry of `tool_calls`."""

    function: FunctionCall
    id: str | None = None


class ChatMessage(Body):
    """One entry of `messages`."""

    role: str
    content: str | list[Any] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None


class Function(Body):
    """What a tool is. `strict`: a schema that cannot be enforced whole is refused."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Body):
    """One entry of `tools`."""

    type: str = "function"
    function: Function | None = None


class Asking(Body):
    """What both kinds of completion have."""

    model: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Number | None = None
    stop: str | list[str] | None = None
    n: Number | None = None
    logit_bias: dict[str, Number] | None = None
    response_format: dict[str, Any] | None = None
    grammar: str | None = None
    conversation: str | None = None
    context_length: Number | None = None
    context_overflow: str | None = None
    kept_instructions: bool | None = None
    temperature: Number | None = None
    top_k: Number | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    repeat_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    penalty_last_n: Number | None = None
    seed: Number | None = None


class ChatBody(Asking):
    """`POST /v1/chat/completions`."""

    messages: list[ChatMessage] | None = None
    max_completion_tokens: Number | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: Number | None = None
    tools: list[ChatTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | dict[str, Any] | None = None
    modalities: list[str] | None = None


class CompletionBody(Asking):
    """`POST /v1/completions`. A prompt is a text or tokens; a list of either asks for one answer each."""

    prompt: str | list[Any] | None = None
    echo: bool | None = None
    best_of: Number | None = None
    suffix: str | None = None
    logprobs: Number | None = None


class TokenizeBody(Body):
    """`POST /slmdesk/v1/tokenize`."""

    model: str | None = None
    messages: list[ChatMessage] | None = None
    prompt: str | None = None
    context_length: Number | None = None
    kept_instructions: bool | None = None
