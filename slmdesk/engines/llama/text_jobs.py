"""The worker of a model that makes vectors of texts or ranks them: texts of all requests in one batch a step."""

from __future__ import annotations

import queue
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines import failures
from slmdesk.llama.context import DECODED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.llama.context import Context

_GROUP = 512  # tokens of several texts that one step takes; a longer text has a step of its own


@dataclass(slots=True)
class TextJob:
    """The texts of one request, in tokens. `done` hears the end on the worker thread: the rows, or what went wrong."""

    key: int
    texts: Sequence[Sequence[int]]
    done: Callable[[list[NDArray[np.float32]] | SlmDeskError], None]
    taken: int = 0  # texts that are, or were, in a step
    rows: dict[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Place:
    job: TextJob
    place: int

    @property
    def tokens(self) -> Sequence[int]:
        return self.job.texts[self.place]


class TextWorker:
    """Runs on its own thread from `start` on. `submit` and `cancel` may be called from any thread.

    Each request gives one text in turn, so that a question does not wait for a book. With `pieces` (a model that reads
    from left to right, whose vector is the last token's) only the last tokens of the texts are outputs: nothing else
    meets the output matrix. `width`: numbers of a row. `on_crash` is called when a defect ends the thread.
    """

    def __init__(
        self,
        context: Context,
        *,
        width: int,
        sequences: int,
        pieces: bool,
        on_crash: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._width = width
        self._sequences = sequences
        self._pieces = pieces
        self._most = context.cells if pieces else context.size  # tokens of a step
        self._on_crash = on_crash
        self._inbox: queue.SimpleQueue[TextJob | int] = queue.SimpleQueue()
        self._jobs: deque[TextJob] = deque()
        self._thread = threading.Thread(target=self._run, name="slmdesk-worker", daemon=True)

    @property
    def active(self) -> int:
        """Requests that are not answered yet."""
        return len(self._jobs) + self._inbox.qsize()

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: TextJob) -> None:
        """Each of its texts must be at least one token long, and fit the context."""
        self._inbox.put(job)

    def cancel(self, key: int) -> None:
        """Forget a request before the next step; its `done` hears nothing more."""
        self._inbox.put(key)

    # The worker thread from here on.

    def _run(self) -> None:
        try:
            while True:
                self._receive()
                if group := self._gather():
                    self._step(group)
        except BaseException as error:  # noqa: BLE001 - a defect: said to every client, then the thread ends
            traceback.print_exc()
            failures.end_as_native(error)
            problem = SlmDeskError(
                "engine_crashed",
                f"The engine stopped because of a defect: {str(error) or type(error).__name__}.",
                "Ask again; report it if it happens again.",
            )
            for job in self._jobs:
                job.done(problem)
            self._on_crash()

    def _receive(self) -> None:
        while not self._inbox.empty() or not self._jobs:
            message = self._inbox.get()
            if isinstance(message, int):
                self._jobs = deque(job for job in self._jobs if job.key != message)
            else:
                self._jobs.append(message)

    def _gather(self) -> list[_Place]:
        """The texts of the next step: one of each request in turn, as long as there is room."""
        group: list[_Place] = []
        room = 0
        waiting = deque(job for job in self._jobs if job.taken < len(job.texts))
        while waiting and len(group) < self._sequences:
            job = waiting.popleft()
            text = _Place(job, job.taken)
            size = len(text.tokens)
            if not group:
                room = max(size, min(_GROUP, self._most))
            if size > room:
                break
            room -= size
            job.taken += 1
            group.append(text)
            if job.taken < len(job.texts):
                waiting.append(job)
        self._jobs.rotate(-1)  # another one begins the next step
        return group

    def _step(self, group: list[_Place]) -> None:
        """Compute one group, and answer the requests that are complete with it."""
        self._context.clear()
        result = self._in_pieces(group) if self._pieces else self._at_once(group)
        for job in {id(text.job): text.job for text in group}.values():
            if result != DECODED:
                self._end(job, _failed(result))
            elif len(job.rows) == len(job.texts):
                self._end(job, [job.rows[place] for place in range(len(job.texts))])

    def _end(self, job: TextJob, outcome: list[NDArray[np.float32]] | SlmDeskError) -> None:
        self._jobs = deque(other for other in self._jobs if other is not job)
        job.done(outcome)

    def _at_once(self, group: list[_Place]) -> int:
        """Every token of every text in one batch: a text is read in both directions, or its mean is wanted."""
        entry = 0
        for sequence, text in enumerate(group):
            entry = self._fill(entry, sequence, text.tokens, 0, wanted=1)
        result = self._context.decode(entry)
        if result == DECODED:
            self._take(group)
            self._context.give_back_logits(entry)
        return result

    def _in_pieces(self, group: list[_Place]) -> int:
        """All tokens but the last without an output, as many a batch as it takes; then the last ones, pooled."""
        context = self._context
        context.pool(on=False)
        entry = 0
        for sequence, text in enumerate(group):
            place, end = 0, len(text.tokens) - 1
            while place < end:
                size = min(end - place, context.size - entry)
                entry = self._fill(entry, sequence, text.tokens[place : place + size], place, wanted=0)
                place += size
                if entry == context.size:
                    if (result := context.decode(entry)) != DECODED:
                        return result
                    entry = 0
        if entry and (result := context.decode(entry)) != DECODED:
            return result
        context.pool(on=True)
        for sequence, text in enumerate(group):
            self._fill(sequence, sequence, text.tokens[-1:], len(text.tokens) - 1, wanted=1)
        result = context.decode(len(group))
        if result == DECODED:
            self._take(group)
        return result

    def _fill(self, entry: int, sequence: int, tokens: Sequence[int], position: int, *, wanted: int) -> int:
        """Write a run of tokens into the batch; the entry behind it."""
        context, end = self._context, entry + len(tokens)
        context.token[entry:end] = tokens
        context.pos[entry:end] = range(position, position + len(tokens))
        context.seq[entry:end] = sequence
        context.wanted[entry:end] = wanted
        return end

    def _take(self, group: list[_Place]) -> None:
        for sequence, text in enumerate(group):
            text.job.rows[text.place] = self._context.pooled(sequence, self._width)


def _failed(result: int) -> SlmDeskError:
    return SlmDeskError(
        "decode_failed",
        "llama.cpp could not evaluate the texts.",
        "Ask again. If it fails again, send shorter texts or use another quant.",
        details=f"llama_decode gave {result}",
    )
