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
    wide = row.astype(np.float64)
    top = wide.max()
    total = top + np.log(np.exp(wide - top).sum())
    count = min(count, len(row))
    likeliest: list[int] = []
    if count:
        some = np.argpartition(-row, count - 1)[:count]
        # Equal logits: the smaller token first, so that an answer says the same every time.
        likeliest = sorted((int(one) for one in some), key=lambda one: (-row[one], one))
    return TokenLogprobs(
        _alternative(model, token, float(wide[token] - total)),
        tuple(_alternative(model, one, float(wide[one] - total)) for one in likeliest),
        prompt=prompt,
    )


def _alternative(model: Model, token: int, logprob: float | None) -> Alternative:
    data = model.raw(token)
    text = data.decode(errors="replace")
    return Alternative(token, text, logprob, b"" if text.encode() == data else data)
