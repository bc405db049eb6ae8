"""Answers over HTTP, whole or as they are written, in whichever API they were asked for."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.answers import EngineChanged, LoadProgress, Started, Stop
from slmdesk.serving.answer_run import Receiver, run_answer
from slmdesk.serving.answer_stream import AnswerStream, EventConnection
from slmdesk.serving.api_errors import json_response
from slmdesk.serving.dialects.dialect import Written
from slmdesk.serving.gate import CALLER, CORS
from slmdesk.serving.request_errors import refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from aiohttp import web

    from slmdesk.inference.answers import Delta
    from slmdesk.inference.asks import Ask
    from slmdesk.serving.dialects.dialect import Asked, Dialect, Writer
    from slmdesk.serving.held import Held
    from slmdesk.serving.models import Models

T = TypeVar("T")

NOTE = "X-SLMDesk-Note"
"""The header that says what was done otherwise than asked."""
_PATIENCE_S = 1.0  # for a refusal with its own status; then headers go out
_SILENCE_S = 15.0  # after which a sign of life is sent


class Answers:
    """Makes the handler of each API."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def in_dialect(self, dialect: Dialect) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of a route."""

        async def answer(request: web.Request) -> web.StreamResponse:
            asked = dialect.read(await request.read())
            return await (self._stream if asked.stream else self._whole)(
                request, asked, dialect.writer(asked)
            )

        return answer

    async def _whole(self, request: web.Request, asked: Asked, writer: Writer) -> web.StreamResponse:
        trusted = request[CALLER].trusted
        ask = asked.ask
        async with self._models.use(
            ask.model, trusted=trusted, context_length=ask.context_length, keep_s=asked.keep_s
        ) as held:
            answers = await _together([self._written(held, one) for one in asked.asks])
        return json_response(writer.whole(answers), headers=_notes(asked))

    async def _written(self, held: Held, ask: Ask) -> Written:
        """One whole answer."""
        pieces: list[Delta] = []
        end: asyncio.Future[Stop] = asyncio.get_running_loop().create_future()

        def take(piece: Delta | Stop) -> None:
            if not isinstance(piece, Stop):
                pieces.append(piece)
            elif not end.done():
                end.set_result(piece)

        stop = await self._run(held, ask, Receiver(take, end))
        return Written(replace(stop, context_length=held.engine.facts.context_length), pieces)

    async def _stream(self, request: web.Request, asked: Asked, writer: Writer) -> web.StreamResponse:
        cors = request[CORS]
        connection = EventConnection(request, writer, {**cors, **_notes(asked)})
        ask = asked.ask
        try:
            if writer.tells_all:
                await connection.open()
            async with (
                _signs_of_life(connection, writer),
                self._models.use(
                    ask.model,
                    trusted=request[CALLER].trusted,
                    on_progress=(lambda done: connection.write(writer.event(LoadProgress(done), 0)))
                    if writer.tells_all
                    else None,
                    context_length=ask.context_length,
                    keep_s=asked.keep_s,
                ) as held,
            ):
                choices = enumerate(asked.asks)
                stops = await _together(
                    [self._streamed(held, one, connection, writer, choice) for choice, one in choices]
                )
            await connection.close(writer.closing(stops))
        except SlmDeskError as error:
            if connection.response is None:
                raise
            with suppress(ConnectionError):
                await connection.close(writer.failing(error))
        except ConnectionError:
            if connection.response is None:
                raise
            connection.abort()
        assert connection.response is not None
        return connection.response

    async def _streamed(
        self, held: Held, ask: Ask, connection: EventConnection, writer: Writer, choice: int
    ) -> Stop:
        """One answer of a stream, to its end."""
        stream = AnswerStream(connection, writer, choice)

        def changed() -> None:
            if news := held.news():
                connection.write(writer.event(EngineChanged(news), choice))

        async def started(prompt_tokens: int) -> None:
            await connection.open()
            facts = held.engine.facts
            stream.flow(
                Started(prompt_tokens, chat_form=facts.chat_form, context_length=facts.context_length)
            )

        changed()
        try:
            stop = await self._run(held, ask, Receiver(stream.take, stream.ended, started, changed))
        except SlmDeskError:
            connection.write(stream.rest())
            raise
        stop = replace(stop, context_length=held.engine.facts.context_length)
        connection.write(stream.rest() + writer.ending(stop, choice))
        return stop

    async def _run(self, held: Held, ask: Ask, receiver: Receiver) -> Stop:
        """One answer from start to end."""
        _check_biases(ask, held)
        ask = replace(held.defaults.fill(ask), id=secrets.token_hex(12))
        stop = await run_answer(held, ask, receiver)
        if stop.reason == "cancelled":  # not by us: the engine was stopped
            if self._models.stopping:
                raise SlmDeskError(
                    "service_stopping", "The service ended before the answer did.", "Ask again."
                )
            raise SlmDeskError("model_unloaded", "The model was unloaded during the answer.", "Ask again.")
        return stop


async def _together(runs: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """All of them at once; the first that fails ends the others and is raised."""
    if len(runs) == 1:
        return [await runs[0]]
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _signs_of_life(connection: EventConnection, writer: Writer) -> AsyncIterator[None]:
    """Headers before a client gives up waiting for them, and a sign now and then while nothing is written."""

    async def watch() -> None:
        await asyncio.sleep(_PATIENCE_S)
        with suppress(ConnectionError):
            if connection.response is None:
                await connection.open()
                connection.write(writer.waiting())
            while True:
                seen = connection.written
                await asyncio.sleep(_SILENCE_S)
                if connection.written == seen:
                    connection.write(writer.waiting())

    task = asyncio.create_task(watch(), name="signs of life")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _notes(asked: Asked) -> dict[str, str]:
    return {NOTE: "; ".join(asked.notes)} if asked.notes else {}


def _check_biases(ask: Ask, held: Held) -> None:
    size = held.engine.facts.vocabulary
    if any(int(token) >= size for token in ask.sampling.logit_bias):
        refuse("logit_bias", f"“logit_bias” names a token the model does not have; it has {size}.")
