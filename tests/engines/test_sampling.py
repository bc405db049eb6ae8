"""The short way of sampling chooses what llama.cpp's chain chooses from the whole vocabulary."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from slmdesk.engines.llama.sampling import COMPLETE, NOTHING_LEFT, Candidates, Sampler, build_sampler
from slmdesk.inference.asks import Grammar, Sampling
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native


@pytest.fixture(scope="module")
def model(models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    shape = models.Shape(
        layers=1, hidden=64, feed_forward=64, heads=2, kv_heads=1, vocabulary=8000, context=256
    )
    path = Path(models.random_llama_gguf(tmp_path_factory.mktemp("m") / "v.gguf", shape, quant="F16"))
    loaded = Model(Native(), str(path))
    yield loaded
    loaded.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 40},
        {"top_k": 1, "temperature": 1.0},
        {"top_k": 5, "top_p": 0.5, "min_p": 0.2},
        {"top_k": 200, "top_p": 1.0, "min_p": 0.0, "temperature": 2.0},
        {"top_k": 40, "repeat_penalty": 1.4, "penalty_last_n": 20},
        {"top_k": 40, "presence_penalty": 2.0, "frequency_penalty": 1.0},
        {"temperature": 0.0},
        {"temperature": 0.0, "repeat_penalty": 1.8},
    ],
)
@pytest.mark.parametrize("spread", [0.3, 3.0, 12.0])
def test_both_ways_agree(model: Model, settings: dict[str, Any], spread: float) -> None:
    short, long = (build_sampler(model, Sampling(**{"seed": 3, **settings})) for _ in range(2))
    assert short._needed
    long._needed, long._greedy = 0, False
    room = Candidates(model.native, model.tokens)
    random = np.random.default_rng(5)
    drift = np.float32(0)
    taken = 0
    for _ in range(150):
        drift += np.float32(random.normal())
        row = random.standard_normal(model.tokens, dtype=np.float32) * np.float32(spread) + drift
        row[random.integers(0, model.tokens, 3)] += np.float32(4 * spread)
        before = short._threshold
        token = short.sample(row, room)
        assert token == long.sample(row, room)
        taken += before < np.inf and int((row >= before).sum()) >= short._needed
    assert taken > 50 or settings.get("temperature") == 0.0  # the short way was really gone
    for sampler in (short, long):
        sampler.close()


def test_settings_the_short_way_cannot_serve_take_the_long_one(model: Model) -> None:
    def needed(**settings: Any) -> int:
        sampler: Sampler = build_sampler(model, Sampling(seed=1, **settings))
        sampler.close()
        return sampler._needed

    assert needed(top_k=0) == 0
    assert needed(logit_bias={"300": 1.0}) == 0
    assert needed(repeat_penalty=0.5) == 0
    assert needed(presence_penalty=-1.0) == 0
    assert needed(top_k=10**6) == 0
    assert needed() == 40
    assert needed(repeat_penalty=1.1, penalty_last_n=64) == 104


def test_a_grammar_and_bad_bytes_leave_no_crash(model: Model) -> None:
    room = Candidates(model.native, model.tokens)
    row = np.zeros(model.tokens, np.float32)
    sampler = build_sampler(model, Sampling(seed=1), Grammar('root ::= "e"'))
    first = sampler.sample(row, room)
    assert model.piece(first) == b"e"
    assert sampler.sample(row, room) == COMPLETE
    sampler.close()


def test_a_grammar_no_token_can_follow_says_so(model: Model) -> None:
    room = Candidates(model.native, model.tokens)
    row = np.full(model.tokens, -np.inf, np.float32)
    sampler = build_sampler(model, Sampling(temperature=0.0), Grammar('root ::= "e"'))
    assert sampler.sample(row, room) == NOTHING_LEFT
    sampler.close()
