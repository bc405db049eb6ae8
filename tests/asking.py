"""Short ways to write what tests ask of an engine, and what they load a model with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slmdesk.engines.protocol import EngineSpec
from slmdesk.inference.asks import Ask, Grammar, JsonSchema, Media, Role, Sampling, Shape, Text, Turn
from slmdesk.inference.loading import Loading
from slmdesk.inference.steps import Step


def turns(messages: list[dict[str, Any]]) -> tuple[Turn, ...]:
    """Messages as an API has them: a role, and a text or a list of texts."""
    return tuple(_turn(message["role"], message["content"]) for message in messages)


def _turn(role: Role, content: str | list[dict[str, Any]]) -> Turn:
    if isinstance(content, str):
        return Turn.of(role, content)
    parts = [
        Text(part["text"]) if part["type"] == "text" else Media("image", "image/png", b"") for part in content
    ]
    return Turn(role, tuple(parts))


def asking(
    name: str = "",
    messages: list[dict[str, Any]] | None = None,
    *,
    sampling: dict[str, Any] | None = None,
    stop: list[str] | tuple[str, ...] | None = None,
    shape: Shape | None = None,
    **more: Any,
) -> Ask:
    """An ask; `sampling` holds values by their names, and `grammar` or `json_schema`."""
    values = dict(sampling or {})
    grammar, schema = values.pop("grammar", None), values.pop("json_schema", None)
    if shape is None:
        shape = Grammar(grammar) if grammar else JsonSchema(schema) if schema is not None else None
    return Ask(
        id=name,
        turns=turns(messages or []),
        sampling=Sampling(**values),
        shape=shape,
        stop=None if stop is None else tuple(stop),
        **more,
    )


def spec_of(
    path: Path | str, model: str = "test", *, token: str = "", safe_step: Step = "all", **loading: Any
) -> EngineSpec:
    """What an engine's child is told; other options are fields of `Loading`."""
    return EngineSpec(str(path), model, Loading(**loading), safe_step, token)


def chatting(
    model: str,
    messages: list[dict[str, Any]],
    sampling: dict[str, Any] | None = None,
    max_tokens: int = 0,
    **more: Any,
) -> Ask:
    """What a front end asks of the service."""
    return asking(
        messages=messages,
        model=model,
        sampling=sampling,
        max_tokens=max_tokens,
        kept_instructions=False,
        **more,
    )
