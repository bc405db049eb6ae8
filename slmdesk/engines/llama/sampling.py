"""llama.cpp's sampler chains, one an answer, and the short way to feed them.

llama.cpp samples from an array of the whole vocabulary (600 kB at 49 000 tokens) that it fills and sorts for every
token of every answer. Where the chain begins with top-k that work is wasted: only the k largest logits can matter.
`Sampler.sample` finds candidates above a threshold with two vector operations and hands the chain these alone.
The threshold follows the k-th logit of earlier steps; when it let too few through, the chain gets the whole
vocabulary instead. The tokens chosen are the same either way.
"""

from __future__ import annotations

import ctypes
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slmdesk.inference.asks import ANY_SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slmdesk.engines.llama.matchers import Matcher
    from slmdesk.inference.asks import Sampling, Shape
    from slmdesk.llama.model import Model
    from slmdesk.llama.native import Native

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
_MOST_CANDIDATES = 2048  # of the short way; more, and the whole vocabulary is as fast

NOTHING_LEFT = -1
"""In place of a token: the answer's shape allows none at all."""
COMPLETE = -2
"""In place of a token: the answer's shape is complete, and nothing but its end may come."""


class Candidates:
    """Room for the whole vocabulary as llama.cpp's samplers want it. One for all samplers of a worker thread."""

    def __init__(self, native: Native, tokens: int) -> None:
        self.native = native
        self.tokens = tokens
        self.data = np.zeros(max(tokens, 1), CANDIDATE)
        self.ids = self.data["id"]
        self.logits = self.data["logit"]
        self._everything = np.arange(tokens, dtype=np.int32)
        self.array = native.api.llama_token_data_array()
        self.array.data = ctypes.cast(self.data.ctypes.data, native.api.llama_token_data_p)
        self.address = ctypes.addressof(self.array)

    def load(self, ids: NDArray[np.intp], logits: NDArray[np.float32]) -> None:
        """Hold these tokens only."""
        size = len(ids)
        self.ids[:size] = ids
        self.logits[:size] = logits
        array = self.array
        array.size, array.selected, array.sorted = size, -1, False

    def load_all(self, row: NDArray[np.float32]) -> None:
        """Hold every token of the vocabulary."""
        self.ids[:] = self._everything
        self.logits[:] = row
        array = self.array
        array.size, array.selected, array.sorted = self.tokens, -1, False


class Sampler:
    """How the next token of one answer is chosen. Built by `build_sampler` on any thread, used on one."""

    __slots__ = (
        "_chain",
        "_greedy",
        "_margin",
        "_matcher",
        "_native",
        "_needed",
        "_remembers",
        "_threshold",
    )

    def __init__(
        self,
        native: Native,
        chain: Any,
        *,
        greedy: bool,
        needed: int,
        remembers: bool,
        matcher: Matcher | None,
    ) -> None:
        self._native = native
        self._chain = ctypes.cast(chain, ctypes.c_void_p).value
        self._greedy = greedy  # nothing but the largest logit counts
        self._needed = needed  # the chain's choice depends on this many of the largest logits; 0: on all
        self._remembers = remembers  # the chain wants to hear of every token
        self._matcher = matcher
        self._threshold = float("inf")
        self._margin = 0.5

    def sample(self, row: NDArray[np.float32], candidates: Candidates) -> int:
        """The next token from one row of logits (shape: vocabulary); `NOTHING_LEFT` or `COMPLETE`.

        The token is accepted: penalties and shape move on.
        """
        matcher = self._matcher
        if matcher is not None and matcher.ended:
            return COMPLETE
        token = int(row.argmax()) if self._greedy else self._choose(row, candidates)
        if matcher is not None:
            return self._within(matcher, token, row, candidates)
        if self._remembers:
            self._native.sampler_accept(self._chain, token)
        return token

    @property
    def greedy(self) -> bool:
        """Whether nothing but the largest logit counts."""
        return self._greedy

    def remember(self, tokens: Sequence[int]) -> None:
        """Let penalties count tokens of the prompt."""
        if self._remembers:
            for token in tokens:
                self._native.sampler_accept(self._chain, token)

    def go_on(self, written: Sequence[int], candidates: Candidates) -> None:
        """Stand where a sampler stands that chose these tokens: shape and random numbers move on by them.

        Without a shape the numbers are exactly those; where one refused a token, a second number was drawn for it.
        """
        for token in written:
            if self._matcher is not None:
                self._matcher.take(token)
            if not self._greedy:
                candidates.load(np.array([token]), np.array([1.0], np.float32))
                self._native.sampler_apply(self._chain, candidates.address)  # draws one number and no more

    def begin_within(self, tokens: Sequence[int]) -> None:
        """The answer was begun with these tokens; where its shape has no place for them, it begins behind them."""
        if self._matcher is not None:
            self._matcher.take_all(tokens)

    def close(self) -> None:
        api = self._native.api
        if self._chain:
            api.llama_sampler_free(ctypes.cast(self._chain, api.llama_sampler_p_ctypes))
        self._chain = None
        if self._matcher is not None:
            self._matcher.close()

    def _choose(self, row: NDArray[np.float32], candidates: Candidates) -> int:
        needed = self._needed
        if needed:
            above = (row >= self._threshold).nonzero()[0]
            if needed <= len(above) <= _MOST_CANDIDATES:
                if len(above) > 4 * needed:
                    self._margin *= 0.9
                logits = row[above]
                candidates.load(above, logits)
                self._follow(logits)
                return self._apply(candidates)
            if len(above) < needed:
                self._margin *= 1.5
            self._follow(row)
        candidates.load_all(row)
        return self._apply(candidates)

    def _follow(self, logits: NDArray[np.float32]) -> None:
        """Put the threshold a little below the smallest logit that was needed this time."""
        at = len(logits) - self._needed
        self._threshold = float(np.partition(logits, at)[at]) - self._margin

    def _apply(self, candidates: Candidates) -> int:
        self._native.sampler_apply(self._chain, candidates.address)
        return int(candidates.ids[candidates.array.selected])

    def _within(self, matcher: Matcher, token: int, row: NDArray[np.float32], candidates: Candidates) -> int:
        """Keep a token that the shape allows; else choose again among those it does, as llama.cpp's own loop does.

        So the whole vocabulary is looked through only where the model would have gone astray.
        """
        if not matcher.take(token):
            allowed = matcher.allowed()
            allowed = allowed[np.isfinite(row[allowed])]
            if len(allowed) == 0:
                return NOTHING_LEFT
            if self._greedy:
                token = int(allowed[row[allowed].argmax()])
            else:
                candidates.load(allowed, row[allowed])
                token = self._apply(candidates)
            if not matcher.take(token):
                return NOTHING_LEFT
        if self._remembers:
            self._native.sampler_accept(self._chain, token)
        return token


@dataclass(frozen=True, slots=True)
class Chain:
    """`Sampling` with nothing left open: llama.cpp's own values where nobody chose any."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    seed: int = ANY_SEED
    logit_bias: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, sampling: Sampling) -> Chain:
        return cls(**sampling.chosen())


def _matcher(model: Model, shape: Shape) -> Matcher:
    from slmdesk.engines.llama.matchers import matchers_of  # its library is for answers of a shape alone

    return matchers_of(model).matcher(shape)


def build_sampler(model: Model, asked: Sampling, shape: Shape | None = None) -> Sampler:
    """The chain for these settings, in llama.cpp's order: bias, penalties, top-k, top-p, min-p, temperature, seed.

    Raises `SlmDeskError("bad_request")` for values out of range, `grammar_invalid` and `schema_invalid`.
    """
    api = model.native.api
    asked.check(model.tokens)
    sampling = Chain.of(asked)
    matcher = _matcher(model, shape) if shape is not None else None
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        api.llama_sampler_chain_add(chain, sampler)

    bias = sampling.logit_bias
    if bias:
        pairs = (api.llama_logit_bias * len(bias))()
        for pair, (token, value) in zip(pairs, bias.items(), strict=True):
            pair.token, pair.bias = int(token), float(value)
        add(api.llama_sampler_init_logit_bias(model.tokens, len(bias), pairs))
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    last = sampling.penalty_last_n
    penalized = last > 0 and penalties != (1.0, 0.0, 0.0)
    if penalized:
        add(api.llama_sampler_init_penalties(model.tokens, last, *penalties))
    greedy = sampling.temperature <= 0.0
    if greedy:
        add(api.llama_sampler_init_greedy())
    else:
        if sampling.top_k > 0:
            add(api.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1.0:
            add(api.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0.0:
            add(api.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.temperature != 1.0:
            add(api.llama_sampler_init_temp(sampling.temperature))
        seed = secrets.randbits(31) if sampling.seed == ANY_SEED else sampling.seed
        add(api.llama_sampler_init_dist(seed))
    # Penalties that only lower logits can push at most `last` tokens out of the largest few.
    needed = (1 if greedy else sampling.top_k) + (last if penalized else 0)
    lowers = penalties[0] >= 1.0 and penalties[1] >= 0.0 and penalties[2] >= 0.0
    short = bool(needed) and (greedy or sampling.top_k > 0) and not bias and (lowers or not penalized)
    return Sampler(
        model.native,
        chain,
        greedy=greedy and not penalized and not bias,
        needed=needed if short and needed < min(_MOST_CANDIDATES, model.tokens) else 0,
        remembers=penalized,
        matcher=matcher,
    )
