"""How far one model's predictions are from another's, over many rows of logits at once.

The figures are those of llama.cpp's perplexity tool: perplexity is e to the mean negative log-likelihood; the
Kullback-Leibler divergence is taken from the source to the quant, over tokens the source gives more than e^-16.
Exponentials in float32, sums in float64, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = np.float32(-16.0)  # log-probabilities the comparison looks at


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithm of the softmax of each row; shape (rows, vocabulary), a new array."""
    shifted: NDArray[np.float32] = logits - logits.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, dtype=np.float64, keepdims=True)
    shifted -= np.log(sums).astype(np.float32)
    return shifted


@dataclass(slots=True)
class Base:
    """The source's predictions for some rows, kept while the quants are compared with them."""

    logs: NDArray[np.float32]  # (rows, vocabulary)
    shares: NDArray[np.float32]  # probabilities; 0 for tokens the comparison passes over
    top: NDArray[np.intp]

    @classmethod
    def of(cls, logits: NDArray[np.float32]) -> Base:
        logs = log_probabilities(logits)
        shares = np.exp(logs)
        shares[logs <= _LEAST] = 0
        return cls(logs, shares, logs.argmax(axis=1))


def losses(logs: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """The negative log-likelihood of each row's true next token."""
    return -logs[np.arange(len(targets)), targets].astype(np.float64)


def divergence(base: Base, logs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The Kullback-Leibler divergence of each row: the sum of p (log p - log q)."""
    difference = base.logs - logs
    difference *= base.shares
    sums: NDArray[np.float64] = difference.sum(axis=1, dtype=np.float64)
    return sums


def summary(
    losses_of: NDArray[np.float64],
    base_losses: NDArray[np.float64] | None = None,
    divergences: NDArray[np.float64] | None = None,
    same: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """The figures a person sees; those of the comparison only where there was one."""
    count = len(losses_of)
    mean = float(losses_of.mean())
    perplexity = float(np.exp(mean))
    error = float(losses_of.std() / np.sqrt(max(count - 1, 1)))
    found: dict[str, Any] = {
        "perplexity": perplexity,
        "perplexity_error": perplexity * error,
        "tokens_scored": count,
    }
    if base_losses is None or divergences is None or same is None:
        return found
    ratio = losses_of - base_losses
    found |= {
        "perplexity_ratio": float(np.exp(ratio.mean())),
        "perplexity_ratio_error": float(np.exp(ratio.mean()) * ratio.std() / np.sqrt(max(count - 1, 1))),
        "kld_mean": float(divergences.mean()),
        "kld_error": float(divergences.std() / np.sqrt(max(count - 1, 1))),
        "kld_median": float(np.median(divergences)),
        "kld_95": float(np.percentile(divergences, 95)),
        "kld_999": float(np.percentile(divergences, 99.9)),
        "top_1": float(same.mean()),
        # As of a share of so many draws; llama.cpp's tool tells the same.
        "top_1_error": float(np.sqrt(same.mean() * (1 - same.mean()) / max(count - 1, 1))),
    }
    return found
