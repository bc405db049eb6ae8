"""Log probabilities of one row of logits: as near as double precision has them, and in the same order every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slmdesk.engines.llama.scores import scored
from slmdesk.llama.model import Model
from slmdesk.llama.native import Native


@pytest.fixture(scope="module")
def vocabulary(desk_guide: Path) -> Model:
    return Model(Native(gpu=False), str(desk_guide), gpu_layers=0)


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_log_probabilities_are_those_of_double_precision(vocabulary: Model, spread: float) -> None:
    row = (spread * np.random.default_rng(3).normal(size=vocabulary.tokens)).astype(np.float32)
    row[[40, 11, 97]] = row.max()
    wide = row.astype(np.float64)
    wanted = wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())
    found = scored(vocabulary, row, 5, 12)
    assert found.chosen.logprob == pytest.approx(wanted[5], abs=1e-5)
    assert [one.token for one in found.likeliest] == np.argsort(-row, kind="stable")[:12].tolist()
    assert [one.token for one in found.likeliest[:3]] == [11, 40, 97]
    told = [one.logprob for one in found.likeliest]
    assert told == pytest.approx([wanted[one.token] for one in found.likeliest], abs=1e-5)


def test_no_more_is_told_than_there_is_or_was_asked_for(vocabulary: Model) -> None:
    row = np.arange(vocabulary.tokens, dtype=np.float32)
    assert scored(vocabulary, row, 5, 0).likeliest == ()
    assert len(scored(vocabulary, row[:4], 3, 20).likeliest) == 4
    assert scored(vocabulary, None, 5, 3).chosen.logprob is None
