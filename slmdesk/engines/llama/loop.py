"""The worker thread: it owns the llama.cpp context and answers all requests in one batch a step.

Each step evaluates one token of every running answer and, with what room is left in the batch, a chunk of the
prompts that came in since. Requests join and leave between steps. Only native types come in and go out.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines import failures
from slmdesk.engines.llama.drafting import Drafting, Lookup, is_clear
from slmdesk.engines.llama.prefix_cache import PrefixCache
from slmdesk.engines.llama.prompt_feed import PromptFeed
from slmdesk.engines.llama.sampling import COMPLETE, Candidates
from slmdesk.engines.llama.scores import scored
from slmdesk.engines.llama.slots import SlotTable
from slmdesk.engines.llama.text import TextStream
from slmdesk.llama.context import ABORTED, DECODED, NO_ROOM

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.engines.llama.answer import Answer
    from slmdesk.engines.llama.slots import Slot
    from slmdesk.inference.answers import Delta, Stop, StopReason
    from slmdesk.llama.context import Context
    from slmdesk.llama.model import Model

Texts = list[tuple[int, "Delta", int]]  # key, what is new, its token
Ends = list[tuple[int, "Stop"]]
Publish = Callable[[Texts, Ends], None]

_BEARABLE_IDLE = 0.01  # part of a step's time that idle cells may cost
_FEWEST_IDLE = 256  # llama.cpp looks at cells in blocks of this many
_NO_TOKEN = -1
_AHEAD = 32  # cells kept for an answer to grow into before others are let in


class Worker:
    """Runs on its own thread from `start` to `stop`. `submit` and `cancel` may be called from any thread.

    `publish` is called on the worker thread once a step, with the new text of each answer and those that ended;
    `on_crash` when a defect ends the thread. `prefix_bytes` of memory hold conversations that had to leave the cache;
    `on_prefixes` hears how many are in use, where that changed.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        parallel: int,
        slots: int,
        publish: Publish,
        on_crash: Callable[[], None] = lambda: None,
        on_prefixes: Callable[[int], None] = lambda _held: None,
        prefix_bytes: int = 0,
        idle_cell_s: float = 0.0,
        drafts: bool = True,
    ) -> None:
        self._model = model
        self._context = context
        self._parallel = parallel
        self._table = SlotTable(
            context, slots, cuttable=model.keeps_every_position, prefixes=PrefixCache(prefix_bytes)
        )
        self._idle_cell_s = idle_cell_s  # seconds that an idle cell adds to a step
        # Only a memory that can be cut back forgets a wrong guess.
        self._drafting = Drafting() if drafts and model.keeps_every_position else None
        self._publish = publish
        self._on_crash = on_crash
        self._on_prefixes = on_prefixes
        self._prefixes_told = 0
        self._candidates = Candidates(model.native, model.tokens)
        self._inbox: queue.SimpleQueue[Answer | int | None] = queue.SimpleQueue()
        self._waiting: deque[Answer] = deque()
        self._active: list[Answer] = []  # in order of admission
        self._generating: list[Answer] = []  # entries 0… of the batch, in this order
        self._steady = False  # the batch's first entries still describe `_generating`
        self._texts: Texts = []
        self._ends: Ends = []
        self._feed = PromptFeed(model, context, self._tell)
        self._prompt_keys: frozenset[int] = frozenset()  # whose prompts the running step evaluates
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="slmdesk-worker", daemon=True)

    @property
    def active(self) -> int:
        return len(self._active)

    @property
    def queued(self) -> int:
        return len(self._waiting) + self._inbox.qsize()

    def start(self) -> None:
        self._thread.start()

    def submit(self, answer: Answer) -> None:
        self._inbox.put(answer)

    def cancel(self, key: int) -> None:
        """End an answer within one step; a long prompt evaluation is broken off."""
        self._inbox.put(key)
        if key in self._prompt_keys:
            self._context.abort()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread; running answers end as cancelled."""
        self._stopping = True
        self._inbox.put(None)
        self._context.abort()
        if self._thread.is_alive():
            self._thread.join(timeout)

    # The worker thread from here on.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._receive()
                self._admit()
                if self._active:
                    self._step()
                self._flush()
                if not self._active and not self._waiting:
                    self._tidy()
                if self._table.prefix_bytes != self._prefixes_told:
                    self._prefixes_told = self._table.prefix_bytes
                    self._on_prefixes(self._prefixes_told)
        except BaseException as error:  # noqa: BLE001 - a defect: said to every client, then the thread ends
            traceback.print_exc()
            failures.end_as_native(error)
            problem = SlmDeskError(
                "engine_crashed",
                f"The engine stopped answering because of a defect: {str(error) or type(error).__name__}.",
                "Send the message again; report it if it happens again.",
            )
            for answer in [*self._active, *self._waiting]:
                self._finish(answer, "error", problem)
            self._flush()
            self._on_crash()
            return
        for answer in [*self._active, *self._waiting]:
            self._finish(answer, "cancelled")
        self._flush()

    def _receive(self) -> None:
        """Take what came in; wait for it when there is nothing to do."""
        inbox = self._inbox
        while not inbox.empty() or not (self._active or self._waiting or self._ends):
            message = inbox.get()
            if message is None:
                return
            if isinstance(message, int):
                self._cancel(message)
            else:
                self._waiting.append(message)
        self._context.clear_abort()

    def _cancel(self, key: int) -> None:
        for answer in [*self._active, *self._waiting]:
            if answer.key == key:
                self._finish(answer, "cancelled")
                return

    def _tidy(self) -> None:
        """With nothing to answer: put conversations aside until those that stay cost a step next to nothing."""
        while self._inbox.empty() and self._table.idle_cells > self._bearable_idle_cells():
            if not self._table.evict(spare=1):  # the last conversation is likely to go on
                return

    def _bearable_idle_cells(self) -> float:
        if not self._idle_cell_s or not self._feed.step_s:
            return self._context.cells
        return max(_BEARABLE_IDLE * self._feed.step_s / self._idle_cell_s, _FEWEST_IDLE)

    def _admit(self) -> None:
        """Let waiting requests in, in order, as slots and cells allow."""
        while self._waiting and len(self._active) < self._parallel:
            answer = self._waiting[0]
            busy = sum(len(other.tokens) + _AHEAD for other in self._active)
            if self._active and busy + len(answer.tokens) + _AHEAD > self._context.cells:
                return
            slot = self._table.take(answer.tokens, answer.conversation, anew=answer.prompt_logprobs)
            if slot is None:
                return
            self._waiting.popleft()
            slot.answer, answer.slot = answer, slot
            while not self._active and self._table.idle_cells > self._bearable_idle_cells():
                self._table.evict(hurry=True)
            if answer.cached_tokens < 0:  # not one that was preempted
                answer.cached_tokens = slot.past
                answer.admitted = time.perf_counter()
                if answer.penalty_window:
                    answer.sampler.remember(answer.tokens[-answer.penalty_window :])
                if answer.written:
                    answer.sampler.go_on(answer.tokens[-answer.written :], self._candidates)
            self._active.append(answer)

    def _step(self) -> None:
        """Evaluate one batch, then sample one token for every answer whose logits it gave."""
        context = self._context
        generating = self._generating
        count = len(generating)
        if len(generating) == len(self._active) and self._drafting is not None:
            drafts = self._draft(self._drafting)
            if drafts is not None:
                self._step_drafted(self._drafting, generating, drafts)
                return
        if not self._steady:
            self._describe_generating()
        waiting = [] if count == len(self._active) else [one for one in self._active if one not in generating]
        prompts, total = self._feed.fill(waiting, count) if waiting else ([], count)
        self._prompt_keys = frozenset(answer.key for answer, _ in prompts)
        started = time.perf_counter()
        result = context.decode(total)
        if result != DECODED:
            self._prompt_keys = frozenset()
            self._recover(result, generating, prompts)
            return
        seconds = time.perf_counter() - started
        self._prompt_keys = frozenset()
        self._feed.measured(seconds, total - count, alone=not count)
        if prompts:
            completed, rows = self._feed.taken(prompts, count)
            self._sample(generating + completed, rows, count)
        else:
            self._sample(generating, range(count), count)

    def _draft(self, drafting: Drafting) -> list[list[int]] | None:
        """Guessed tokens for each running answer; None where nothing is guessed, or there is no room to."""
        answers = self._generating
        context = self._context
        room = context.outputs - len(answers)
        held = sum(len(answer.tokens) + _AHEAD for answer in self._active) + self._table.idle_cells
        if room <= 0 or not self._feed.step_s or held + room > context.cells:
            return None
        lookups = []
        for answer in answers:
            if answer.lookup is None:
                answer.lookup = Lookup(answer.tokens)
            answer.lookup.look(min(room, answer.limit - len(answer.tokens) - 1))
            lookups.append(answer.lookup)
        counts = drafting.share(lookups, room)
        return (
            [lookup.guess[:count] for lookup, count in zip(lookups, counts, strict=True)]
            if any(counts)
            else None
        )

    def _step_drafted(self, drafting: Drafting, answers: list[Answer], drafts: list[list[int]]) -> None:
        """Evaluate each answer's next token with the guessed ones behind it, and keep what the sampler chooses too."""
        context = self._context
        entry = 0
        for answer, draft in zip(answers, drafts, strict=True):
            slot = answer.slot
            assert slot is not None
            end = entry + 1 + len(draft)
            context.token[entry:end] = [answer.tokens[-1], *draft]
            context.pos[entry:end] = range(slot.past, slot.past + 1 + len(draft))
            context.seq[entry:end] = slot.sequence
            context.wanted[entry:end] = 1
            entry = end
        self._steady = False
        started = time.perf_counter()
        result = context.decode(entry)
        if result != DECODED:
            self._recover(result, answers, [])
            return
        drafting.measured(time.perf_counter() - started, self._feed.step_s, entry - len(answers))
        logits = context.logits(entry)
        row = 0
        for answer, draft in zip(answers, drafts, strict=True):
            self._verify(answer, draft, logits[row : row + 1 + len(draft)])
            row += 1 + len(draft)

    def _verify(self, answer: Answer, draft: list[int], rows: NDArray[np.float32]) -> None:
        """Choose tokens as long as they are the guessed ones, and one more."""
        slot = answer.slot
        assert slot is not None
        lookup = answer.lookup
        assert lookup is not None
        ended = False
        right = 0
        for row in rows:
            if draft and answer.sampler.greedy and not is_clear(row):
                lookup.doubtful = True
                break
            token = answer.sampler.sample(row, self._candidates)
            slot.past += 1
            ended = self._put(answer, token, row)
            if ended or right == len(draft) or token != draft[right]:
                break
            right += 1
        answer.drafted += len(draft)
        answer.accepted += right
        for _ in range(right):
            lookup.learn(right=True)
        if right < len(draft) and not ended and not lookup.doubtful:
            lookup.learn(right=False)
        lookup.guess = []
        if right < len(draft) or lookup.doubtful:
            self._table.rewind(slot)

    def _put(self, answer: Answer, token: int, row: NDArray[np.float32]) -> bool:
        """Give out a token's text. True when the answer ended."""
        text = self._model.texts[token] if answer.text.plain and token >= 0 else None
        if text is None:
            return self._take_token(answer, token, row)
        answer.tokens.append(token)
        self._texts.append((answer.key, text, token))
        if len(answer.tokens) >= answer.limit:
            self._finish(answer, "length")
            return True
        return False

    def _describe_generating(self) -> None:
        """Write the batch entries of the running answers; afterwards a step only changes token and position."""
        context = self._context
        for entry, answer in enumerate(self._generating):
            slot = answer.slot
            assert slot is not None
            context.token[entry] = answer.tokens[-1]
            context.pos[entry] = slot.past
            context.seq[entry] = slot.sequence
            context.wanted[entry] = 1
        self._steady = True

    def _sample(self, answers: list[Answer], rows: Sequence[int], count: int) -> None:
        """Choose a token for each answer (the first `count` were generating already) and give out its text.

        `rows`: which row of logits is whose.
        """
        if not answers:
            return
        logits = self._context.logits(rows[-1] + 1)
        candidates = self._candidates
        sampled: list[int] = []
        ended = False
        for index, answer in enumerate(answers):
            if answer.prompt_only:
                self._finish(answer, "length")
                continue
            row = logits[rows[index]]
            token = answer.sampler.sample(row, candidates)
            sampled.append(token)
            if index < count:
                answer.slot.past += 1  # type: ignore[union-attr]
            else:
                self._generating.append(answer)
                self._steady = False
                if not answer.first_token:
                    answer.first_token = time.perf_counter()
            lookup = answer.lookup
            if (
                lookup is not None and lookup.guess
            ):  # what was guessed and not tried says how good guesses are
                lookup.learn(right=lookup.guess[0] == token)
                lookup.guess = []
            ended = self._put(answer, token, row) or ended
        if self._steady and not ended:
            self._context.token[:count] = sampled
            self._context.pos[:count] += 1

    def _take_token(self, answer: Answer, token: int, row: NDArray[np.float32]) -> bool:
        """The longer way of a token: stop strings, split characters, parts, the end. True when the answer ended."""
        if token == COMPLETE:
            self._finish(answer, "stop")
            return True
        if token < 0:
            problem = SlmDeskError(
                "grammar_dead_end",
                "The grammar allows nothing more here, though the answer is not complete.",
                "Check the grammar: every path through it must end in text the model can write.",
            )
            self._finish(answer, "error", problem)
            return True
        piece = self._model.piece(token)
        if piece is None:  # the model ended its turn; that token is no part of the answer
            self._finish(answer, "stop")
            return True
        answer.tokens.append(token)
        text = answer.text
        if isinstance(text, TextStream):
            self._texts.append((answer.key, text.push(piece), token))
        else:
            score = None if answer.logprobs is None else scored(self._model, row, token, answer.logprobs)
            self._give(answer, text.push(piece, score), token)
        if text.stopped:
            self._finish(answer, "stop")
            return True
        if len(answer.tokens) >= answer.limit:
            self._finish(answer, "length")
            return True
        return False

    def _finish(self, answer: Answer, reason: StopReason, error: SlmDeskError | None = None) -> None:
        text = answer.text
        if isinstance(text, TextStream):
            if rest := text.finish():
                self._texts.append((answer.key, rest, _NO_TOKEN))
        else:
            self._give(answer, text.finish(), _NO_TOKEN)
            if reason == "stop" and text.called:
                reason = "tool_calls"
        self._ends.append((answer.key, answer.end(reason, error)))
        answer.sampler.close()
        if answer in self._waiting:
            self._waiting.remove(answer)
        self._leave(answer)

    def _give(self, answer: Answer, deltas: list[Delta], token: int) -> None:
        """Give out what one token brought: with the token itself, be there nothing to be seen of it yet."""
        for delta in deltas[:-1]:
            self._texts.append((answer.key, delta, _NO_TOKEN))
        if deltas or token != _NO_TOKEN:
            self._texts.append((answer.key, deltas[-1] if deltas else "", token))

    def _tell(self, answer: Answer, delta: Delta) -> None:
        """Give out what comes beside the tokens of an answer."""
        self._texts.append((answer.key, delta, _NO_TOKEN))

    def _leave(self, answer: Answer) -> None:
        """Take an answer out of the batch; its slot keeps what the cache holds."""
        if answer.slot is not None:
            self._table.release(answer.slot)
            answer.slot = None
        if answer in self._active:
            self._active.remove(answer)
        if answer in self._generating:
            # A new list: a step may be walking over the old one.
            self._generating = [other for other in self._generating if other is not answer]
            self._steady = False

    def _recover(self, result: int, generating: list[Answer], prompts: list[tuple[Answer, int]]) -> None:
        """After a decode that did not happen: put the cache back, make room, or give the error to the answers."""
        involved = [*generating, *(answer for answer, _ in prompts)]
        if result == NO_ROOM:
            self._make_room()
            return
        slots: list[Slot] = [answer.slot for answer in involved if answer.slot is not None]
        for slot in slots:
            self._table.rewind(slot)
        for answer in involved:
            # A memory that cannot be cut back was emptied: evaluate the answer again from its first token.
            if (
                answer.slot is not None
                and answer in self._generating
                and answer.slot.past < len(answer.tokens) - 1
            ):
                self._generating = [other for other in self._generating if other is not answer]
                self._steady = False
        if result == ABORTED:
            return
        problem = SlmDeskError(
            "decode_failed",
            "llama.cpp could not evaluate the batch.",
            "Send the message again. If it fails again, use a shorter context or a smaller quant.",
            details=f"llama_decode gave {result}",
        )
        for answer in involved:
            if answer.slot is not None:
                self._table.forget(answer.slot)
            self._finish(answer, "error", problem)

    def _make_room(self) -> None:
        """The cells ran out: forget idle conversations, then let the youngest answer wait, unseen by its client."""
        if self._table.evict():
            return
        youngest = self._active[-1]
        if len(self._active) == 1:
            self._finish(youngest, "length")
            return
        slot = youngest.slot
        assert slot is not None
        self._table.put_aside(slot)
        self._leave(youngest)
        self._waiting.appendleft(youngest)

    def _flush(self) -> None:
        if self._texts or self._ends:
            self._publish(self._texts, self._ends)
            self._texts, self._ends = [], []
