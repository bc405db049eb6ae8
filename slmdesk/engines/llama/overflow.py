"""Making a prompt fit that is longer than the context, in the way that was asked for. Nothing is left out unasked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.engines.llama.prompts import Prepared
    from slmdesk.inference.asks import Ask, Turn

_ANSWER = 512  # tokens kept free behind the prompt, where the answer has no limit of its own


def fitted(ask: Ask, prepare: Callable[[Ask], Prepared], context: int) -> tuple[Prepared, int, int]:
    """The prompt, how many turns of the conversation were left out, and how many tokens of a raw prompt.

    A question and its answers go together, the oldest first; instructions and the last question stay. Raises
    `SlmDeskError("context_exceeded")` where that is not enough, or nothing may be left out, and what `prepare` raises.
    """
    prepared = prepare(ask)
    count = len(prepared.tokens)
    if ask.overflow == "refuse":
        if count >= context:
            raise _too_long(count, context)
        return prepared, 0, 0
    room = context - min(ask.max_tokens or _ANSWER, context // 4)
    if count <= room:
        return prepared, 0, 0
    if not ask.turns:
        tokens = _cut(prepared.tokens, room, ends=ask.overflow == "keep_ends")
        return dataclasses.replace(prepared, tokens=tokens), 0, count - len(tokens)
    head, groups = _groups(ask.turns)
    kept = 1 if ask.overflow == "keep_ends" and len(groups) > 1 else 0
    most = len(groups) - 1 - kept
    found: tuple[Prepared, int] | None = None
    low, high = 1, most
    while low <= high:  # leaving out more never makes it longer
        middle = (low + high) // 2
        left = [*groups[:kept], *groups[kept + middle :]]
        shorter = prepare(replace(ask, turns=(*head, *(turn for group in left for turn in group))))
        if len(shorter.tokens) <= room:
            dropped = sum(len(group) for group in groups[kept : kept + middle])
            found, high = (shorter, dropped), middle - 1
        else:
            low = middle + 1
    if found is None:
        raise _too_long(count, context)
    return found[0], found[1], 0


def _groups(turns: Sequence[Turn]) -> tuple[list[Turn], list[list[Turn]]]:
    """Instructions at the head, and the rest cut before each question."""
    head: list[Turn] = []
    groups: list[list[Turn]] = []
    for turn in turns:
        if not groups and turn.role == "system":
            head.append(turn)
        elif not groups or turn.role == "user":
            groups.append([turn])
        else:
            groups[-1].append(turn)
    return head, groups


def _cut(tokens: list[int], room: int, *, ends: bool) -> list[int]:
    """The end of a text, or both of its ends; its first token, which may begin it for the model, stays."""
    first = max(room // 2, 1) if ends else 1
    return [*tokens[:first], *tokens[len(tokens) - (room - first) :]]


def _too_long(count: int, context: int) -> SlmDeskError:
    return SlmDeskError(
        "context_exceeded",
        f"The prompt has {count} tokens; the context holds {context}.",
        "Shorten the prompt, begin a new conversation, or set a longer context.",
    )
