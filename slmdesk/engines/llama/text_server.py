"""The HTTP side of an engine that makes vectors of texts, or ranks them."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.events import EventStream
from slmdesk.engines.llama.guard import LARGEST_BODY, guarded, listen
from slmdesk.engines.llama.text_jobs import TextJob
from slmdesk.inference.asks import bad
from slmdesk.inference.vectors import EmbedAsk, RankAsk, Scores, Vectors
from slmdesk.inference.wire import Wire, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from slmdesk.engines.llama.passages import Cut, Passages
    from slmdesk.engines.llama.text_jobs import TextWorker
    from slmdesk.formats.purpose import Purpose

T = TypeVar("T")

_LONG_TEXT = 20_000  # characters; tokenizing more than this leaves the event loop


class _Embed(Wire, frozen=True):
    key: int
    ask: EmbedAsk


class _Rank(Wire, frozen=True):
    key: int
    ask: RankAsk


class _GiveUp(Wire, frozen=True):
    key: int


class TextServer:
    """Routes of one engine. `key` numbers are chosen by the parent and name a request.

    - `POST /embed` `{"key": 7, "ask": an EmbedAsk}` → `Vectors`
    - `POST /rerank` `{"key": 7, "ask": a RankAsk}` → `Scores`
    - `POST /cancel` `{"key": 7}`
    - `GET /events`: nothing comes; the connection tells that the engine lives
    - `GET /status` → `{"active": n, "queued": n}`
    """

    def __init__(self, passages: Passages, purpose: Purpose, *, token: str, as_odds: bool) -> None:
        """`as_odds`: the scores are log odds, which become numbers from 0 to 1."""
        self._passages = passages
        self._purpose = purpose
        self._token = token
        self._as_odds = as_odds
        self._events = EventStream()
        self._waiting: dict[int, asyncio.Future[list[NDArray[np.float32]]]] = {}
        self._dropped: deque[int] = deque(maxlen=256)  # given up before the worker had them
        self._worker: TextWorker | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, worker: TextWorker) -> int:
        """Listen on a free loopback port and return it."""
        self._worker = worker
        app = web.Application(middlewares=[guarded(self._token)], client_max_size=LARGEST_BODY)
        app.router.add_get("/events", self._events.serve)
        app.router.add_get("/status", self._status)
        app.router.add_post("/embed", self._embed)
        app.router.add_post("/rerank", self._rerank)
        app.router.add_post("/cancel", self._cancel)
        for path in ("/generate", "/tokenize", "/tokens", "/text"):
            app.router.add_post(path, _writes_no_text)
        self._runner, port = await listen(app)
        return port

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        asked = decoded(await request.read(), _Embed)
        if self._purpose != "embed":
            raise SlmDeskError(
                "unsupported", "This model ranks texts; it gives no vectors.", "Choose an embedding model."
            )
        ask = asked.ask
        size = sum(len(passage) for passage in ask.passages)
        cut = await _cut(lambda: self._passages.to_embed(ask), size)
        rows = await self._rows(asked.key, cut)
        vectors = await asyncio.to_thread(_unit_rows, rows, cut)
        return web.Response(body=encoded(vectors), content_type="application/json")

    async def _rerank(self, request: web.Request) -> web.StreamResponse:
        asked = decoded(await request.read(), _Rank)
        if self._purpose != "rank":
            raise SlmDeskError(
                "unsupported",
                "This model gives vectors; it does not rank documents.",
                "Choose a model that ranks (a reranker), or compare vectors.",
            )
        ask = asked.ask
        size = sum(len(document) + len(ask.query) for document in ask.documents)
        cut = await _cut(lambda: self._passages.to_rank(ask), size)
        rows = await self._rows(asked.key, cut)
        scores = tuple(float(row[0]) for row in rows)
        if not all(map(math.isfinite, scores)):
            raise _no_number()
        if self._as_odds and not ask.raw:
            scores = tuple(_probability(score) for score in scores)
        answer = Scores(scores, tuple(map(len, cut[0])), tuple(cut[1]))
        return web.Response(body=encoded(answer), content_type="application/json")

    async def _rows(self, key: int, cut: Cut) -> list[NDArray[np.float32]]:
        """What the worker gives for each text. Raises `SlmDeskError`, also when the parent gave up."""
        texts, _ = cut
        if not texts:
            raise bad("There is no text.")
        if key in self._waiting:
            raise SlmDeskError("duplicate", f"A request with the key {key} is running already.", "")
        if key in self._dropped:
            raise _given_up()
        loop = asyncio.get_running_loop()
        future = self._waiting[key] = loop.create_future()

        def done(outcome: list[NDArray[np.float32]] | SlmDeskError) -> None:
            loop.call_soon_threadsafe(_settle, future, outcome)

        assert self._worker is not None
        self._worker.submit(TextJob(key, texts, done))
        try:
            return list(await future)
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            raise _given_up() from None
        finally:
            del self._waiting[key]

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        key = decoded(await request.read(), _GiveUp).key
        assert self._worker is not None
        if (future := self._waiting.get(key)) is not None:
            self._worker.cancel(key)
            future.cancel()
        else:
            self._dropped.append(key)
        return web.json_response({})

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        assert self._worker is not None
        return web.json_response({"active": self._worker.active, "queued": 0})


async def _writes_no_text(_request: web.Request) -> web.StreamResponse:
    raise SlmDeskError("unsupported", "This model does not write text.", "Choose a chat or instruct model.")


async def _cut(work: Callable[[], T], characters: int) -> T:
    return work() if characters < _LONG_TEXT else await asyncio.to_thread(work)


def _settle(
    future: asyncio.Future[list[NDArray[np.float32]]], outcome: list[NDArray[np.float32]] | SlmDeskError
) -> None:
    if future.done():
        return
    if isinstance(outcome, SlmDeskError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _unit_rows(rows: list[NDArray[np.float32]], cut: Cut) -> Vectors:
    """Rows of length 1, as bytes."""
    import numpy as np

    table = np.stack(rows).astype(np.float64)
    if not np.isfinite(table).all():
        raise _no_number()
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    unit = (table / np.where(lengths > 0, lengths, 1.0)).astype("<f4")
    texts, truncated = cut
    return Vectors(unit.shape[1], unit.tobytes(), tuple(map(len, texts)), tuple(truncated))


def _probability(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    grown = math.exp(score)
    return grown / (1.0 + grown)


def _given_up() -> SlmDeskError:
    return SlmDeskError("cancelled", "The request was given up.", "")


def _no_number() -> SlmDeskError:
    return SlmDeskError(
        "decode_failed",
        "The model gave a result that is no number.",
        "Use another quant of the model; this file may be damaged.",
    )
