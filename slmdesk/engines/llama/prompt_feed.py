"""How prompts are read beside the answers that are being written: which, how much of each in a step, and what they
leave behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from slmdesk.engines.llama.scores import scored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.engines.llama.answer import Answer
    from slmdesk.inference.answers import Delta
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model

_SLOWEST_STEP = 0.1  # seconds a step with prompt tokens in it should take while others are waiting for theirs
_SMALLEST_CHUNK = 32  # prompt tokens


class PromptFeed:
    """Fills what room a batch has with tokens of prompts. Used on the worker thread.

    `step_s`: smoothed seconds of a step without prompt tokens; 0.0 before the first. `tell` gives out the log
    probabilities of a prompt's own tokens.
    """

    def __init__(self, model: Model, context: Context, tell: Callable[[Answer, Delta], None]) -> None:
        self._model = model
        self._context = context
        self._tell = tell
        self.step_s = 0.0
        self._token_s = 0.0  # smoothed seconds that one prompt token adds

    def fill(self, waiting: list[Answer], entry: int) -> tuple[list[tuple[Answer, int]], int]:
        """Fill the batch from `entry` on with prompt tokens: (answer, tokens taken) pairs and the batch's size."""
        context = self._context
        room = self._room(entry)
        waiting.sort(key=self._urgency)
        taken: list[tuple[Answer, int]] = []
        rows = entry
        for index, answer in enumerate(waiting):
            slot = answer.slot
            assert slot is not None
            start = slot.past
            size = min(len(answer.tokens) - start, room)
            if answer.prompt_logprobs:  # each of its tokens takes a row of logits
                size = min(size, self._context.outputs - rows - (len(waiting) - index - 1))
            if size <= 0:
                continue
            end = entry + size
            context.token[entry:end] = answer.tokens[start : start + size]
            context.pos[entry:end] = range(start, start + size)
            context.seq[entry:end] = slot.sequence
            context.wanted[entry:end] = answer.prompt_logprobs
            context.wanted[end - 1] = answer.prompt_logprobs or start + size == len(answer.tokens)
            rows += size if answer.prompt_logprobs else 1
            taken.append((answer, size))
            room -= size
            entry = end
        return taken, entry

    def taken(self, prompts: list[tuple[Answer, int]], count: int) -> tuple[list[Answer], Sequence[int]]:
        """After a decode: the answers whose prompts are read now, and the rows of logits of all that go on."""
        completed: list[Answer] = []
        rows = [*range(count)]
        row = count
        for answer, size in prompts:
            slot = answer.slot
            assert slot is not None
            start = slot.past
            slot.past += size
            done = slot.past == len(answer.tokens)
            if answer.prompt_logprobs:
                self._score(answer, start, size, row)
                row += size
            else:
                row += done
            if done:
                completed.append(answer)
                rows.append(row - 1)
        return completed, rows

    def measured(self, seconds: float, prompt_tokens: int, *, alone: bool) -> None:
        """A step with so many prompt tokens took so long; `alone`: without tokens of answers."""
        if prompt_tokens == 0:
            self.step_s += (seconds - self.step_s) * (0.1 if self.step_s else 1.0)
        elif prompt_tokens >= _SMALLEST_CHUNK:
            each = max(seconds - (0.0 if alone else self.step_s), 1e-6) / prompt_tokens
            self._token_s += (each - self._token_s) * (0.3 if self._token_s else 1.0)

    def _score(self, answer: Answer, start: int, size: int, row: int) -> None:
        """Give out how likely the prompt's tokens were; `row` holds what was expected behind token `start`."""
        rows = self._context.logits(row + size)
        count = answer.logprobs or 0
        if not answer.scored:
            first = scored(self._model, None, answer.tokens[0], count, prompt=True)
            self._tell(answer, first)
            answer.scored = 1
        for at in range(max(answer.scored, start + 1), min(start + size + 1, answer.prompt_tokens)):
            told = scored(self._model, rows[row + at - start - 1], answer.tokens[at], count, prompt=True)
            self._tell(answer, told)
            answer.scored = at + 1

    def _urgency(self, answer: Answer) -> float:
        """Tokens that are left, less those that could have been read since it came: short rests first, and none waits
        for ever.

        Prompts are read one after another: read side by side each step would attend to all of them, and all would be
        done last.
        """
        slot = answer.slot
        assert slot is not None
        waited = time.perf_counter() - answer.admitted
        earned = waited / self._token_s if self._token_s else 0.0
        return len(answer.tokens) - slot.past - earned

    def _room(self, generating: int) -> int:
        """How many prompt tokens this step may take: all that fits, or a chunk that others can bear."""
        room = self._context.size - generating
        if not generating or not self._token_s:
            return room if not generating else min(room, 4 * _SMALLEST_CHUNK)
        bearable = max(_SLOWEST_STEP, 2 * self.step_s)
        return min(room, max(_SMALLEST_CHUNK, int(bearable / self._token_s)))
