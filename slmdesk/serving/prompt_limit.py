"""Prompts that cannot fit the context whatever the vocabulary, told so before anybody renders or tokenizes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Text

if TYPE_CHECKING:
    from slmdesk.inference.asks import Ask

# The longest tokens of known vocabularies are runs of 128 spaces.
_CHARACTERS_PER_TOKEN = 256


def check_prompt(ask: Ask, context_length: int) -> None:
    """Each turn takes a token at least, and each token gives so many characters at most.

    Raises `SlmDeskError("context_exceeded")`. What passes is counted exactly by the engine.
    """
    if not context_length:
        return
    said = "" if isinstance(ask.prompt, tuple) else ask.prompt or ""
    characters = len(said) + sum(
        len(part.text) for turn in ask.turns for part in turn.parts if isinstance(part, Text)
    )
    tokens = len(ask.prompt) if isinstance(ask.prompt, tuple) else 0
    least = max(len(ask.turns), characters // _CHARACTERS_PER_TOKEN, tokens)
    if least > context_length:
        raise SlmDeskError(
            "context_exceeded",
            f"The prompt has more than {least} tokens; the context holds {context_length}.",
            "Shorten the prompt, begin a new conversation, or set a longer context.",
        )
