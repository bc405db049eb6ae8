"""Trains Desk Guide, the built-in model, and writes its folder.

    uv run --group training python packaging/desk_guide/train.py

Seeded and on the CPU; under 30 minutes on two quiet cores. Needs the dependency group `training`.

The loss is taken on answers only. Telling some hundred subjects apart is the hard part, and words alone nearly do it,
so it is learned in three steps, each the start of the next:

1. the embeddings, by guessing the subject from the mean of a question's words (half a minute);
2. the first two attentions, by guessing it from the state just before the answer, the other layers left out;
3. the whole model, by the words of the answer; the guess stays a second loss. The guesser is thrown away.
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

import guide_corpus
import sentencepiece as spm
import torch
from guide_batches import NO_LOSS, SYSTEM_MESSAGES, Batch, Batches, Talk
from guide_corpus import RESOURCES, Elsewhere, Question
from guide_folder import IM_END, IM_START, write_folder
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20261123
VOCABULARY = 4096
WORD_STEPS, WORD_ROWS = 500, 192
ATTENTION_STEPS, ATTENTION_ROWS = 700, 128
STEPS = 800
ROWS = 56
#: Shares of the steps with single questions and with conversations of so many tokens a row; the rest are longer.
SINGLES, TALKS = 0.6, 0.3
TALK, LONG_TALK = (256, 8), (704, 3)
#: Layers whose attention has the head start; in the second one every token begins as the mean of those before it.
STARTED = 2
GUESS_WEIGHT = 0.5


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
    learn_attention(model, guesser, batches)
    learn_answers(model, guesser, batches, questions, args.steps)
    seconds = time.monotonic() - started
    write_folder(args.out, model, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "steps": args.steps, "seconds": round(seconds)}))


def new_model(tokenizer: Any) -> LlamaForCausalLM:
    """A fresh Llama of about 4.5 million parameters; every matrix row is a multiple of 256 long."""
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
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_id(),
            eos_token_id=tokenizer.piece_to_id(IM_END),
            pad_token_id=tokenizer.piece_to_id("<pad>"),
        )
    )


def learn_words(model: LlamaForCausalLM, guesser: torch.nn.Linear, batches: Batches) -> None:
    """Step 1: embeddings."""
    table = model.model.embed_tokens.weight
    pace = Pace([table, *guesser.parameters()], WORD_STEPS, rate=3e-3, decay=0.01)
    for _ in range(WORD_STEPS):
        ids, begins, subjects = batches.subjects(WORD_ROWS)
        # Normed as the model norms them, so that the attention finds what was learned here.
        words = functional.embedding_bag(ids, _normed(table), begins, mode="mean")
        pace.step(functional.cross_entropy(guesser(_normed(words)), subjects))


def learn_attention(model: LlamaForCausalLM, guesser: torch.nn.Linear, batches: Batches) -> None:
    """Step 2: the first attentions."""
    layers = model.model.layers[:STARTED]
    mean = layers[-1].self_attn
    with torch.no_grad():
        mean.v_proj.weight.copy_(torch.eye(model.config.hidden_size))
        mean.o_proj.weight.copy_(torch.eye(model.config.hidden_size))
    modules = [
        model.model.embed_tokens,
        guesser,
        *(m for x in layers for m in (x.input_layernorm, x.self_attn)),
    ]
    pace = Pace([p for m in modules for p in m.parameters()], ATTENTION_STEPS, rate=2e-3, decay=0.01)
    for step in range(ATTENTION_STEPS):
        batch = batches.singles(ATTENTION_ROWS) if step < ATTENTION_STEPS * 0.6 else batches.talks(256, 16)
        pace.step(functional.cross_entropy(*_early_guess(model, guesser, batch)))


def _early_guess(
    model: LlamaForCausalLM, guesser: torch.nn.Linear, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """The guesses after the first attentions, and the subjects."""
    state = model.model.embed_tokens(batch.ids)
    turns = model.model.rotary_emb(state, torch.arange(batch.ids.shape[1])[None])
    for layer in model.model.layers[:STARTED]:
        seen = layer.self_attn(layer.input_layernorm(state), position_embeddings=turns, attention_mask=None)[
            0
        ]
        state = state + seen
    row, before, subject = torch.tensor(batch.asked).T
    return guesser(model.model.norm(state[row, before])), subject


def _normed(rows: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(rows, rows.shape[-1:])


def losses(
    model: LlamaForCausalLM, guesser: torch.nn.Linear, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross entropy of the labelled tokens, and of the guesses."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    targets = batch.labels[:, 1:]
    wanted = targets != NO_LOSS
    # The output matrix is applied to the labelled positions alone.
    answer = functional.cross_entropy(model.lm_head(hidden[:, :-1][wanted]), targets[wanted])
    if not batch.asked:
        return answer, answer.new_zeros(())
    row, before, subject = torch.tensor(batch.asked).T
    return answer, functional.cross_entropy(guesser(hidden[row, before]), subject)


def learn_answers(
    model: LlamaForCausalLM, guesser: torch.nn.Linear, batches: Batches, questions: list[Question], steps: int
) -> None:
    """Step 3: everything."""
    known = {id(p) for x in model.model.layers[:STARTED] for p in x.self_attn.parameters()}
    known |= {id(p) for p in (model.model.embed_tokens.weight, *guesser.parameters())}
    parameters = [*model.parameters(), *guesser.parameters()]
    # What has learned already learns on more slowly.
    pace = Pace(
        [p for p in parameters if id(p) not in known], steps, rate=2e-3, decay=0.1,
        slower=[p for p in parameters if id(p) in known],
    )  # fmt: skip
    for step in range(1, steps + 1):
        answer, guess = losses(model, guesser, _batch(batches, step / steps))
        pace.step(answer, guess)
        if step % 100 == 0:
            print(f"held out {heldout_share(model, batches, questions):.3f}", flush=True)


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
            [g for g in groups if g["params"]], betas=(0.9, 0.98), weight_decay=decay
        )
        warm_up = min(40, steps // 10)
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
    if done <= SINGLES:
        return batches.singles(ROWS)
    return batches.talks(*(TALK if done <= SINGLES + TALKS else LONG_TALK))


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
        hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
        targets = batch.labels[:, 1:]
        wanted = targets != NO_LOSS
        hit = torch.ones_like(wanted)
        hit[wanted] = model.lm_head(hidden[:, :-1][wanted]).argmax(-1) == targets[wanted]
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
