"""Answers over HTTP, whole or as they are written, in whichever API they were asked for."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import EngineChanged, LoadProgress, Started, Stop
from slmdesk.serving.answer_run import Receiver, run_answer
from slmdesk.serving.answer_stream import AnswerStream
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.fields import refuse
from slmdesk.serving.gate import CALLER, CORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from slmdesk.inference.answers import Delta
    from slmdesk.inference.asks import Ask
    from slmdesk.serving.dialects.dialect import Dialect, Writer
    from slmdesk.serving.held import Held
    from slmdesk.serving.models import Models


class Answers:
    """Makes the handler of each API."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def in_dialect(self, dialect: Dialect) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of a route."""

        async def answer(request: web.Request) -> web.StreamResponse:
            asked = dialect.read(await request.read())
            ask = replace(asked.ask, id=secrets.token_hex(12))
            writer = dialect.writer(asked)
            return await (self._stream if asked.stream else self._whole)(request, ask, writer)

        return answer

    async def _whole(self, request: web.Request, ask: Ask, writer: Writer) -> web.StreamResponse:
        texts: list[str] = []
        end: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

        def take(piece: Delta | Stop) -> None:
            if isinstance(piece, str):
                texts.append(piece)
            elif isinstance(piece, Stop) and not end.done():
                end.set_result(piece)

        trusted = request[CALLER].trusted
        async with self._models.use(ask.model, trusted=trusted, context_length=ask.context_length) as held:
            stop = await self._run(held, ask, Receiver(take, end))
        return json_response(writer.whole("".join(texts), stop))

    async def _stream(self, request: web.Request, ask: Ask, writer: Writer) -> web.StreamResponse:
        stream = AnswerStream(request, writer)
        headers = request[CORS]
        try:
            if writer.tells_all:
                await stream.open(headers)
            async with self._models.use(
                ask.model,
                trusted=request[CALLER].trusted,
                on_progress=(lambda done: stream.send(LoadProgress(done))) if writer.tells_all else None,
                context_length=ask.context_length,
            ) as held:

                def changed() -> None:
                    if news := held.news():
                        stream.send(EngineChanged(news))

                async def started(prompt_tokens: int) -> None:
                    if stream.response is None:
                        await stream.open(headers)
                    facts = held.engine.facts
                    stream.flow(
                        Started(prompt_tokens, chat_form=facts.chat_form, context_length=facts.context_length)
                    )

                changed()
                stop = await self._run(held, ask, Receiver(stream.take, stream.ended, started, changed))
                stop = replace(stop, context_length=held.engine.facts.context_length)
            await stream.close(writer.closing(stop))
        except SlmDeskError as error:
            if stream.response is None:
                raise
            await _end_with_error(stream, writer.failing(error))
        except ConnectionError:
            if stream.response is None:
                raise
            stream.abort()
        assert stream.response is not None
        return stream.response

    async def _run(self, held: Held, ask: Ask, receiver: Receiver) -> Stop:
        """One answer from start to end."""
        _check_biases(ask, held)
        stop = await run_answer(held, held.defaults.fill(ask), receiver)
        if stop.reason == "cancelled":  # not by us: the engine was stopped
            if self._models.stopping:
                raise SlmDeskError(
                    "service_stopping", "The service ended before the answer did.", "Ask again."
                )
            raise SlmDeskError("model_unloaded", "The model was unloaded during the answer.", "Ask again.")
        return stop


async def _end_with_error(stream: AnswerStream, last: bytes) -> None:
    try:
        await stream.close(last)
    except ConnectionError:
        stream.abort()


def _check_biases(ask: Ask, held: Held) -> None:
    size = held.engine.facts.vocabulary
    if any(int(token) >= size for token in ask.sampling.logit_bias):
        refuse("logit_bias", f"“logit_bias” names a token the model does not have; it has {size}.")
