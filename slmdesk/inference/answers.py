"""What comes back: an answer as it is written, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import Wire

StopReason = Literal["stop", "length", "tool_calls", "cancelled", "error"]


class ReasoningDelta(Wire, frozen=True, tag="reasoning"):
    """More of what the model thinks aloud."""

    text: str


class ToolCallDelta(Wire, frozen=True, tag="tool_call"):
    """More of a tool call: its `id` and `name` come first, then its arguments in pieces of JSON."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Alternative(Wire, frozen=True, omit_defaults=True):
    """A token that could stand somewhere, and the natural logarithm of its probability.

    `logprob` is None for the first token of a prompt, which nothing came before. `data`: its bytes where they are no
    complete UTF-8, so that `text` cannot hold them.
    """

    token: int
    text: str
    logprob: float | None
    data: bytes = b""

    @property
    def raw(self) -> bytes:
        """The token's bytes."""
        return self.data or self.text.encode()


class TokenLogprobs(Wire, frozen=True, tag="logprobs", omit_defaults=True):
    """One token with its log probability, and the likeliest that could stand in its place, the first one first.

    Probabilities are the model's own: before penalties, temperature and whatever else chooses. `prompt`: a token of
    the prompt; those come first.
    """

    chosen: Alternative
    likeliest: tuple[Alternative, ...] = ()
    prompt: bool = False


Delta = str | ReasoningDelta | ToolCallDelta | TokenLogprobs
"""A piece of an answer. Text, which is nearly all of it, is a plain `str`."""


def joined(pieces: Iterable[Delta | Stop]) -> list[Delta | Stop]:
    """The pieces, neighbouring texts as one."""
    found: list[Delta | Stop] = []
    texts: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if texts:
            found.append("".join(texts))
            texts.clear()
        found.append(piece)
    return [*found, "".join(texts)] if texts else found


class Usage(Wire, frozen=True):
    """Tokens. `cached_tokens` of the prompt were found in the KV cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Of prompt and answer."""
        return self.prompt_tokens + self.completion_tokens


class Timings(Wire, frozen=True):
    """Measured in the engine. Seconds; rates are tokens a second (0.0 where nothing was counted)."""

    queue_s: float = 0.0
    prompt_s: float = 0.0
    first_token_s: float = 0.0  # from the request's arrival at the engine
    generate_s: float = 0.0
    prompt_tokens_per_s: float = 0.0
    tokens_per_s: float = 0.0
    draft_tokens: int = 0  # guessed ahead and evaluated with the token before them
    accepted_tokens: int = 0  # of those, the ones that were right


class Stop(Wire, frozen=True, tag="stop", omit_defaults=True):
    """The end of an answer; always the last that comes. `matched`: the stop string that ended it.

    `dropped_turns` of the conversation, or `dropped_tokens` of a raw prompt, were left out as `Ask.overflow` allows.
    """

    reason: StopReason
    usage: Usage = Usage()
    timings: Timings = Timings()
    context_length: int = 0  # of the engine that ended it; 0: not told
    matched: str = ""
    dropped_turns: int = 0
    dropped_tokens: int = 0
    error: dict[str, str] | None = None  # SlmDeskError.to_json()
    written: tuple[int, ...] = ()  # the answer's tokens, where its engine died

    def raise_error(self) -> None:
        """Raise what the answer ended with, where it ended with an error."""
        if self.error is not None:
            raise SlmDeskError.from_json(self.error)


Sink = Callable[["Delta | Stop"], None]
"""Hears each piece of one answer as it comes, then its end."""


class LoadProgress(Wire, frozen=True, tag="loading"):
    """The model is being loaded: 0 to 1."""

    fraction: float


class Started(Wire, frozen=True, tag="started", omit_defaults=True):
    """The engine took the prompt, of so many tokens; the `trimmed_turns` oldest turns were left out before.

    `chat_form`: what stands in for a chat template that the model's file does not have. `context_length`: of the
    engine, in tokens; 0: not told.
    """

    prompt_tokens: int
    trimmed_turns: int = 0
    chat_form: str = ""
    context_length: int = 0


class EngineChanged(Wire, frozen=True, tag="changed"):
    """Native code failed and the engine runs in a safer way now: a sentence for a person. The answer goes on."""

    text: str


AnswerEvent = (
    str | ReasoningDelta | ToolCallDelta | TokenLogprobs | LoadProgress | Started | EngineChanged | Stop
)
"""All that a front end may hear of one answer, in the order it comes. As JSON: a string, or an object with `type`."""
