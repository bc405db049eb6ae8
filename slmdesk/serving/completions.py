"""`/v1/chat/completions` and `/v1/completions`: whole answers and streams."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.protocol import Finished, GenerateRequest
from slmdesk.serving.answer_run import Receiver, run_answer
from slmdesk.serving.api_errors import error_object, json_response
from slmdesk.serving.event_stream import DONE, EventStream, event
from slmdesk.serving.fields import parse_body, refuse
from slmdesk.serving.gate import CALLER, CORS
from slmdesk.serving.questions import Question, read_chat, read_completion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from slmdesk.engines.host import Engine
    from slmdesk.serving.held import Held
    from slmdesk.serving.models import Models

# Our own client asks with this header for events about the load, the prompt and the end.
EVENTS_HEADER = "X-SlmDesk-Events"


@dataclass(frozen=True, slots=True)
class _Form:
    """What tells the two kinds of completion apart."""

    id_prefix: str
    whole: str
    chunk: str
    # Around the JSON text of one piece of an answer, inside a choice.
    before: str
    after: str
    read: Callable[[Mapping[str, Any]], Question]


_CHAT = _Form(
    "chatcmpl-",
    "chat.completion",
    "chat.completion.chunk",
    '"delta":{"content":',
    '},"finish_reason":null',
    read_chat,
)
_TEXT = _Form(
    "cmpl-",
    "text_completion",
    "text_completion",
    '"text":',
    ',"logprobs":null,"finish_reason":null',
    read_completion,
)


class Completions:
    """The handlers of both routes."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, _CHAT)

    async def text(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, _TEXT)

    async def _answer(self, request: web.Request, form: _Form) -> web.StreamResponse:
        question = form.read(parse_body(await request.read()))
        job = _Job(form, question, f"{form.id_prefix}{secrets.token_hex(12)}", int(time.time()))
        if question.stream:
            return await self._stream(request, job)
        async with self._models.use(
            question.model, trusted=request[CALLER].trusted, context_length=question.context_length
        ) as held:
            texts: list[str] = []
            end: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()

            def take(text: str, finished: Finished | None) -> None:
                if text:
                    texts.append(text)
                if finished is not None and not end.done():
                    end.set_result(finished)

            finished = await self._run(held, job, Receiver(take, end))
        return json_response(job.answer("".join(texts), finished))

    async def _stream(self, request: web.Request, job: _Job) -> web.StreamResponse:
        stream = EventStream(request, *job.around_text())
        ours = EVENTS_HEADER in request.headers
        headers = request[CORS]
        try:
            if ours:
                await stream.open(headers)
            async with self._models.use(
                job.question.model,
                trusted=request[CALLER].trusted,
                on_progress=(lambda fraction: stream.send(event(fraction, "progress"))) if ours else None,
                context_length=job.question.context_length,
            ) as held:

                def changed() -> None:
                    if ours and (news := held.news()):
                        stream.send(event({"text": news}, "changed"))

                async def started(prompt_tokens: int) -> None:
                    if stream.response is None:
                        await stream.open(headers)
                    stream.flow((_started(prompt_tokens, held.engine) if ours else b"") + job.opening())

                changed()
                receiver = Receiver(stream.take, stream.finished, started, changed)
                finished = await self._run(held, job, receiver)
                context_length = held.engine.ready.context_length
            await stream.close(
                (job.ending(finished, context_length) if ours else b"") + job.closing(finished)
            )
        except SlmDeskError as error:
            if stream.response is None:
                raise
            await self._end_with_error(stream, error)
        except ConnectionError:
            if stream.response is None:
                raise
            stream.abort()
        assert stream.response is not None
        return stream.response

    async def _end_with_error(self, stream: EventStream, error: SlmDeskError) -> None:
        try:
            await stream.close(event(error_object(error)))
        except ConnectionError:
            stream.abort()

    async def _run(self, held: Held, job: _Job, receiver: Receiver) -> Finished:
        """One answer from start to end."""
        question = held.defaults.fill(job.question)
        _check_biases(question, held.engine)
        finished = await run_answer(held, job.request(question), receiver)
        if finished.reason == "cancelled":  # not by us: the engine was stopped
            if self._models.stopping:
                raise SlmDeskError(
                    "service_stopping", "The service ended before the answer did.", "Ask again."
                )
            raise SlmDeskError("model_unloaded", "The model was unloaded during the answer.", "Ask again.")
        return finished


@dataclass(frozen=True, slots=True)
class _Job:
    """One completion on its way: the question, and the JSON around its answer."""

    form: _Form
    question: Question
    id: str
    created: int

    def request(self, question: Question) -> GenerateRequest:
        """What the engine is asked: the question, with what it left open."""
        return GenerateRequest(
            id=self.id,
            messages=question.messages,
            prompt=question.prompt,
            max_tokens=question.max_tokens,
            stop=question.stop or [],
            sampling=question.sampling,
            template_options=question.template_options,
            conversation=question.conversation,
        )

    def answer(self, text: str, finished: Finished) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        end = _reason(finished)
        choice: dict[str, Any] = {"index": 0}
        if self.form is _CHAT:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": end}
        return {
            **self._head(self.form.whole),
            "choices": [choice],
            "usage": _usage(finished),
            "timings": finished.timings,
        }

    def around_text(self) -> tuple[bytes, bytes]:
        """What stands before and behind the JSON text in the event of one piece."""
        head = json.dumps(self._head(self.form.chunk), separators=(",", ":"))[:-1]
        usage = ',"usage":null' if self.question.include_usage else ""
        return (
            f'data: {head},"choices":[{{"index":0,{self.form.before}'.encode(),
            f"{self.form.after}}}]{usage}}}\n\n".encode(),
        )

    def opening(self) -> bytes:
        """The first chunk: who speaks. Text completions have none."""
        if self.form is not _CHAT:
            return b""
        delta = {"role": "assistant", "content": ""}
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])

    def closing(self, finished: Finished) -> bytes:
        """The last chunk, the usage where it was asked for, and the end mark."""
        choice: dict[str, Any] = {"index": 0}
        if self.form is _CHAT:
            choice["delta"] = {}
        else:
            choice |= {"text": "", "logprobs": None}
        choice["finish_reason"] = _reason(finished)
        chunks = self._chunk([choice], timings=finished.timings)
        if self.question.include_usage:
            chunks += self._chunk([], usage=_usage(finished))
        return chunks + DONE

    def ending(self, finished: Finished, context_length: int) -> bytes:
        """The end as our own client reads it."""
        return event(
            {
                "reason": _reason(finished),
                "usage": _usage(finished),
                "timings": finished.timings,
                "context_length": context_length,
            },
            "finished",
        )

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        if self.question.include_usage:
            more.setdefault("usage", None)
        return event({**self._head(self.form.chunk), "choices": choices, **more})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.question.model}


def _started(prompt_tokens: int, engine: Engine) -> bytes:
    """The begin as our own client reads it, and what stands in for a chat template where the file has none."""
    form = engine.ready.chat_form
    return (event(form, "form") if form else b"") + event(prompt_tokens, "started")


def _usage(finished: Finished) -> dict[str, Any]:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.completion_tokens,
        "total_tokens": finished.prompt_tokens + finished.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
    }


def _reason(finished: Finished) -> str:
    return "length" if finished.reason == "length" else "stop"


def _check_biases(question: Question, engine: Engine) -> None:
    size = engine.ready.vocabulary
    if any(int(token) >= size for token in question.sampling.get("logit_bias", ())):
        refuse("logit_bias", f"“logit_bias” names a token the model does not have; it has {size}.")
