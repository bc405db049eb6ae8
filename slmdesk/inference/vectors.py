"""Texts as vectors, and documents ranked for a question: what is asked and what comes back."""

from __future__ import annotations

import math
import sys
from array import array
from typing import TYPE_CHECKING

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

Passage = str | tuple[int, ...]
"""A text, or the tokens of one."""

MOST_PASSAGES = 2048
"""In one request."""
_NUMBER = 4  # bytes of a float32


class EmbedAsk(Wire, frozen=True):
    """Texts to be made vectors of. `truncate`: what is too long for the model is cut, else it is refused."""

    passages: tuple[Passage, ...]
    truncate: bool = False


class RankAsk(Wire, frozen=True):
    """Documents to be ranked for a question. `truncate` as in `EmbedAsk`; the document is cut, not the question.

    `raw`: scores as the model gives them; else they lie between 0 and 1.
    """

    query: str
    documents: tuple[str, ...]
    truncate: bool = False
    raw: bool = False


class Vectors(Wire, frozen=True):
    """One vector a text, each of length 1. `data`: float32, the lowest byte first, text by text; `tokens` of each."""

    dimensions: int
    data: bytes
    tokens: tuple[int, ...]
    truncated: tuple[int, ...] = ()  # the texts that were cut, counted from 0

    def rows(self) -> Iterator[bytes]:
        """The bytes of each vector."""
        size = self.dimensions * _NUMBER
        return (self.data[start : start + size] for start in range(0, len(self.data), size))

    def lists(self) -> list[list[float]]:
        """Each vector as numbers. Shape: texts, dimensions."""
        return [_numbers(row).tolist() for row in self.rows()]

    def shortened(self, dimensions: int) -> Vectors:
        """The first numbers of each vector, of length 1 again. Raises `SlmDeskError("bad_request")` for more than
        there are, or none."""
        if dimensions == self.dimensions:
            return self
        if not 1 <= dimensions <= self.dimensions:
            raise SlmDeskError(
                "bad_request",
                f"The model's vectors have {self.dimensions} numbers, so {dimensions} of them cannot be had.",
                f"Ask for 1 to {self.dimensions}.",
            )
        data = b"".join(_unit(_numbers(row)[:dimensions]) for row in self.rows())
        return Vectors(dimensions, data, self.tokens, self.truncated)


class Scores(Wire, frozen=True):
    """How well each document answers the question, the larger the better, in the order of the documents.

    `tokens`: of the question and a document together, for each.
    """

    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    truncated: tuple[int, ...] = ()  # the documents that were cut, counted from 0


def no_vectors(model: str) -> SlmDeskError:
    """What a model that makes none is refused with."""
    return SlmDeskError(
        "unsupported",
        f"{model} is no embedding model, so it makes no vectors.",
        "Choose one; /v1/models says what each model here is for, and the catalog has a filter for them.",
    )


def no_scores(model: str) -> SlmDeskError:
    """What a model that ranks nothing is refused with."""
    return SlmDeskError(
        "unsupported",
        f"{model} is no model that ranks documents (reranker).",
        "Choose one; /v1/models says what each model here is for.",
    )


def _numbers(row: bytes) -> array[float]:
    numbers = array("f")
    numbers.frombytes(row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _unit(numbers: array[float]) -> bytes:
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    unit = array("f", (number / length for number in numbers))
    if sys.byteorder == "big":
        unit.byteswap()
    return unit.tobytes()
