"""The figures against llama.cpp's way of computing them, written out row by row in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slmdesk.quantize.child import divergence
from slmdesk.quantize.child.evaluate import chunks_of, rows_at_once
from slmdesk.quantize.child.quality import answer_tokens


def _slow(base: list[float], quant: list[float], target: int) -> tuple[float, float, float]:
    """Losses of both and the divergence of one row, as tools/perplexity does it."""

    def logs(row: list[float]) -> list[float]:
        top = max(row)
        total = math.log(sum(math.exp(value - top) for value in row))
        return [value - top - total for value in row]

    p, q = logs(base), logs(quant)
    kld = sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True) if a > -16)
    return -p[target], -q[target], kld


def test_rows_agree_with_the_slow_way() -> None:
    random = np.random.default_rng(5)
    base = (random.standard_normal((7, 3000)) * 6).astype(np.float32)  # with many tokens below e^-16
    quant = base + (random.standard_normal(base.shape) * 0.3).astype(np.float32)
    targets = random.integers(0, 3000, 7).astype(np.int32)
    kept = divergence.Base.of(base)
    logs = divergence.log_probabilities(quant)
    slow = np.array(
        [
            _slow(list(map(float, b)), list(map(float, q)), int(t))
            for b, q, t in zip(base, quant, targets, strict=True)
        ]
    )
    np.testing.assert_allclose(divergence.losses(kept.logs, targets), slow[:, 0], rtol=1e-5)
    np.testing.assert_allclose(divergence.losses(logs, targets), slow[:, 1], rtol=1e-5)
    np.testing.assert_allclose(divergence.divergence(kept, logs), slow[:, 2], rtol=1e-4)
    assert (kept.shares == 0).any()


def test_summary() -> None:
    base = np.array([1.0, 2.0, 3.0, 2.0])
    quant = np.array([1.5, 2.0, 3.5, 2.0])
    klds = np.array([0.1, 0.0, 0.3, 0.2])
    figures = divergence.summary(quant, base, klds, np.array([True, False, True, True]))
    assert figures["perplexity"] == pytest.approx(math.exp(2.25))
    assert figures["perplexity_ratio"] == pytest.approx(math.exp(0.25))
    assert figures["kld_mean"] == pytest.approx(0.15)
    assert figures["kld_median"] == pytest.approx(0.15)
    assert figures["kld_95"] == pytest.approx(np.percentile(klds, 95))
    assert figures["top_1"] == 0.75
    # The error of a mean: the deviation over the root of n - 1, as llama.cpp takes it.
    assert figures["perplexity_error"] == pytest.approx(math.exp(2.25) * quant.std() / math.sqrt(3))
    assert set(divergence.summary(base)) == {"perplexity", "perplexity_error", "tokens_scored"}


def test_rows_stay_within_memory() -> None:
    assert rows_at_once(1000, 512) == 256
    for vocabulary in (32_000, 151_936, 262_144):
        rows = rows_at_once(vocabulary, 512)
        assert 256 % rows == 0
        assert rows * vocabulary * 4 <= 40_000_000 or rows == 16


def test_chunks(tmp_path_factory: pytest.TempPathFactory) -> None:
    tokens = np.arange(1100, dtype=np.int32)
    text = tmp_path_factory.mktemp("t") / "text.txt"
    assert chunks_of(tokens, 512, 0, text).shape == (2, 512)
    assert chunks_of(tokens, 100, 3, text).shape == (3, 100)
    from slmdesk.core.errors import SlmDeskError

    with pytest.raises(SlmDeskError, match="1100 tokens") as caught:
        chunks_of(tokens, 600, 0, text)
    assert caught.value.code == "text_too_short"


def test_of_a_chat_only_answers_are_scored() -> None:
    opens, closes = np.array([1, 7, 9], np.int32), np.array([2], np.int32)
    tokens = np.array([1, 5, 4, 2, 1, 7, 9, 3, 3, 2, 1, 5, 2, 1, 7, 9, 8], np.int32)
    found = answer_tokens(tokens, opens, closes)
    assert np.flatnonzero(found).tolist() == [7, 8, 9, 16]  # the end of the turn is part of the answer
    assert not answer_tokens(tokens[:6], opens, closes).any()
