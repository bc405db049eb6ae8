"""Vectors of texts and ranked documents, by whichever model is asked for; through faults of native code."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from slmdesk.engines.failures import NativeFaultError
from slmdesk.inference.asks import bad
from slmdesk.inference.vectors import MOST_PASSAGES, EmbedAsk, RankAsk
from slmdesk.serving.dialects.bodies import unsupported
from slmdesk.serving.records import CURRENT
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from slmdesk.inference.engines import Engine
    from slmdesk.inference.loading import Facts, Serves
    from slmdesk.inference.vectors import Passage, Scores, Vectors
    from slmdesk.serving.models import Models

Done = TypeVar("Done", "Vectors", "Scores")


class Texts:
    """What a service does with texts that are not answered. One method an action."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def embed(
        self,
        model: str,
        texts: Sequence[Passage],
        *,
        trusted: bool = False,
        truncate: bool = False,
        dimensions: int = 0,
        context_length: int = 0,
        keep_s: float | None = None,
    ) -> Vectors:
        """One vector a text, each of length 1; `Vectors.lists()` gives them as numbers.

        `dimensions`: only so many numbers of each, of length 1 again (0: all). `truncate`: what is too long is cut.
        `trusted`, `context_length` and `keep_s` as in `Models.use`. Raises what that raises; `bad_request`,
        `context_exceeded`; `unsupported` for a model that makes no vectors, or whose vectors may not be shortened.
        """
        _check_count(len(texts))
        ask = EmbedAsk(tuple(texts), truncate)

        async def work(engine: Engine) -> Vectors:
            _check_dimensions(model, engine.facts, dimensions)
            vectors = await engine.embed(ask)
            return vectors.shortened(dimensions) if dimensions else vectors

        return await self._by(
            model, "embed", work, trusted=trusted, context_length=context_length, keep_s=keep_s
        )

    async def rank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        trusted: bool = False,
        truncate: bool = False,
        raw: bool = False,
        context_length: int = 0,
    ) -> Scores:
        """How well each document answers the question, from 0 to 1 (with `raw` as the model gives it).

        The rest as in `embed`.
        """
        _check_count(len(documents))
        ask = RankAsk(query, tuple(documents), truncate, raw)
        return await self._by(
            model, "rank", lambda engine: engine.rank(ask), trusted=trusted, context_length=context_length
        )

    async def load(self, model: str, *, trusted: bool = False, keep_s: float | None = None) -> None:
        """Load an embedding model, so that the first texts need not wait."""
        async with self._models.use(model, trusted=trusted, serves="embed", keep_s=keep_s):
            pass

    async def _by(
        self,
        model: str,
        serves: Serves,
        work: Callable[[Engine], Awaitable[Done]],
        *,
        trusted: bool,
        context_length: int,
        keep_s: float | None = None,
    ) -> Done:
        async with self._models.use(
            model, trusted=trusted, context_length=context_length, serves=serves, keep_s=keep_s
        ) as held:
            while True:
                try:
                    done = await work(held.engine)
                except NativeFaultError:
                    await held.again()  # raises where no safer step is left
                else:
                    await held.completed()
                    _note(held.model, sum(done.tokens))
                    return done


def _note(model: str, tokens: int) -> None:
    """For the request's line in the log."""
    record = CURRENT.get()
    if record is not None:
        record.model = model
        record.prompt_tokens += tokens


def _check_count(count: int) -> None:
    if not count:
        raise bad("There is no text.", "Send at least one.")
    if count > MOST_PASSAGES:
        raise bad(
            f"{count} texts are too many for one request.",
            f"Send {MOST_PASSAGES} at most, and the rest after them.",
        )


def _check_dimensions(model: str, facts: Facts, wanted: int) -> None:
    if not wanted or wanted == facts.dimensions:
        return
    if not 1 <= wanted <= facts.dimensions:
        refuse(
            "dimensions",
            f"The vectors of {model} have {facts.dimensions} numbers, so {wanted} of them cannot be had.",
            f"Ask for {facts.dimensions}, or leave “dimensions” out.",
        )
    if not facts.shortens:
        unsupported(
            "dimensions",
            f"The vectors of {model} are only good whole, with {facts.dimensions} numbers: it was not trained for "
            "shorter ones.",
            "Leave “dimensions” out, or choose a model that was, such as Qwen3-Embedding or EmbeddingGemma.",
        )
