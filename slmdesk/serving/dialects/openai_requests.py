"""From the body of an OpenAI request to what engines are asked."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from slmdesk.inference.asks import ANY_SEED, Ask, Grammar, JsonSchema, Sampling
from slmdesk.inference.limits import LONGEST_STOP, MOST_SEED, MOST_STOPS, SAMPLING
from slmdesk.serving.dialects.bodies import required, unsupported, whole, within
from slmdesk.serving.dialects.dialect import Asked
from slmdesk.serving.dialects.openai_messages import read_tools, read_turns
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from slmdesk.core.setting_table import Setting
    from slmdesk.inference.asks import Overflow, Shape
    from slmdesk.serving.dialects.bodies import Number
    from slmdesk.serving.dialects.openai_bodies import Asking, ChatBody, CompletionBody, TokenizeBody

OVERFLOWS: tuple[Overflow, ...] = ("refuse", "drop_oldest", "keep_ends")
MOST_TOKENS = 2**31 - 1
MOST_ANSWERS = 16  # to one request
_MOST_PROMPTS = 256
MOST_CONTEXT = 2**24
_MOST_BIASES = 1024
_MOST_ALTERNATIVES = 20
_UNLIMITED = (-1, -2)  # other servers' ways to write "until it ends"
_BIAS_KEY = re.compile(r"[0-9]{1,9}")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def read_chat(body: ChatBody) -> Asked:
    """`POST /v1/chat/completions`. Raises `RequestError`."""
    if any(kind != "text" for kind in body.modalities or ()):
        unsupported("modalities", "Only text can be generated.")
    limit = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    tools, choice = read_tools(body)
    ask, notes = _common(body, _max_tokens(limit, getattr(body, limit)))
    ask = replace(
        ask,
        turns=read_turns(required("messages", body.messages)),
        template_options=_template_options(body),
        tools=tools,
        tool_choice=choice,
        apart=True,
        logprobs=_chat_logprobs(body),
    )
    if ask.must_call and ask.shape is not None:
        refuse("response_format", "“response_format” and a call that must be made exclude each other.")
    return _asked([ask], body, notes)


def read_completion(body: CompletionBody) -> Asked:
    """`POST /v1/completions`. Raises `RequestError`."""
    if body.prompt is None:
        refuse("prompt", "“prompt” is missing.", code="missing_field")
    prompts = _prompts(body.prompt)
    if body.best_of is not None and body.best_of not in {1, body.n}:
        unsupported("best_of", "The best of several answers is not chosen here.", "Leave “best_of” out.")
    alternatives = whole("logprobs", body.logprobs, 0, _MOST_ALTERNATIVES)
    echo = bool(body.echo)
    written = body.max_tokens != 0 or not echo
    ask, notes = _common(body, _max_tokens("max_tokens", body.max_tokens) if written else 0)
    if body.suffix and (echo or not all(isinstance(prompt, str) for prompt in prompts)):
        refuse("suffix", "“suffix” goes with prompts of text, without “echo”.")
    asks = [
        replace(
            ask,
            prompt=prompt,
            suffix=body.suffix or "",
            logprobs=alternatives
            if alternatives is not None or not (echo and isinstance(prompt, tuple))
            else 0,
            # Without them a prompt of text is known as it is; what tokens say only the engine knows.
            prompt_logprobs=echo and (alternatives is not None or isinstance(prompt, tuple)),
            prompt_only=not written,
        )
        for prompt in prompts
    ]
    return _asked(asks, body, notes, echo=echo, tells_logprobs=alternatives is not None)


def read_tokenize(body: TokenizeBody) -> Ask:
    """`POST /slmdesk/v1/tokenize`: a question of which only the prompt is looked at. Raises `RequestError`."""
    if (body.messages is None) == (body.prompt is None):
        refuse("messages", "Exactly one of “messages” and “prompt” must be given.")
    return Ask(
        model=read_model(body.model),
        turns=read_turns(body.messages) if body.messages is not None else (),
        prompt=body.prompt,
        context_length=whole("context_length", body.context_length, 1, MOST_CONTEXT) or 0,
        kept_instructions=body.kept_instructions is not False,
    )


def read_model(model: str | None) -> str:
    """The name of a model. Raises `RequestError`."""
    name = required("model", model).strip()
    if not name:
        refuse("model", "“model” is empty.", "Name a model that GET /v1/models lists.")
    return name


def _asked(
    asks: list[Ask], body: Asking, notes: tuple[str, ...], *, echo: bool = False, tells_logprobs: bool = False
) -> Asked:
    """One answer a prompt, or `n`."""
    count = whole("n", body.n, 1, MOST_ANSWERS) or 1
    several = [_varied(ask, index) for ask in asks for index in range(count)]
    stream = bool(body.stream)
    options = body.stream_options or {}
    usage = options.get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        name = "stream_options.include_usage"
        refuse(name, f"“{name}” must be true or false.", code="invalid_type")
    return Asked(
        several[0],
        stream,
        include_usage=stream and bool(usage),
        more=tuple(several[1:]),
        each=count,
        notes=notes,
        echo=echo,
        tells_logprobs=tells_logprobs or (asks[0].turns != () and asks[0].logprobs is not None),
    )


def _varied(ask: Ask, index: int) -> Ask:
    """The ask for another answer to the same prompt: with a seed of its own where there is one."""
    seed = ask.sampling.seed
    if not index or seed is None or seed == ANY_SEED:
        return ask
    return replace(ask, sampling=replace(ask.sampling, seed=(seed + index) % (MOST_SEED + 1)))


def _common(body: Asking, max_tokens: int) -> tuple[Ask, tuple[str, ...]]:
    sampling, notes = _sampling(body)
    ask = Ask(
        model=read_model(body.model),
        max_tokens=max_tokens,
        stop=read_stop("stop", body.stop) if body.stop is not None else None,
        sampling=sampling,
        shape=_shape(body),
        conversation=(body.conversation or "")[:200],
        context_length=whole("context_length", body.context_length, 1, MOST_CONTEXT) or 0,
        overflow=_overflow(body.context_overflow),
        kept_instructions=body.kept_instructions is not False,
    )
    return ask, notes


def _overflow(given: str | None) -> Overflow:
    found = next((one for one in OVERFLOWS if one == (given or "refuse")), None)
    if found is None:
        refuse("context_overflow", f"“context_overflow” must be one of {', '.join(OVERFLOWS)}.")
    return found


def _max_tokens(name: str, value: Number | None) -> int:
    if value is None or value in _UNLIMITED:
        return 0
    return whole(name, value, 1, MOST_TOKENS) or 0


def _chat_logprobs(body: ChatBody) -> int | None:
    alternatives = whole("top_logprobs", body.top_logprobs, 0, _MOST_ALTERNATIVES)
    if body.logprobs:
        return alternatives or 0
    if alternatives:
        refuse("top_logprobs", "“top_logprobs” goes with “logprobs”: true only.")
    return None


def _template_options(body: ChatBody) -> dict[str, Any]:
    """What the chat template is told; an effort is told in the two ways that templates know."""
    options: dict[str, Any] = {}
    if body.reasoning_effort is not None:
        if body.reasoning_effort not in EFFORTS:
            refuse("reasoning_effort", f"“reasoning_effort” must be one of {', '.join(EFFORTS)}.")
        options = {
            "reasoning_effort": body.reasoning_effort,
            "enable_thinking": body.reasoning_effort != "none",
        }
    return options | (body.chat_template_kwargs or {})


def _prompts(prompt: str | list[Any]) -> list[str | tuple[int, ...]]:
    """A text, tokens, or several of either."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        refuse("prompt", "“prompt” is empty.", "Send a text.")
    if all(_is_token(item) for item in prompt):
        return [tuple(prompt)]
    if len(prompt) > _MOST_PROMPTS:
        refuse("prompt", f"“prompt” holds {len(prompt)} prompts; {_MOST_PROMPTS} are allowed.")
    found: list[str | tuple[int, ...]] = []
    for item in prompt:
        if isinstance(item, list) and item and all(_is_token(token) for token in item):
            found.append(tuple(item))
        elif isinstance(item, str):
            found.append(item)
        else:
            refuse("prompt", "“prompt” must be a text, tokens, or a list of either.", code="invalid_type")
    return found


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_stop(name: str, value: str | list[str]) -> tuple[str, ...]:
    """The texts that end an answer. Raises `RequestError`."""
    items = [value] if isinstance(value, str) else value
    if len(items) > MOST_STOPS:
        refuse(name, f"“{name}” holds {len(items)} strings; {MOST_STOPS} are allowed.")
    for item in items:
        if len(item) > LONGEST_STOP:
            refuse(name, f"A stop string has {len(item)} characters; {LONGEST_STOP} are allowed.")
    return tuple(item for item in items if item)


def _sampling(body: Asking) -> tuple[Sampling, tuple[str, ...]]:
    """The values that are given. A temperature above the limit is lowered to it, and said."""
    values: dict[str, Any] = {}
    notes: list[str] = []
    for limit in SAMPLING:
        value = getattr(body, limit.key)
        if value is None:
            continue
        if limit.key == "temperature" and value > (limit.maximum or math.inf):
            notes.append(f"temperature {value:g} is above {limit.maximum:g}, which was used")
            value = limit.maximum
        values[limit.key] = _sampling_value(limit, value)
    if values.get("seed", ANY_SEED) != ANY_SEED:
        values["seed"] %= MOST_SEED + 1
    if body.logit_bias:
        values["logit_bias"] = _logit_bias(body.logit_bias)
    return Sampling(**values), tuple(notes)


def _sampling_value(limit: Setting, value: Number) -> Number:
    name = limit.key
    least = -math.inf if limit.minimum is None else limit.minimum
    most = math.inf if limit.maximum is None else limit.maximum
    if name == "top_k":  # other servers write "all" as -1
        return max(0, whole(name, value, -1, most) or 0)
    if name == "seed":  # seeds of any size
        return whole(name, value, -(2**63), 2**63 - 1) or 0
    return (whole(name, value, least, most) or 0) if limit.type is int else within(name, value, least, most)


def _logit_bias(biases: dict[str, Number]) -> dict[str, float]:
    if len(biases) > _MOST_BIASES:
        refuse("logit_bias", f"“logit_bias” holds {len(biases)} tokens; {_MOST_BIASES} are allowed.")
    for token, bias in biases.items():
        if not _BIAS_KEY.fullmatch(token):
            refuse("logit_bias", "The keys of “logit_bias” must be token numbers.")
        within(f"logit_bias.{token}", bias, -100, 100)
    return {token: float(bias) for token, bias in biases.items()}


def _shape(body: Asking) -> Shape | None:
    schema = _schema(body.response_format or {})
    if not body.grammar:
        return JsonSchema(schema) if schema is not None else None
    if schema is not None:
        refuse("grammar", "“grammar” and “response_format” cannot be combined.", "Send one of them.")
    return Grammar(body.grammar)


def _schema(form: dict[str, Any]) -> dict[str, Any] | None:
    kind = form.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":  # other servers of this API take a schema here too
        schema = form.get("schema", {"type": "object"})
    elif kind == "json_schema":
        wrapper = form.get("json_schema")
        schema = wrapper.get("schema") if isinstance(wrapper, dict) else form.get("schema")
    else:
        refuse("response_format", "“response_format.type” must be text, json_object or json_schema.")
    if not isinstance(schema, dict):
        refuse(
            "response_format",
            "“response_format.json_schema.schema” must be a JSON schema.",
            code="invalid_type",
        )
    return schema
