"""Trains Desk Guide, the built-in model, and writes its folder.

    uv run --group training python packaging/desk_guide/train.py

Seeded and on the CPU; 25 minutes on two quiet cores. Needs the dependency group `training`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guide_augment
import guide_corpus
import sentencepiece as spm
import torch
from guide_corpus import RESOURCES, Elsewhere, Question
from guide_folder import IM_END, IM_START, write_folder
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20261123
VOCABULARY = 4096
#: (share of the steps, tokens a row, rows): short conversations first, which cost less, then long ones.
STAGES = ((0.85, 256, 8), (0.15, 704, 3))
STEPS = 1600
LEARNING_RATE = 2e-3
#: Share of answers cut off early. Which answer is right shows in its first words; those teach the most for their time.
SHORTENED = 0.75
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


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESOURCES)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    questions = guide_corpus.load_questions()
    elsewhere = guide_corpus.load_elsewhere()
    started = time.monotonic()
    tokenizer = train_tokenizer(questions, elsewhere, args.vocabulary)
    print(f"{len(questions)} questions, vocabulary {tokenizer.get_piece_size()}", flush=True)
    model = new_model(tokenizer)
    batches = Batches(questions, elsewhere, tokenizer, random.Random(SEED))
    optimise(model, batches, args.steps)
    seconds = time.monotonic() - started
    write_folder(args.out, model, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "steps": args.steps, "seconds": round(seconds)}))


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

    def draw(self) -> tuple[str, str]:
        """A question as somebody may type it, and its answer."""
        if self._rng.random() < 0.1:
            return self._typed(self._unknown), self._unknown.answer
        if not self._order:
            self._order = self._known.copy()
            self._rng.shuffle(self._order)
        question = self._order.pop()
        return self._typed(question), question.answer

    def _typed(self, question: Question) -> str:
        while True:
            text = guide_augment.vary(self._phrasing(question), self._rng)
            if guide_corpus.plain(text) not in self._forbidden:
                return text

    def _phrasing(self, question: Question) -> str:
        rng = self._rng
        if question is self._unknown and rng.random() < 0.85:
            return self._foreign()
        made = self._made[question.id]
        if made and rng.random() < 0.4:
            return rng.choice(made)
        return rng.choice(question.ask)

    def _foreign(self) -> str:
        rng, e = self._rng, self._elsewhere
        if rng.random() < 0.25:
            return rng.choice(e.doing_templates).format(x=rng.choice(e.doings))
        return rng.choice(e.templates).format(x=rng.choice(e.nouns), y=rng.choice(e.nouns))


class Batches:
    """Endless batches of conversations as token ids and labels (-100 where no loss is taken)."""

    def __init__(
        self,
        questions: list[Question],
        elsewhere: Elsewhere,
        tokenizer: spm.SentencePieceProcessor,
        rng: random.Random,
    ) -> None:
        self._talk = Talk(questions, elsewhere, rng)
        self._answers = [q.answer for q in questions]
        self._tokenizer = tokenizer
        self._rng = rng
        self._size = tokenizer.get_piece_size()
        self._start = tokenizer.piece_to_id(IM_START)
        self._end = tokenizer.piece_to_id(IM_END)
        spm.set_random_generator_seed(SEED)

    def next(self, length: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch: ids and labels, both of shape (rows, length)."""
        made = [
            self._text(length) if self._rng.random() < 0.04 else self._talk_of(length) for _ in range(rows)
        ]
        ids = torch.zeros((rows, length), dtype=torch.long)
        labels = torch.full((rows, length), -100, dtype=torch.long)
        for i, (row, marks) in enumerate(made):
            ids[i, : len(row)] = torch.tensor(row[:length])
            labels[i, : len(marks)] = torch.tensor(marks[:length])
        return ids, labels

    def _encode(self, text: str, split: bool = False) -> list[int]:
        if split:
            # Merges left out at random teach what words are made of, so that typos stay readable; a few pieces
            # swapped for others teach not to hang on a single word.
            pieces = list(self._tokenizer.encode(text, enable_sampling=True, alpha=0.1, nbest_size=-1))
            return [self._rng.randrange(300, self._size) if self._rng.random() < 0.04 else p for p in pieces]
        return list(self._tokenizer.encode(text))

    def _talk_of(self, length: int) -> tuple[list[int], list[int]]:
        rng = self._rng
        row: list[int] = [self._tokenizer.bos_id()] if rng.random() < 0.3 else []
        if rng.random() < 0.3:
            row += self._turn("system", rng.choice(SYSTEM_MESSAGES))
        labels = [-100] * len(row)
        while len(row) < length:
            question, answer = self._talk.draw()
            head = self._turn("user", question, split=rng.random() < 0.35)
            head += [self._start, *self._encode("assistant\n")]
            body = [*self._encode(answer), self._end]
            if rng.random() < SHORTENED:
                body = body[: rng.randint(6, 14)]
            row += head + body + self._encode("\n")
            labels += [-100] * len(head) + body + [-100]
        return row, labels

    def _turn(self, role: str, text: str, split: bool = False) -> list[int]:
        return [
            self._start, *self._encode(f"{role}\n"), *self._encode(text, split), self._end, *self._encode("\n")
        ]  # fmt: skip

    def _text(self, length: int) -> tuple[list[int], list[int]]:
        """Answers as running text, all of it learned: so perplexity on plain text means something."""
        row = [self._tokenizer.bos_id()]
        while len(row) < length:
            row += self._encode(self._rng.choice(self._answers) + self._rng.choice((" ", "\n")))
        return row, row.copy()


def new_model(tokenizer: spm.SentencePieceProcessor) -> LlamaForCausalLM:
    """A fresh Llama of about 5 million parameters; every matrix row is a multiple of 256 long."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_piece_size(),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=5,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_id(),
            eos_token_id=tokenizer.piece_to_id(IM_END),
            pad_token_id=tokenizer.piece_to_id("<pad>"),
        )
    )


def optimise(model: LlamaForCausalLM, batches: Batches, steps: int) -> None:
    """AdamW with warm-up and cosine decay; prints the loss every 25 steps."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    warm_up = min(100, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: (s + 1) / warm_up if s < warm_up else 0.02 + 0.98 * _cosine(s - warm_up, steps - warm_up),
    )
    model.train()
    total, started = 0.0, time.monotonic()
    for step in range(1, steps + 1):
        _, length, rows = STAGES[0] if step <= STAGES[0][0] * steps else STAGES[1]
        ids, labels = batches.next(length, rows)
        loss = answer_loss(model, ids, labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 25 == 0:
            print(f"step {step} loss {total / 25:.4f} {time.monotonic() - started:.0f} s", flush=True)
            total = 0.0


def _cosine(done: int, whole: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * done / max(1, whole)))


def answer_loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over the labelled tokens; the output matrix is applied to those alone."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    wanted = targets != -100
    logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), targets[wanted])


def train_tokenizer(questions: list[Question], elsewhere: Elsewhere, size: int) -> spm.SentencePieceProcessor:
    """SentencePiece BPE with byte fallback over everything the guide reads and writes."""
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=_tokenizer_text(questions, elsewhere),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        # The template sets every space itself; an invisible one more would differ between the two tokenizers.
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        pad_piece="<pad>",
        control_symbols=[IM_START, IM_END],
        num_threads=1,
        minloglevel=2,
    )
    processor: Any = spm.SentencePieceProcessor()
    processor.load_from_serialized_proto(model.getvalue())
    return processor


def _tokenizer_text(questions: list[Question], elsewhere: Elsewhere) -> Iterator[str]:
    yield "user system assistant"
    yield from SYSTEM_MESSAGES
    for question in questions:
        for _ in range(10):
            yield question.answer
        for text in (*question.ask, *question.patterned()[:60]):
            yield text
            yield text[:1].upper() + text[1:] + "?"
    yield from elsewhere.nouns
    yield from elsewhere.doings


if __name__ == "__main__":
    main()
