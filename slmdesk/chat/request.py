"""From a path of messages to what a model is asked, and what to leave out when the context is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmdesk.inference.asks import Text, ToolCall, ToolResult, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from slmdesk.chat.tree import Message

_ROOM_FOR_ANSWER = 512  # tokens kept free behind the prompt, where the answer has no limit of its own
_NOT_MADE = "This call was not made."
_NO_RESULTS = Turn("tool")
_REFILL = 0.6  # after leaving turns out, the prompt fills at most this part of its room


def build_turns(
    system_prompt: str, path: Sequence[Message], skip_turns: int = 0, *, keep_first: bool = False
) -> list[Turn]:
    """The chat as a model is asked, without its `skip_turns` oldest turns; `keep_first`: those behind the first one.

    Stopped and interrupted answers stay as context, without what the model thought aloud; answers without any
    other text are left out. A call is followed by its result, whatever became of it; while tools are called for the
    last question, the model sees why it called them. Messages of one role that then follow each other become one,
    because many chat templates insist on taking turns.
    """
    turns: list[Turn] = [Turn.of("system", system_prompt)] if system_prompt.strip() else []
    first, *others = turns_of(path) or [[]]
    left = [first, *others[skip_turns:]] if keep_first else [first, *others][skip_turns:]
    calling = bool(path) and path[-1].role == "tool"
    asked = next((message.id for message in reversed(path) if calling and message.role == "user"), 0)
    answering = False
    for message in (message for turn in left for message in turn):
        answering = answering or message.id == asked
        turn = message.turn
        if answering and any(isinstance(part, ToolCall) for part in turn.parts):
            turn = Turn(message.role, message.parts)
        if message.role == "tool":
            _add_results(turns, turn)
            continue
        _add_results(turns)
        if message.role == "assistant" and not turn.parts:
            continue
        if turns and turns[-1].role == turn.role != "tool":
            turns[-1] = Turn(turn.role, (*turns[-1].parts, Text("\n\n"), *turn.parts)).plain()
        else:
            turns.append(turn)
    return turns


def _add_results(turns: list[Turn], results: Turn = _NO_RESULTS) -> None:
    """What the calls of the last turn gave; one whose result is not there was not made, and is told so."""
    calls = [part for part in turns[-1].parts if isinstance(part, ToolCall)] if turns else []
    there = {part.id: part for part in results.parts if isinstance(part, ToolResult)}
    if calls:
        told = (there.get(call.id) or ToolResult(call.id, _NOT_MADE, failed=True) for call in calls)
        turns.append(Turn("tool", tuple(told)))


def turns_of(path: Sequence[Message]) -> list[list[Message]]:
    """The path cut before each message of the person."""
    turns: list[list[Message]] = []
    for message in path:
        if message.role == "user" or not turns:
            turns.append([message])
        else:
            turns[-1].append(message)
    return turns


def prompt_room(context_length: int, max_tokens: int) -> int:
    """How many tokens a prompt may take so that an answer still fits behind it."""
    answer = max_tokens or _ROOM_FOR_ANSWER
    return context_length - min(answer, context_length // 4)


def estimated_tokens(path: Sequence[Message]) -> int:
    """A high guess at the prompt's length: from the last measured answer, or from the text alone.

    Three bytes a token is little for English prose and about right for code and most other scripts.
    """
    for index in range(len(path) - 1, -1, -1):
        usage = path[index].stats.get("usage")
        if path[index].role == "assistant" and isinstance(usage, dict) and usage.get("prompt_tokens"):
            measured = int(usage["prompt_tokens"]) + int(usage.get("completion_tokens", 0))
            return measured + _bytes_as_tokens(path[index + 1 :])
    return _bytes_as_tokens(path)


def _bytes_as_tokens(messages: Sequence[Message]) -> int:
    return sum(len(message.text.encode()) // 3 + 8 for message in messages)


async def turns_to_skip(
    path: Sequence[Message],
    count: Callable[[int], Awaitable[int]],
    room: int,
    first_guess: int = 0,
    *,
    keep_first: bool = False,
) -> int:
    """How many of the oldest turns to leave out so that the prompt has at most `room` tokens.

    `count(skip)` gives the prompt's exact tokens without its first `skip` turns. `first_guess` is what the
    last answer left out: keeping it while it fits keeps the prompt's beginning, and so the engine's cache, as
    it was. For the same reason more is left out than needed once something must go. The last turn stays, and with
    `keep_first` the first one.
    """
    most = len(turns_of(path)) - (2 if keep_first else 1)
    first_guess = min(first_guess, most)
    if most <= 0 or await count(first_guess) <= room:
        return max(0, first_guess)
    low, high = first_guess + 1, most
    while low < high:
        middle = (low + high) // 2
        if await count(middle) <= room * _REFILL:
            high = middle
        else:
            low = middle + 1
    return min(low, most)
