"""Draws training questions and lays them out as rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import guide_augment
import guide_corpus
import torch
from guide_folder import IM_END, IM_START

if TYPE_CHECKING:
    import random

    from guide_corpus import Elsewhere, Question

SYSTEM_MESSAGES = (
    "You are Desk Guide, the built-in guide of SLM Desk.",
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a helpful assistant. Answer in plain words.",
    "Be short and clear.",
    "You are an expert on small language models.",
    "Answer in one or two sentences.",
    "You help people with SLM Desk.",
)
#: Which answer is right shows in its first words: they count more than the rest, which follows from them.
FIRST_WORDS, FIRST_WEIGHT = 4, 3.0


class Talk:
    """Draws training questions: every subject equally often, in ever new wordings, never a held-out one."""

    def __init__(self, questions: list[Question], elsewhere: Elsewhere, rng: random.Random) -> None:
        self._rng = rng
        self._elsewhere = elsewhere
        self._unknown = next(q for q in questions if q.id == "unknown")
        self._known = [q for q in questions if q.id != "unknown"]
        self._made = {q.id: q.patterned() for q in questions}
        self._forbidden = {guide_corpus.plain(h) for q in questions for h in q.heldout}
        self._order: list[Question] = []

    def draw(self) -> tuple[str, Question]:
        """A question as somebody may type it, and its subject."""
        if self._rng.random() < 0.1:
            return self._typed(self._unknown), self._unknown
        if not self._order:
            self._order = self._known.copy()
            self._rng.shuffle(self._order)
        question = self._order.pop()
        return self._typed(question), question

    def _typed(self, question: Question) -> str:
        while True:
            text = guide_augment.vary(self._phrasing(question), self._rng)
            if guide_corpus.plain(text) not in self._forbidden:
                return text

    def _phrasing(self, question: Question) -> str:
        rng = self._rng
        if question is self._unknown:
            return rng.choice(question.ask) if rng.random() < 0.15 else self._foreign()
        made = self._made[question.id]
        # The hand-written ones teach more: of words alone, 88 of 100 blind questions against 73 with twice the share.
        if made and rng.random() < (0.2 if len(question.phrases) > 1 else 0.15):
            return rng.choice(made)
        return rng.choice(question.ask)

    def _foreign(self) -> str:
        rng, e = self._rng, self._elsewhere
        if rng.random() < 0.25:
            return rng.choice(e.doing_templates).format(x=rng.choice(e.doings))
        return rng.choice(e.templates).format(x=rng.choice(e.nouns), y=rng.choice(e.nouns))


@dataclass
class Row:
    """One row of tokens, with the labels and the questions in it."""

    ids: list[int] = field(default_factory=list)
    #: What each token counts in the loss of guessing it from those before.
    weights: list[float] = field(default_factory=list)
    #: (last token before an answer, number of its subject)
    asked: list[tuple[int, int]] = field(default_factory=list)

    def add(self, ids: list[int], weight: float = 0.0) -> None:
        """Appends tokens that count so much in the loss."""
        self.ids += ids
        self.weights += [weight] * len(ids)


@dataclass(frozen=True)
class Batch:
    """Ids and weights of shape (rows, length); the questions as (row, last token before the answer, subject)."""

    ids: torch.Tensor
    weights: torch.Tensor
    asked: list[tuple[int, int, int]]


class Batches:
    """Makes batches: of single questions with short pieces of their answers, or of whole conversations."""

    def __init__(self, questions: list[Question], talk: Talk, tokenizer: Any, rng: random.Random) -> None:
        self._talk = talk
        self.rng = rng
        self._rng = rng
        self._number = {q.id: i for i, q in enumerate(questions)}
        self._answers = [q.answer for q in questions]
        self._tokenizer = tokenizer
        self._size = tokenizer.get_piece_size()
        self._start = tokenizer.piece_to_id(IM_START)
        self._end = tokenizer.piece_to_id(IM_END)
        self._waiting: list[list[Row]] = []

    def singles(self, tokens: int, whole: float) -> Batch:
        """Single questions, a share `whole` of them with the whole answer, the others with its first words.

        Rows of like length come together, as many as make about `tokens`: little is padded.
        """
        if not self._waiting:
            made = sorted((self._single(whole) for _ in range(800)), key=lambda row: len(row.ids))
            while made:
                rows = max(8, tokens // len(made[-1].ids))
                self._waiting.append(made[-rows:])
                del made[-rows:]
            self._rng.shuffle(self._waiting)
        batch = self._waiting.pop()
        return self._batch(batch, max(len(row.ids) for row in batch))

    def talks(self, length: int, rows: int) -> Batch:
        """Conversations of several questions on unrelated subjects, filling `length` tokens; some plain text."""
        made = [
            self._text(length) if self._rng.random() < 0.06 else self._talked(length) for _ in range(rows)
        ]
        return self._batch(made, length)

    def prompts(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Single questions up to where the answer begins: their tokens one after another, where each question begins,
        its last token, and the number of its subject."""
        ids: list[int] = []
        begins, lasts, numbers = [], [], []
        for _ in range(count):
            row = self._single(whole=0.0)
            last, number = row.asked[0]
            begins.append(len(ids))
            ids += row.ids[: last + 1]
            lasts.append(ids[-1])
            numbers.append(number)
        return torch.tensor(ids), torch.tensor(begins), torch.tensor(lasts), torch.tensor(numbers)

    def exact(self, questions: list[Question], texts: list[str], keep: int) -> Batch:
        """The questions as they stand, each followed by the first `keep` tokens of its answer."""
        made = []
        for question, text in zip(questions, texts, strict=True):
            row = Row()
            self._ask(row, text, question, keep=keep, split=False)
            made.append(row)
        return self._batch(made, max(len(row.ids) for row in made))

    def _batch(self, rows: list[Row], length: int) -> Batch:
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        weights = torch.zeros((len(rows), length))
        asked = []
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids[:length])
            weights[i, : len(row.ids)] = torch.tensor(row.weights[:length])
            asked += [(i, *place) for place in row.asked if place[0] < length]
        return Batch(ids, weights, asked)

    def _single(self, whole: float) -> Row:
        row = self._begun()
        text, question = self._talk.draw()
        keep = None if self._rng.random() < whole else self._rng.randint(4, 9)
        self._ask(row, text, question, keep=keep, split=self._rng.random() < 0.3)
        return row

    def _talked(self, length: int) -> Row:
        row = self._begun()
        while len(row.ids) < length:
            text, question = self._talk.draw()
            keep = self._rng.randint(6, 14) if self._rng.random() < 0.5 else None
            self._ask(row, text, question, keep=keep, split=self._rng.random() < 0.3)
        return row

    def _begun(self) -> Row:
        row = Row()
        if self._rng.random() < 0.2:
            row.add([self._tokenizer.bos_id()])
        if self._rng.random() < 0.15:
            message = self._rng.choice(SYSTEM_MESSAGES)
            row.add([self._start, *self._encode(f"system\n{message}"), self._end, *self._encode("\n")])
        return row

    def _ask(self, row: Row, text: str, question: Question, *, keep: int | None, split: bool) -> None:
        row.add([self._start, *self._encode("user\n")])
        row.add(self._encode(text, split))
        row.add([self._end, *self._encode("\n"), self._start, *self._encode("assistant\n")])
        row.asked.append((len(row.ids) - 1, self._number[question.id]))
        answer = [*self._encode(question.answer), self._end][:keep]
        row.add(answer[:FIRST_WORDS], FIRST_WEIGHT)
        row.add(answer[FIRST_WORDS:], 1.0)
        row.add(self._encode("\n"))

    def _encode(self, text: str, split: bool = False) -> list[int]:
        if not split:
            return list(self._tokenizer.encode(text))
        # Merges left out at random teach what words are made of, so that typos stay readable; a few pieces swapped
        # for others teach not to hang on a single word.
        pieces = self._tokenizer.encode(text, enable_sampling=True, alpha=0.1, nbest_size=-1)
        return [self._rng.randrange(300, self._size) if self._rng.random() < 0.03 else p for p in pieces]

    def _text(self, length: int) -> Row:
        """Answers as running text, all of it learned: so perplexity on plain text means something."""
        row = Row()
        row.add([self._tokenizer.bos_id()])
        while len(row.ids) < length:
            row.add(self._encode(self._rng.choice(self._answers) + self._rng.choice((" ", "\n"))), 1.0)
        return row
