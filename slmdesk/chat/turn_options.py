"""What a turn asks for: its own options, then its conversation's rules, this process's environment, the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmdesk.chat.answering import TurnRequest
from slmdesk.inference.asks import Sampling

if TYPE_CHECKING:
    from slmdesk.chat.tree import Conversation, Message
    from slmdesk.chat.turns import TurnOptions
    from slmdesk.core.settings import Settings

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")


def turn_request(
    model: str, conversation: Conversation, path: list[Message], options: TurnOptions, settings: Settings
) -> TurnRequest:
    """The question of a turn. What stays open is filled in by the service, which knows what is kept for the model, what
    a person set, and what the publisher recommends."""
    rules = conversation.rules
    environment: dict[str, Any] = {name: _of_environment(settings, name) for name in _SAMPLING}
    most = options.max_tokens if options.max_tokens is not None else _of_environment(settings, "max_tokens")
    return TurnRequest(
        model,
        conversation.system_prompt,
        path,
        options.sampling.over(Sampling(**environment)),
        most or 0,
        options.stop,
        options.context_length or 0,
        overflow=options.overflow or rules.overflow or settings.get("chat.overflow"),
        shape=options.shape or rules.shape,
        likely_tokens=settings.get("chat.max_tokens"),
    )


def _of_environment(settings: Settings, name: str) -> Any:
    """What this process is asked for by its environment, which the service does not have; else None."""
    key = f"chat.{name}"
    return settings.get(key) if settings.source(key) == "environment" else None
