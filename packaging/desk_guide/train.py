"""Trains Desk Guide, the built-in model, and writes its folder.

    python3 packaging/bootstrap.py uv run --group training python packaging/desk_guide/train.py

Seeded and on the CPU; under 30 minutes on two quiet cores. Needs the dependency group `training`.

The loss is taken on answers only. Telling some hundred subjects apart is the hard part, and words alone nearly do it.
So the embeddings learn first, alone: to guess the subject from the mean of a question's words (a minute). Then the
whole model learns the answers; at its start the second attention takes that very mean and every other part adds
nothing, and the guess stays a second loss behind that layer. The guesser is thrown away.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guide_corpus
import sentencepiece as spm
import torch
from guide_batches import SYSTEM_MESSAGES, Batch, Batches, Talk
from guide_corpus import RESOURCES, Elsewhere, Question
from guide_folder import IM_END, IM_START, write_folder
from guide_model import forward, normed, rotations
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20261123
VOCABULARY = 3072
WORD_STEPS, WORD_ROWS = 1000, 192
STEPS = 2900
#: Tokens a step of single questions. Later some steps take conversations of so many tokens, so many at once.
TOKENS = 1900
TALK, LONG_TALK = (256, 7), (704, 3)
#: The layer whose attention begins as the mean of the words, and behind which the subject is guessed.
MEAN_LAYER = 1
GUESS_WEIGHT = 1.0
#: Share of the steps in which the answers teach only the layers behind that one, which know nothing yet.
APART = 0.12


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=RESOURCES)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    spm.set_random_generator_seed(SEED)
    questions = guide_corpus.load_questions()
    elsewhere = guide_corpus.load_elsewhere()
    started = time.monotonic()
    tokenizer = train_tokenizer(questions, elsewhere, args.vocabulary)
    print(f"{len(questions)} questions, vocabulary {tokenizer.get_piece_size()}", flush=True)
    model = new_model(tokenizer)
    rng = random.Random(SEED)
    batches = Batches(questions, Talk(questions, elsewhere, rng), tokenizer, rng)
    guesser = torch.nn.Linear(model.config.hidden_size, len(questions))
    learn_words(model, guesser, batches)
    learn_answers(model, guesser, batches, questions, args.steps)
    seconds = time.monotonic() - started
    write_folder(args.out, model, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "steps": args.steps, "seconds": round(seconds)}))


def new_model(tokenizer: Any) -> LlamaForCausalLM:
    """A fresh Llama of about 5 million parameters; every matrix row is a multiple of 256 long."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_piece_size(),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            rms_norm_eps=1e-5,
            # What a word means in a question and where it stands in an answer are learned apart.
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_id(),
            eos_token_id=tokenizer.piece_to_id(IM_END),
            pad_token_id=tokenizer.piece_to_id("<pad>"),
        )
    )


def learn_words(model: LlamaForCausalLM, guesser: torch.nn.Linear, batches: Batches) -> None:
    """The embeddings and the guesser, from the mean of the words; then the model's parts as the docstring says."""
    table = model.model.embed_tokens.weight
    pace = Pace([table, *guesser.parameters()], WORD_STEPS, rate=3e-3, decay=0.01)
    for _ in range(WORD_STEPS):
        ids, begins, lasts, subjects = batches.prompts(WORD_ROWS)
        # Summed and normed as the model does it, so that it finds what was learned here.
        words = functional.embedding_bag(ids, normed(table), begins, mode="mean")
        pace.step(functional.cross_entropy(guesser(normed(table[lasts] + words)), subjects))
    with torch.no_grad():
        for i, layer in enumerate(model.model.layers):
            layer.mlp.down_proj.weight.zero_()
            if i == MEAN_LAYER:
                layer.self_attn.v_proj.weight.copy_(torch.eye(model.config.hidden_size))
                layer.self_attn.o_proj.weight.copy_(torch.eye(model.config.hidden_size))
            else:
                layer.self_attn.o_proj.weight.zero_()


def learn_answers(
    model: LlamaForCausalLM, guesser: torch.nn.Linear, batches: Batches, questions: list[Question], steps: int
) -> None:
    """The whole model."""
    known = [
        model.model.embed_tokens.weight,
        *guesser.parameters(),
        *(p for layer in model.model.layers[: MEAN_LAYER + 1] for p in layer.parameters()),
    ]
    fresh = [p for p in model.parameters() if all(p is not k for k in known)]
    # What has learned already learns on more slowly.
    pace = Pace(fresh, steps, rate=2e-3, decay=0.05, slower=known)
    run = torch.compile(forward, dynamic=True) if shutil.which("g++") else forward
    for step in range(1, steps + 1):
        done = step / steps
        pace.step(*losses(run, model, guesser, _batch(batches, done), apart=done < APART))
        if step % 200 == 0:
            print(f"held out {heldout_share(model, batches, questions):.3f}", flush=True)


def losses(
    run: Any, model: LlamaForCausalLM, guesser: torch.nn.Linear, batch: Batch, *, apart: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean cross entropy of the answers' tokens, and the mean one of the guesses."""
    middle, hidden = run(model, batch.ids, *rotations(model, batch.ids.shape[1]), MEAN_LAYER, apart=apart)
    weights = batch.weights[:, 1:]
    wanted = weights > 0
    # The output matrix is applied to the positions that count alone.
    each = functional.cross_entropy(
        model.lm_head(hidden[:, :-1][wanted]), batch.ids[:, 1:][wanted], reduction="none"
    )
    answer = (each * weights[wanted]).sum() / weights[wanted].sum()
    if not batch.asked:
        return answer, answer.new_zeros(())
    row, before, subject = torch.tensor(batch.asked).T
    return answer, functional.cross_entropy(guesser(normed(middle[row, before])), subject)


class Pace:
    """AdamW with warm-up and a rate that falls to nothing; prints the mean losses every 50 steps."""

    def __init__(
        self,
        parameters: list[torch.nn.Parameter],
        steps: int,
        *,
        rate: float,
        decay: float,
        slower: list[torch.nn.Parameter] | None = None,
    ) -> None:
        groups = [{"params": parameters, "lr": rate}, {"params": slower or [], "lr": rate / 4}]
        self._optimiser = torch.optim.AdamW(
            [g for g in groups if g["params"]], betas=(0.9, 0.98), weight_decay=decay, fused=True
        )
        warm_up = min(80, steps // 10)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda s: min(1.0, (s + 1) / warm_up, 0.02 + 0.98 * _cosine(s, steps))
        )
        self._parameters = [*parameters, *(slower or [])]
        self._done = 0
        self._sums: list[float] = []
        self._started = time.monotonic()

    def step(self, first: torch.Tensor, second: torch.Tensor | None = None) -> None:
        """One step down the first loss, and down a share of the second."""
        self._optimiser.zero_grad(set_to_none=True)
        (first if second is None else first + GUESS_WEIGHT * second).backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._done += 1
        values = [first.item()] if second is None else [first.item(), second.item()]
        self._sums = [a + b for a, b in zip(self._sums, values, strict=True)] if self._sums else values
        if self._done % 50 == 0:
            means = " ".join(f"{value / 50:.3f}" for value in self._sums)
            print(f"step {self._done} loss {means} {time.monotonic() - self._started:.0f} s", flush=True)
            self._sums = []


def _batch(batches: Batches, done: float) -> Batch:
    roll = batches.rng.random()
    # First which answer belongs to which question, then whole answers, then conversations as well.
    if roll < 0.7 * (done - APART):
        return batches.talks(*(LONG_TALK if done > 0.7 and roll < 0.12 else TALK))
    return batches.singles(TOKENS, whole=0.3 if done < 0.3 else 0.6)


def _cosine(done: int, whole: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * done / max(1, whole)))


@torch.no_grad()
def heldout_share(model: LlamaForCausalLM, batches: Batches, questions: list[Question]) -> float:
    """Share of held-out phrasings whose answer's first 12 tokens are each the likeliest after the one before."""
    pairs = [(q, text) for q in questions for text in q.heldout]
    right = 0
    for i in range(0, len(pairs), 120):
        some = pairs[i : i + 120]
        batch = batches.exact([q for q, _ in some], [text for _, text in some], keep=12)
        _, hidden = forward(model, batch.ids, *rotations(model, batch.ids.shape[1]), MEAN_LAYER)
        wanted = batch.weights[:, 1:] > 0
        hit = torch.ones_like(wanted)
        hit[wanted] = model.lm_head(hidden[:, :-1][wanted]).argmax(-1) == batch.ids[:, 1:][wanted]
        right += int(hit.all(dim=1).sum())
    return right / len(pairs)


def train_tokenizer(questions: list[Question], elsewhere: Elsewhere, size: int) -> Any:
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
