"""One answer being written: asks the service, keeps the text safe while it grows, ends it in one state."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from slmdesk.chat import store
from slmdesk.chat.growing import GrowingAnswer
from slmdesk.chat.request import build_turns, estimated_tokens, prompt_room, turns_to_skip
from slmdesk.chat.turns import TurnEnded, TurnEvent
from slmdesk.core.error_codes import SERVICE_GONE
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.reasoning import split_late
from slmdesk.inference.answers import (
    EngineChanged,
    LoadProgress,
    ReasoningDelta,
    Started,
    Stop,
    Timings,
    ToolCallDelta,
    Usage,
)
from slmdesk.inference.asks import Ask, Overflow, Sampling, Shape, ToolChoice, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from slmdesk.chat.tree import Message, MessageState
    from slmdesk.core.database import Database
    from slmdesk.inference.answers import AnswerEvent
    from slmdesk.inference.asks import Part, Tool
    from slmdesk.serving.client import ServiceClient
    from slmdesk.serving.connector import ServiceConnector

log = logging.getLogger(__name__)

SAVE_EVERY_S = 0.4  # with the write itself, text is at most half a second old when the power goes

MEASURE_STOPPED_S = 2.0  # what counting a stopped answer's tokens may take at most


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What is asked: the path up to the message to answer, and how to answer it."""

    model: str
    system_prompt: str
    path: list[Message]
    sampling: Sampling = Sampling()
    max_tokens: int = 0
    stop: tuple[str, ...] = ()
    context_length: int = 0  # to load the model with; 0: the setting's
    overflow: Overflow = "drop_oldest"
    shape: Shape | None = None
    likely_tokens: int = 0  # of the answer, where `max_tokens` leaves its length to the service
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    tool_steps: int = 0  # how often tools were called before, where they may not be called any more

    @property
    def longest_answer(self) -> int:
        """Tokens that the answer may get; 0: no limit of its own."""
        return self.max_tokens or self.likely_tokens


class Answering:
    """Fills one answer message that is already stored in state `streaming`.

    The work runs in a task of its own, so a slow reader of `events` delays nothing and loses nothing.
    """

    def __init__(
        self, database: Database, connector: ServiceConnector, question: TurnRequest, answer: Message
    ) -> None:
        self.answer = answer
        self.saved = False  # whether the end has reached the database
        self._database = database
        self._connector = connector
        self._question = question
        thought_s = float(answer.stats.get("reasoning_s", 0.0))
        self._grown = GrowingAnswer(answer.parts, answer.text, thought_s)
        self._kept = self._grown.size  # characters that are in the database
        self._started: Started | None = None
        self._client: ServiceClient | None = None
        self._first_text_at = 0.0  # by time.monotonic(); 0.0: none came yet
        self._stats = dict(answer.stats)
        if question.tool_steps:
            self._stats["tool_steps"] = question.tool_steps
        self._events: asyncio.Queue[TurnEvent] = asyncio.Queue()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=f"answer {answer.id}")

    async def events(self) -> AsyncGenerator[TurnEvent, None]:
        """What happens from here on; ends behind `TurnEnded`."""
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, TurnEnded):
                return

    async def stop(self) -> None:
        """End the answer now, keeping its text; waits until that is saved. Harmless when it has ended."""
        if not self._stopping and not self._task.done():
            self._stopping = True
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        saver = asyncio.create_task(self._save_regularly())
        error: SlmDeskError | None = None
        state: MessageState = "complete"
        ended_at = 0.0
        try:
            await self._answer()
        except asyncio.CancelledError:
            state = "stopped"
            ended_at = time.monotonic()
        except SlmDeskError as raised:
            error = raised
            state = "interrupted" if self._grown.size else "failed"
        except Exception:
            # A defect of the program: the text is kept all the same and the front end is told.
            log.exception("writing answer %d failed", self.answer.id)
            error = SlmDeskError(
                "unexpected",
                "The answer ended because of a defect in SLM Desk.",
                "The log of the window has it.",
            )
            state = "interrupted" if self._grown.size else "failed"
        # From here on a second cancel must not cut the last write short.
        self._stopping = True
        saver.cancel()
        with suppress(asyncio.CancelledError):
            await saver
        if state == "stopped":
            await self._measure_stopped(ended_at)
        ended = await asyncio.shield(self._finish(state, error))
        self._events.put_nowait(TurnEnded(ended))

    async def _measure_stopped(self, ended_at: float) -> None:
        """What an answer used that was ended here: its engine tells that only of answers that came to their end.

        Where the tokens cannot be counted at once the figures stay unsaid.
        """
        started, client = self._started, self._client
        if started is None or client is None or not self._grown.size:
            return
        try:
            async with asyncio.timeout(MEASURE_STOPPED_S):
                tokens = await client.count(self._ask_for(started.trimmed_turns, self._so_far()))
        except (SlmDeskError, TimeoutError) as error:
            log.info("what answer %d used is not known: %s", self.answer.id, error)
            return
        usage = Usage(started.prompt_tokens, 0, max(tokens - started.prompt_tokens, 0))
        seconds = ended_at - self._first_text_at if self._first_text_at else 0.0
        # The first token's own time lies before the first text.
        rate = max(usage.completion_tokens - 1, 0) / seconds if seconds > 0 else 0.0
        self._keep_figures(usage, Timings(generate_s=seconds, tokens_per_s=rate), started.context_length)

    def _keep_figures(self, usage: Usage, timings: Timings, context_length: int) -> None:
        self._stats |= {
            "usage": {**usage.to_json(), "total_tokens": usage.total_tokens},
            "timings": timings.to_json(),
            "context_length": context_length,
        }

    async def _finish(self, state: MessageState, error: SlmDeskError | None) -> Message:
        details = error.to_json() if error else None
        answer_id, grown, stats = self.answer.id, self._grown, self._stats
        # Calls that were still being written are never made.
        text, parts = grown.text, grown.parts if state == "complete" else grown.said
        if not parts and (late := split_late(text)).parts:
            text, parts = late.visible, late.parts
        if seconds := grown.thought_s:
            stats["reasoning_s"] = round(seconds, 1)
        try:
            ended = await self._database.run(
                lambda connection: store.finish_message(
                    connection, answer_id, text, state, parts=parts, stats=stats, error=details
                )
            )
        except SlmDeskError as unsaved:
            # The person still sees the text, and learns that it is not on disk.
            return dataclasses.replace(
                self.answer,
                text=text,
                parts=parts,
                state="interrupted",
                finished_at=time.time(),
                stats=stats,
                error=unsaved.to_json(),
            )
        self.saved = True
        return ended

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            if self._grown.size == self._kept:
                continue
            size, text, parts = self._grown.size, self._grown.text, self._grown.said
            try:
                await self._database.run(
                    partial(store.save_answer, message_id=self.answer.id, text=text, parts=parts)
                )
                self._kept = size
            except SlmDeskError as error:
                log.warning("answer %d could not be saved yet: %s", self.answer.id, error)

    async def _answer(self) -> None:
        for last_try in (False, True):
            try:
                self._client = await self._connector.connect()
                await self._ask(self._client)
                return
            except SlmDeskError as error:
                if error.code not in SERVICE_GONE:
                    raise
                self._connector.forget()
                # Only a question nobody has begun to answer is asked again, and only once.
                if self._started or last_try:
                    raise

    async def _ask(self, client: ServiceClient) -> None:
        skip = await self._skip_beforehand(client)
        try:
            await self._stream(client, skip)
        except SlmDeskError as error:
            if error.code != "context_exceeded" or self._started or self._question.overflow == "refuse":
                raise
            # The guess was too low: count, and leave out what does not fit.
            better = await self._skip_exactly(client, skip)
            if better <= skip:
                raise
            await self._stream(client, better)

    async def _stream(self, client: ServiceClient, skip: int) -> None:
        async with aclosing(client.ask(self._ask_for(skip))) as events:
            async for event in events:
                self._take(event, skip)

    def _take(self, event: AnswerEvent, skip: int) -> None:
        match event:
            case str() | ReasoningDelta() | ToolCallDelta():
                self._first_text_at = self._first_text_at or time.monotonic()
                self._grown.take(event)
            case Started():
                self._stats["trimmed_turns"] = skip
                self._stats["overflow"] = self._question.overflow
                if event.chat_form:
                    self._stats["chat_form"] = event.chat_form
                event = self._started = replace(event, trimmed_turns=skip)
            case EngineChanged(text=text):
                self._stats["engine_change"] = text
            case Stop():
                self._stats["reason"] = event.reason
                self._keep_figures(event.usage, event.timings, event.context_length)
        self._events.put_nowait(event)

    def _ask_for(self, skip: int, begun: Turn | None = None) -> Ask:
        """What is asked of the service, without the `skip` oldest turns, behind what is `begun` of the answer."""
        question = self._question
        turns = build_turns(
            question.system_prompt, question.path, skip, keep_first=question.overflow == "keep_ends"
        )
        begun = begun or _begun(self.answer.text, self.answer.parts)
        if begun.parts:
            # An answer being continued stands last, unfinished, and the model goes on behind it.
            turns.append(begun)
        return Ask(
            model=question.model,
            turns=tuple(turns),
            sampling=question.sampling,
            max_tokens=question.max_tokens,
            stop=question.stop or None,
            shape=question.shape,
            tools=question.tools,
            tool_choice=question.tool_choice,
            apart=True,
            conversation=f"chat-{self.answer.conversation_id}",
            context_length=question.context_length,
            kept_instructions=False,  # the conversation has its own
        )

    def _so_far(self) -> Turn:
        return _begun(self._grown.text, self._grown.said)

    async def _skip_beforehand(self, client: ServiceClient) -> int:
        """Turns to leave out before asking; tokens are counted only where it may be near its limit."""
        before, context_length = self._last_measured()
        if not context_length or self._question.overflow == "refuse":
            return 0
        room = prompt_room(context_length, self._question.longest_answer)
        if not before and estimated_tokens(self._question.path) <= room:
            return 0
        return await self._skip_exactly(client, before)

    def _last_measured(self) -> tuple[int, int]:
        """What the last answer on the path left out, and the context length it had; zeros when not known."""
        for message in reversed(self._question.path):
            if message.role == "assistant" and message.stats.get("context_length"):
                same = message.model == self._question.model
                way = message.stats.get("overflow", "drop_oldest") == self._question.overflow
                before = int(message.stats.get("trimmed_turns", 0)) if same and way else 0
                return before, int(message.stats["context_length"]) if same else 0
        return 0, 0

    async def _skip_exactly(self, client: ServiceClient, first_guess: int) -> int:
        context_length = await self._context_length(client)
        if not context_length:
            return first_guess
        if context_length != self._last_measured()[1]:
            first_guess = 0  # the setting changed: more, or less, may fit now

        question = self._question

        async def count(skip: int) -> int:
            return await client.count(self._ask_for(skip))

        room = prompt_room(context_length, question.longest_answer)
        keep_first = question.overflow == "keep_ends"
        return await turns_to_skip(question.path, count, room, first_guess, keep_first=keep_first)

    async def _context_length(self, client: ServiceClient) -> int:
        question = self._question
        loads = client.load(question.model, context_length=question.context_length)
        async with aclosing(loads) as loading:
            async for fraction in loading:
                if fraction < 1.0:
                    self._events.put_nowait(LoadProgress(fraction))
        loaded = (await client.status()).model(question.model)
        return loaded.context_length if loaded else 0


def _begun(text: str, parts: tuple[Part, ...]) -> Turn:
    """An answer as it stands, with what was thought: the model is to go on with either."""
    return Turn("assistant", parts) if parts else Turn.of("assistant", text)
