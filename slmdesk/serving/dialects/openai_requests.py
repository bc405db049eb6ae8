"""From the JSON of a completion request to what an engine is asked."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from slmdesk.inference.asks import ANY_SEED, Ask, Grammar, JsonSchema, Sampling, Turn
from slmdesk.inference.limits import LONGEST_STOP, MOST_SEED, MOST_STOPS, SAMPLING, find_model_setting
from slmdesk.serving.dialects.dialect import Asked
from slmdesk.serving.fields import BodyField as Field
from slmdesk.serving.fields import read_fields, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slmdesk.core.setting_table import Setting
    from slmdesk.inference.asks import Role, Shape
    from slmdesk.serving.fields import Kind


def _field(limit: Setting) -> Field:
    kind: Kind = "integer" if limit.type is int else "number"
    least, most = limit.minimum, limit.maximum
    return Field(kind, -math.inf if least is None else least, math.inf if most is None else most)


_SAMPLING: dict[str, Field] = {
    **{limit.key: _field(limit) for limit in SAMPLING},
    # What clients of other servers send: -1 for "all" and "any", and seeds of any size.
    "top_k": Field("integer", -1, _field(find_model_setting("top_k")).maximum),
    "seed": Field("integer", -(2**63), 2**63 - 1),
}

_COMMON: dict[str, Field] = {
    **_SAMPLING,
    "model": Field("text"),
    "stream": Field("boolean"),
    "stream_options": Field("object"),
    "max_tokens": Field("integer", 1, 2**31 - 1),
    "stop": Field("text or array"),
    "n": Field("integer"),
    "logit_bias": Field("object"),
    "response_format": Field("object"),
    "grammar": Field("text"),
    "conversation": Field("text"),
    "context_length": Field("integer", 1, 2**24),
    "kept_instructions": Field("boolean"),
}

CHAT_FIELDS: dict[str, Field] = {
    **_COMMON,
    "messages": Field("array"),
    "max_completion_tokens": Field("integer", 1, 2**31 - 1),
    "chat_template_kwargs": Field("object"),
    "logprobs": Field("boolean"),
    "top_logprobs": Field("integer", 0, 20),
    "tools": Field("array"),
    "functions": Field("array"),
    "modalities": Field("array"),
}

TEXT_FIELDS: dict[str, Field] = {
    **_COMMON,
    "prompt": Field("text or array"),
    "echo": Field("boolean"),
    "best_of": Field("integer"),
    "suffix": Field("text"),
    "logprobs": Field("integer", 0, 5),
}

TOKENIZE_FIELDS: dict[str, Field] = {
    "model": Field("text"),
    "messages": Field("array"),
    "prompt": Field("text"),
    "context_length": Field("integer", 1, 2**24),
    "kept_instructions": Field("boolean"),
}

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_MOST_BIASES = 1024
_BIAS_KEY = re.compile(r"[0-9]{1,9}")


def read_chat(body: Mapping[str, Any]) -> Asked:
    """`POST /v1/chat/completions`. Raises `RequestError`."""
    values = read_fields(body, CHAT_FIELDS)
    _refuse_unsupported(values, ("tools", "functions"))
    if values.get("logprobs"):
        refuse("logprobs", "Log probabilities are not supported.", code="unsupported")
    if any(kind != "text" for kind in values.get("modalities", ())):
        refuse("modalities", "Only text can be generated.", code="unsupported")
    limit = values.get("max_completion_tokens", values.get("max_tokens", 0))
    ask = Ask(
        turns=_turns(_required(values, "messages")),
        template_options=values.get("chat_template_kwargs", {}),
        **_common(values, limit),
    )
    return _asked(ask, values)


def read_completion(body: Mapping[str, Any]) -> Asked:
    """`POST /v1/completions`. Raises `RequestError`."""
    values = read_fields(body, TEXT_FIELDS)
    prompt = _required(values, "prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], str):
            refuse("prompt", "“prompt” must be one string.", "Ask once for each prompt.", code="unsupported")
        prompt = prompt[0]
    if values.get("echo"):
        refuse("echo", "Repeating the prompt is not supported.", "Leave “echo” out.", code="unsupported")
    if values.get("best_of", 1) != 1:
        refuse("best_of", "Only one answer can be asked for.", "Leave “best_of” out.", code="unsupported")
    if values.get("suffix"):
        refuse("suffix", "Filling in before a suffix is not supported.", code="unsupported")
    if "logprobs" in values:
        refuse("logprobs", "Log probabilities are not supported.", code="unsupported")
    return _asked(Ask(prompt=prompt, **_common(values, values.get("max_tokens", 0))), values)


def read_tokenize(body: Mapping[str, Any]) -> Ask:
    """`POST /slmdesk/v1/tokenize`: a question of which only the prompt is looked at. Raises `RequestError`."""
    values = read_fields(body, TOKENIZE_FIELDS)
    model = _model(values)
    if ("messages" in values) == ("prompt" in values):
        refuse("messages", "Exactly one of “messages” and “prompt” must be given.")
    return Ask(
        model=model,
        turns=_turns(values["messages"]) if "messages" in values else (),
        prompt=values.get("prompt"),
        context_length=values.get("context_length", 0),
        kept_instructions=values.get("kept_instructions", True),
    )


def _asked(ask: Ask, values: dict[str, Any]) -> Asked:
    stream = bool(values.get("stream", False))
    options = read_fields(values.get("stream_options", {}), {"include_usage": Field("boolean")})
    return Asked(ask, stream, include_usage=stream and bool(options.get("include_usage", False)))


def _common(values: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    if values.get("n", 1) != 1:
        refuse(
            "n", "Only one answer can be asked for at once.", "Ask again for another one.", code="unsupported"
        )
    return {
        "model": _model(values),
        "max_tokens": max_tokens,
        "stop": _stop(values["stop"]) if "stop" in values else None,
        "sampling": _sampling(values),
        "shape": _shape(values),
        "conversation": values.get("conversation", "")[:200],
        "context_length": values.get("context_length", 0),
        "kept_instructions": values.get("kept_instructions", True),
    }


def _model(values: dict[str, Any]) -> str:
    model = str(_required(values, "model")).strip()
    if not model:
        refuse("model", "“model” is empty.", "Name a model that GET /v1/models lists.")
    return model


def _required(values: dict[str, Any], name: str) -> Any:
    if name not in values:
        refuse(name, f"“{name}” is missing.", code="missing_field")
    return values[name]


def _refuse_unsupported(values: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if values.get(name):
            refuse(name, f"“{name}” is not supported.", "Leave it out.", code="unsupported")


def _turns(items: list[Any]) -> tuple[Turn, ...]:
    if not items:
        refuse("messages", "“messages” is empty.", "Send at least one message.")
    return tuple(_turn(f"messages[{index}]", item) for index, item in enumerate(items))


def _turn(name: str, item: Any) -> Turn:
    if not isinstance(item, dict):
        refuse(name, f"“{name}” must be an object with “role” and “content”.", code="invalid_type")
    role = item.get("role")
    if not isinstance(role, str):
        refuse(f"{name}.role", f"“{name}.role” must be a string.", code="invalid_type")
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        if role in {"tool", "function"}:
            refuse(f"{name}.role", "Tool calls are not supported.", code="unsupported")
        refuse(f"{name}.role", f"“{name}.role” must be one of {known}.")
    content = item.get("content")
    if content is None and role == "assistant":
        content = ""
    return Turn.of(_ROLES[role], _content(f"{name}.content", content))


def _content(name: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        refuse(name, f"“{name}” must be a string or an array of text parts.", code="invalid_type")
    texts: list[str] = []
    for index, part in enumerate(content):
        where = f"{name}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in {
            "image_url",
            "input_image",
            "image",
            "input_audio",
            "file",
            "video_url",
        }:
            refuse(
                where,
                "Only text can be read; this message holds an image, sound or file.",
                "Send the text alone.",
                code="unsupported",
            )
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            refuse(
                where,
                f"“{where}” must be a part of type “text” with a string in “text”.",
                code="invalid_type",
            )
        texts.append(text)
    return "".join(texts)


def _stop(value: str | list[Any]) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if len(items) > MOST_STOPS:
        refuse("stop", f"“stop” holds {len(items)} strings; {MOST_STOPS} are allowed.")
    stops: list[str] = []
    for item in items:
        if not isinstance(item, str):
            refuse("stop", "“stop” must be a string or an array of strings.", code="invalid_type")
        if len(item) > LONGEST_STOP:
            refuse("stop", f"A stop string has {len(item)} characters; {LONGEST_STOP} are allowed.")
        if item:
            stops.append(item)
    return tuple(stops)


def _sampling(values: dict[str, Any]) -> Sampling:
    sampling = {name: values[name] for name in _SAMPLING if name in values}
    if "top_k" in sampling:
        sampling["top_k"] = max(0, sampling["top_k"])  # other servers write "all" as -1
    if sampling.get("seed", ANY_SEED) != ANY_SEED:
        sampling["seed"] %= MOST_SEED + 1
    if "logit_bias" in values:
        sampling["logit_bias"] = _logit_bias(values["logit_bias"])
    return Sampling(**sampling)


def _shape(values: dict[str, Any]) -> Shape | None:
    schema = _schema(values.get("response_format", {}))
    if not values.get("grammar"):
        return JsonSchema(schema) if schema is not None else None
    if schema is not None:
        refuse("grammar", "“grammar” and “response_format” cannot be combined.", "Send one of them.")
    return Grammar(values["grammar"])


def _logit_bias(biases: dict[str, Any]) -> dict[str, float]:
    if len(biases) > _MOST_BIASES:
        refuse("logit_bias", f"“logit_bias” holds {len(biases)} tokens; {_MOST_BIASES} are allowed.")
    for token, bias in biases.items():
        if not _BIAS_KEY.fullmatch(token):
            refuse("logit_bias", "The keys of “logit_bias” must be token numbers.")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            refuse("logit_bias", "The values of “logit_bias” must be numbers from -100 to 100.")
    return {token: float(bias) for token, bias in biases.items()}


def _schema(form: dict[str, Any]) -> dict[str, Any] | None:
    kind = form.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        refuse("response_format", "“response_format.type” must be text, json_object or json_schema.")
    wrapper = form.get("json_schema")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    if not isinstance(schema, dict):
        refuse(
            "response_format",
            "“response_format.json_schema.schema” must be a JSON schema.",
            code="invalid_type",
        )
    return schema
