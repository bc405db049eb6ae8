"""Guessed tokens: what is guessed, how much, and that the answer is the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slmdesk.engines.host import start_engine
from slmdesk.engines.llama.drafting import Drafting, Lookup
from slmdesk.inference.answers import Stop
from slmdesk.inference.asks import Ask, Sampling, Turn
from tests.asking import spec_of


def test_what_followed_the_last_tokens_before_is_guessed_to_follow_again() -> None:
    tokens = [1, 2, 3, 4, 5, 6, 9, 9, 1, 2, 3]
    lookup = Lookup(tokens)
    assert lookup.look(3) == [4, 5, 6]
    tokens += [4, 7]
    assert lookup.look(3) == []
    tokens += [1, 2, 3]
    assert lookup.look(2) == [4, 7]  # the newest place counts
    assert Lookup([1, 2]).look(4) == []
    assert Lookup([5, 5, 5, 5]).look(4) == [5]


def test_as_much_is_guessed_as_pays() -> None:
    sure, unsure = Lookup([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]), Lookup([1, 2, 3, 4, 1, 2, 3])
    for lookup in (sure, unsure):
        lookup.look(5)
    for _ in range(40):
        sure.learn(right=True)
        unsure.learn(right=False)
    drafting = Drafting()
    assert drafting.share([sure, unsure], 4) == [4, 0]
    assert drafting.share([unsure], 4) == [0]
    assert drafting.share([Lookup([1, 2, 3])], 4) == [0]
    for _ in range(60):  # a row that costs as much as a step pays for nobody
        drafting.measured(seconds=3.0, step_s=1.0, rows=1)
    assert drafting.share([sure], 4) == [0]
    for _ in range(60):
        drafting.measured(seconds=1.0, step_s=1.0, rows=4)
    assert drafting.share([sure], 4) == [4]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
async def test_the_answer_is_the_same_with_and_without(smollm2: Path, temperature: float) -> None:
    """With heat too: the same sampler decides about each token.

    The words that are asked for are hardly ever in doubt, so that how a processor rounds several tokens at once makes
    no difference.
    """
    words = random.Random(5).choices("red green blue one two three four five".split(), k=40)
    turns = (Turn.of("user", "Repeat: " + " ".join(words)), Turn.of("assistant", " ".join(words[:10])))
    sampling = Sampling(temperature=temperature, seed=11)
    answers = []
    for drafts in (True, False):
        engine = await start_engine(
            spec_of(smollm2, context_length=1024, parallel=1, threads=1, drafts=drafts)
        )
        try:
            pieces = [
                piece
                async for piece in engine.ask(Ask(id="a", turns=turns, sampling=sampling, max_tokens=24))
            ]
        finally:
            await engine.stop()
        stop = pieces.pop()
        assert isinstance(stop, Stop)
        tried, right = stop.timings.draft_tokens, stop.timings.accepted_tokens
        assert 0 <= right <= tried
        assert (tried > 0) is drafts
        answers.append(("".join(map(str, pieces)), stop.usage, stop.reason))
    assert answers[0] == answers[1]
