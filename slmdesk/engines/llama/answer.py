"""One answer on its way through the batch loop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slmdesk.inference.answers import Stop, StopReason, Timings, Usage

if TYPE_CHECKING:
    from slmdesk.core.errors import SlmDeskError
    from slmdesk.engines.llama.drafting import Lookup
    from slmdesk.engines.llama.sampling import Sampler
    from slmdesk.engines.llama.slots import Slot
    from slmdesk.engines.llama.text import PartsStream, TextStream


@dataclass(slots=True, eq=False)
class Answer:
    """What the worker thread knows of one request. `tokens` begins as the prompt and grows with the answer.

    `written` of its last tokens are of the answer already: another engine gave them out.
    """

    key: int
    tokens: list[int]
    limit: int  # tokens of prompt and answer together
    sampler: Sampler
    text: TextStream | PartsStream
    written: int = 0
    conversation: str = ""
    penalty_window: int = 0
    logprobs: int | None = None  # alternatives of each token that are told; None: no log probabilities
    prompt_logprobs: bool = False
    prompt_only: bool = False
    dropped: tuple[int, int] = (0, 0)  # turns, and tokens of a raw prompt, that were left out
    lookup: Lookup | None = None  # where its tokens are guessed ahead
    drafted: int = 0  # of those, the ones that were evaluated
    accepted: int = 0  # and that the sampler chose too
    scored: int = 0  # tokens of the prompt whose log probabilities were given out
    prompt_tokens: int = 0
    cached_tokens: int = -1  # -1: not admitted yet
    slot: Slot | None = None
    arrived: float = field(default_factory=time.perf_counter)
    admitted: float = 0.0
    first_token: float = 0.0

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens) - self.written

    def end(self, reason: StopReason, error: SlmDeskError | None = None) -> Stop:
        """The end of this answer, with what was counted and measured."""
        now = time.perf_counter()
        cached = min(max(self.cached_tokens, 0), self.prompt_tokens)
        completion = len(self.tokens) - self.prompt_tokens
        admitted = self.admitted or now
        first = self.first_token or now
        here = completion - self.written  # the rest was measured by nobody: that engine died
        evaluated = self.prompt_tokens + self.written - cached
        prompt_s, generate_s = first - admitted, now - first
        timings = Timings(
            queue_s=_shown(admitted - self.arrived),
            prompt_s=_shown(prompt_s),
            first_token_s=_shown(self.first_token - self.arrived if self.first_token else 0.0),
            generate_s=_shown(generate_s if self.first_token else 0.0),
            prompt_tokens_per_s=_shown(evaluated / prompt_s if self.first_token and prompt_s > 0 else 0.0),
            draft_tokens=self.drafted,
            accepted_tokens=self.accepted,
            tokens_per_s=_shown((here - 1) / generate_s if here > 1 and generate_s > 0 else 0.0),
        )
        return Stop(
            reason,
            Usage(self.prompt_tokens, cached, completion),
            timings,
            matched=self.text.matched,
            dropped_turns=self.dropped[0],
            dropped_tokens=self.dropped[1],
            error=error.to_json() if error is not None else None,
        )


def _shown(value: float) -> float:
    return round(value, 6)
