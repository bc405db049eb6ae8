"""The engine's HTTP side: JSON in, JSON out, and one event stream for the answers of all requests."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.llama.answer import Answer
from slmdesk.engines.llama.events import EventStream, encode
from slmdesk.engines.llama.guard import LARGEST_BODY, guarded, listen
from slmdesk.engines.llama.overflow import fitted
from slmdesk.engines.llama.prompts import Prompts, size_of
from slmdesk.engines.llama.sampling import Chain, build_sampler
from slmdesk.engines.llama.text import PartsStream, TextStream
from slmdesk.inference.asks import Ask, Reasoning, Sampling, Text, bad
from slmdesk.inference.wire import Wire, converted, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slmdesk.engines.families import ChatForm
    from slmdesk.engines.llama.loop import Ends, Texts, Worker
    from slmdesk.engines.llama.prompts import Prepared
    from slmdesk.engines.llama.templates import ChatTemplate
    from slmdesk.llama.model import Model

_LONG_TEXT = 20_000  # characters; tokenizing more than this leaves the event loop


class _Generate(Wire, frozen=True):
    key: int
    ask: Ask


class _Cancel(Wire, frozen=True):
    key: int


class _Text(Wire, frozen=True):
    text: str


class _Tokens(Wire, frozen=True):
    tokens: tuple[int, ...]


class EngineServer:
    """Routes of one engine. `key` numbers are chosen by the parent and name an answer on the event stream.

    - `POST /generate` `{"key": 7, "ask": {…}}` → `{"prompt_tokens": n}`; the answer comes over `/events`
    - `POST /cancel` `{"key": 7}`
    - `POST /tokenize`, an `Ask` → `{"tokens": n}`
    - `POST /tokens` `{"text": …}` → `{"tokens": […]}`, and `POST /text` the other way
    - `GET /events` → lines `[[[key, delta, token], …], [[key, stop], …]]`, one a step of the batch loop; a third member
      is the bytes that the prefix cache holds, where they changed
    - `GET /status` → `{"active": n, "queued": n}`
    """

    def __init__(
        self,
        model: Model,
        template: ChatTemplate | SlmDeskError,
        *,
        context_length: int,
        token: str,
        form: ChatForm | None = None,
        recommended: Mapping[str, float] | None = None,
    ) -> None:
        self._model = model
        self._prompts = Prompts(model, template)
        self._context_length = context_length
        self._token = token
        # Of a form that stands in for a missing template.
        self._ends: tuple[str, ...] = form.ends if form else ()
        self._spaced = model.space_prefix or (form is not None and form.spaced)
        self._recommended = converted(recommended or {}, Sampling)
        self._events = EventStream()
        self._keys: set[int] = set()
        self._dropped: deque[int] = deque(maxlen=256)  # cancelled before the worker had them
        self._worker: Worker | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, worker: Worker) -> int:
        """Listen on a free loopback port and return it."""
        self._worker = worker
        app = web.Application(middlewares=[guarded(self._token)], client_max_size=LARGEST_BODY)
        app.router.add_get("/events", self._events.serve)
        app.router.add_get("/status", self._status)
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/cancel", self._cancel)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/tokens", self._tokens_of)
        app.router.add_post("/text", self._text_of)
        self._runner, port = await listen(app)
        return port

    def publish(self, texts: Texts, ends: Ends) -> None:
        """Called on the worker thread once a step: one line for everything."""
        self._events.send(encode(texts, ends))
        if ends:
            for key, _ in ends:
                self._keys.discard(key)

    def publish_prefixes(self, held: int) -> None:
        """Called on the worker thread where the prefix cache holds more bytes, or fewer, than before."""
        self._events.send(b"[[],[],%d]\n" % held)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        arrived = time.perf_counter()
        asked = decoded(await request.read(), _Generate)
        key, ask = asked.key, asked.ask
        if key in self._keys:
            raise SlmDeskError("duplicate", f"An answer with the key {key} is running already.", "")
        ask.check()
        room = self._context_length
        fit = partial(fitted, ask, self._prompts.prepare, room)
        prepared, *dropped = fit() if size_of(ask) < _LONG_TEXT else await asyncio.to_thread(fit)
        tokens = prepared.tokens
        if not tokens:
            raise bad("The prompt is empty.")
        limit = min(room, len(tokens) + ask.max_tokens) if ask.max_tokens else room
        answer = await self._answer(key, ask, prepared, limit, arrived)
        answer.dropped = (dropped[0], dropped[1])
        assert self._worker is not None
        if key in self._dropped:  # the parent gave up while the prompt was being cut into tokens
            self.publish([], [(key, answer.end("cancelled"))])
            return web.json_response({"prompt_tokens": len(tokens)})
        if len(answer.tokens) >= limit:  # only where what was written fills a context that became smaller
            self.publish([], [(key, answer.end("length"))])
            return web.json_response({"prompt_tokens": len(tokens)})
        self._keys.add(key)
        self._worker.submit(answer)
        return web.json_response({"prompt_tokens": len(tokens)})

    async def _answer(self, key: int, ask: Ask, prepared: Prepared, limit: int, arrived: float) -> Answer:
        """The answer as it begins, or as it stood when another engine died over it."""
        sampling = ask.sampling.over(self._recommended)
        if prepared.shape is None:
            sampler = build_sampler(self._model, sampling)
        else:  # a grammar can take long to read
            sampler = await asyncio.to_thread(build_sampler, self._model, sampling, prepared.shape)
            if ask.turns and ask.turns[-1].role == "assistant" and not ask.tools:
                sampler.begin_within(self._model.tokenize(ask.turns[-1].text, special=False))
        plain = TextStream(
            self._stops(ask),
            strip_space=self._begins_with_space(ask),
            # The template began the reasoning; the answer says so, for whoever reads it later.
            head=prepared.opened,
        )
        rich = prepared.reader is not None or ask.logprobs is not None
        text = PartsStream(plain, prepared.reader) if rich else plain
        self._read_again(text, ask.written)
        return Answer(
            key,
            [*prepared.tokens, *ask.written],
            limit,
            sampler,
            text,
            written=len(ask.written),
            conversation=ask.conversation,
            penalty_window=Chain.of(sampling).penalty_last_n,
            logprobs=ask.logprobs,
            prompt_logprobs=ask.prompt_logprobs and not ask.written,
            prompt_only=ask.prompt_only,
            arrived=arrived,
        )

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        key = decoded(await request.read(), _Cancel).key
        assert self._worker is not None
        if key in self._keys:
            self._worker.cancel(key)
        else:
            self._dropped.append(key)
        return web.json_response({})

    async def _tokenize(self, request: web.Request) -> web.StreamResponse:
        tokens = (await self._prepare(decoded(await request.read(), Ask))).tokens
        return web.json_response({"tokens": len(tokens), "context_length": self._context_length})

    async def _tokens_of(self, request: web.Request) -> web.StreamResponse:
        text = decoded(await request.read(), _Text).text
        cut = partial(self._model.tokenize, text, special=True)
        return web.json_response(
            {"tokens": cut() if len(text) < _LONG_TEXT else await asyncio.to_thread(cut)}
        )

    async def _text_of(self, request: web.Request) -> web.StreamResponse:
        tokens = decoded(await request.read(), _Tokens).tokens
        if any(not 0 <= token < self._model.tokens for token in tokens):
            raise bad(f"A token is unknown; the model has {self._model.tokens}.")
        text = b"".join(self._model.raw(token) for token in tokens).decode(errors="replace")
        return web.json_response({"text": text})

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        assert self._worker is not None
        return web.json_response({"active": self._worker.active, "queued": self._worker.queued})

    def _read_again(self, text: TextStream | PartsStream, written: Sequence[int]) -> None:
        """Let the text stand where it stood when these tokens had been given out. Raises `bad_request`."""
        for token in written:
            piece = self._model.piece(token) if 0 <= token < self._model.tokens else None
            if piece is None:
                raise bad("written holds a token that is no part of an answer.")
            text.push(piece)

    def _stops(self, ask: Ask) -> tuple[str, ...]:
        return (*(ask.stop or ()), *(self._ends if ask.turns else ()))

    def _begins_with_space(self, ask: Ask) -> bool:
        """Whether an answer begins with a space that belongs to the tokenizer or the form, not to the text."""
        if not self._spaced or not ask.turns:
            return False
        last = ask.turns[-1]
        begun = any(part.text for part in last.parts if isinstance(part, Text | Reasoning))
        return last.role != "assistant" or not begun

    async def _prepare(self, ask: Ask) -> Prepared:
        prompts = self._prompts
        return (
            prompts.prepare(ask)
            if size_of(ask) < _LONG_TEXT
            else await asyncio.to_thread(prompts.prepare, ask)
        )
