"""Asks Desk Guide's GGUF the questions it never saw and counts the right answers.

    python3 packaging/bootstrap.py uv run python packaging/desk_guide/evaluate.py [--sample N] [--model FILE]

Greedy decoding through llama.cpp. An answer is right when it holds the key words kept beside its subject. One JSON
line a measure: `heldout` (phrasings kept out of training), `third_turn` (the same, asked as the third question of a
conversation) and `unseen` (questions by somebody who had not seen the corpus). Ends with code 1 when one of the bars,
95 % for the first and 80 % for the last, is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import guide_corpus
from guide_corpus import GGUF_FILE, UNSEEN_FILE, Question

BARS = {"heldout": 0.95, "third_turn": 0.0, "unseen": 0.80}
LONGEST_ANSWER = 160
SEED = 7


@dataclass(frozen=True)
class Probe:
    """A question, the subject it belongs to, and the turns before it."""

    text: str
    subject: Question
    before: tuple[dict[str, str], ...] = ()


class Guide:
    """The GGUF, asked greedily."""

    def __init__(self, path: Path) -> None:
        from llama_cpp import Llama

        self._model: Any = Llama(str(path), n_ctx=1024, n_threads=2, verbose=False)

    def answer(self, probe: Probe) -> str:
        """The whole answer to one probe."""
        messages = [*probe.before, {"role": "user", "content": probe.text}]
        reply = self._model.create_chat_completion(messages, temperature=0.0, max_tokens=LONGEST_ANSWER)
        return str(reply["choices"][0]["message"]["content"])


def main() -> int:
    """Command line entry; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=GGUF_FILE)
    parser.add_argument("--sample", type=int, help="ask only so many questions of each measure")
    args = parser.parse_args()
    questions = guide_corpus.load_questions()
    guide = Guide(args.model)
    passed = True
    for name, probes in measures(questions).items():
        result = measure(guide, probes, questions, args.sample)
        passed &= float(result["share"]) >= BARS[name]
        print(json.dumps({"measure": name, "bar": BARS[name], **result}), flush=True)
    return 0 if passed else 1


def measures(questions: list[Question]) -> dict[str, list[Probe]]:
    """The probes of each measure; `unseen` only when its file is there."""
    rng = random.Random(SEED)
    heldout = [Probe(text, q) for q in questions for text in q.heldout]
    found = {
        "heldout": heldout,
        "third_turn": [Probe(p.text, p.subject, _turns(questions, rng)) for p in heldout],
    }
    if UNSEEN_FILE.exists():
        found["unseen"] = load_unseen(questions)
    return found


def load_unseen(questions: list[Question]) -> list[Probe]:
    """The questions of `unseen.toml`, every table in it being an array of `{question, topic}`."""
    by_id = {q.id: q for q in questions}
    data = tomllib.loads(UNSEEN_FILE.read_text(encoding="utf-8"))
    return [Probe(e["question"], by_id[e["topic"]]) for table in data.values() for e in table]


def _turns(questions: list[Question], rng: random.Random) -> tuple[dict[str, str], ...]:
    turns: list[dict[str, str]] = []
    for question in rng.sample(questions, 2):
        turns.append({"role": "user", "content": rng.choice(question.ask)})
        turns.append({"role": "assistant", "content": question.answer})
    return tuple(turns)


def measure(
    guide: Guide, probes: list[Probe], questions: list[Question], sample: int | None
) -> dict[str, Any]:
    """Counts, share of right answers, and the misses with the subject whose answer was given instead."""
    if sample is not None and sample < len(probes):
        probes = random.Random(SEED).sample(probes, sample)
    by_answer = {q.answer: q.id for q in questions}
    misses = []
    for probe in probes:
        answer = guide.answer(probe)
        if not guide_corpus.is_right(answer, probe.subject.keywords):
            got = by_answer.get(answer.strip(), answer)
            misses.append({"question": probe.text, "subject": probe.subject.id, "got": got})
    right = len(probes) - len(misses)
    return {
        "asked": len(probes),
        "right": right,
        "share": round(right / max(1, len(probes)), 4),
        "misses": misses,
    }


if __name__ == "__main__":
    sys.exit(main())
