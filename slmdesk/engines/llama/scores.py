"""Log probabilities of tokens, from the model's own logits: before penalties, temperature and grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slmdesk.inference.answers import Alternative, TokenLogprobs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slmdesk.llama.model import Model


def scored(
    model: Model, row: NDArray[np.float32] | None, token: int, count: int, *, prompt: bool = False
) -> TokenLogprobs:
    """A token and the `count` likeliest in its place, by one row of logits (shape: vocabulary).

    `row` is None for the first token of a text, which nothing came before.
    """
    if row is None:
        return TokenLogprobs(_alternative(model, token, None), prompt=prompt)
    # A prompt has thousands of rows: in single precision, summed in double, each takes a tenth of the time.
    top = row.max()
    total = float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float64)))
    return TokenLogprobs(
        _alternative(model, token, float(row[token]) - total),
        tuple(_alternative(model, one, float(row[one]) - total) for one in _largest(row, count)),
        prompt=prompt,
    )


def _largest(row: NDArray[np.float32], count: int) -> list[int]:
    """The places of the `count` largest, the largest first; of equal ones the first, so that an answer says the same
    every time. For the few that are asked for, looking once for each is faster than any sorting."""
    left = row.copy() if count else row
    found: list[int] = []
    while len(found) < min(count, len(row)):
        found.append(int(left.argmax()))
        left[found[-1]] = -np.inf
    return found


def _alternative(model: Model, token: int, logprob: float | None) -> Alternative:
    data = model.raw(token)
    text = data.decode(errors="replace")
    return Alternative(token, text, logprob, b"" if text.encode() == data else data)
