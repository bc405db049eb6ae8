"""One turn from the question to the last answer: ask, and while the model calls tools, call them and ask again."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from slmdesk.chat import store
from slmdesk.chat.answering import Answering, TurnRequest
from slmdesk.chat.calling import CallRound
from slmdesk.chat.tree import OTHER_MODEL
from slmdesk.chat.turns import MessageStored, StepEnded, ToolsMissing, ToolsStarting, TurnEnded, TurnEvent
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import ToolChoice
from slmdesk.tools.toolbox import OfferedTools

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from slmdesk.chat.calling import Decision
    from slmdesk.chat.tree import Message
    from slmdesk.core.database import Database
    from slmdesk.serving.connector import ServiceConnector
    from slmdesk.tools.selection import ToolSelection
    from slmdesk.tools.toolbox import Tools

T = TypeVar("T")

log = logging.getLogger(__name__)

_NO_TOOLS = OfferedTools({})


@dataclass(frozen=True, slots=True)
class TurnTools:
    """The tools of a turn. `choice`: whether the first answer has to call one; later ones may answer."""

    room: Tools
    selection: ToolSelection
    choice: ToolChoice = ToolChoice()


class TurnRun:
    """Fills an answer that is stored in state `streaming`, and the rows behind it.

    The work runs in a task of its own, so a slow reader of `events` delays nothing and loses nothing.
    """

    def __init__(
        self,
        database: Database,
        connector: ServiceConnector,
        question: TurnRequest,
        answer: Message,
        *,
        tools: TurnTools | None,
        owner: str,
    ) -> None:
        """`owner`: this process in the rows it writes. An answer that holds calls already is gone on with by making
        them."""
        self.answer = answer
        self.unsaved: set[int] = set()  # rows whose end has not reached the database
        self._database = database
        self._connector = connector
        self._question = question
        self._tools = tools
        self._owner = owner
        self._events: asyncio.Queue[TurnEvent] = asyncio.Queue()
        self._stopping = False
        self._answering: Answering | None = None
        self._round: CallRound | None = None
        self._step: asyncio.Task[object] | None = None
        self._task = asyncio.create_task(self._run(), name=f"turn {answer.id}")

    async def events(self) -> AsyncGenerator[TurnEvent, None]:
        """What happens from here on; ends behind `TurnEnded`."""
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, TurnEnded):
                return

    def decide(self, call_id: str, decision: Decision) -> bool:
        """Answer a call that is asked about. Whether it was."""
        return self._round is not None and self._round.decide(call_id, decision)

    async def stop(self) -> None:
        """End the turn now, keeping what is there; waits until that is saved. Harmless when it has ended."""
        self._stopping = True
        if self._answering is not None:
            await self._answering.stop()
        elif self._step is not None:
            self._step.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        last = self.answer
        try:
            last = await self._turn()
        except SlmDeskError as error:
            last = dataclasses.replace(last, state="interrupted", error=error.to_json())
            self.unsaved.add(last.id)
        except Exception:
            log.exception("the turn of answer %d failed", self.answer.id)
            defect = SlmDeskError(
                "unexpected",
                "The answer ended because of a defect in SLM Desk.",
                "The log of the window has it.",
            )
            last = dataclasses.replace(last, state="interrupted", error=defect.to_json())
            self.unsaved.add(last.id)
        self._events.put_nowait(TurnEnded(last))

    async def _turn(self) -> Message:
        question, message = self._question, self.answer
        offered = await self._offered()
        if not message.calls:
            message = await self._answered(question, message, offered, 0)
        steps = 0
        while message.state == "complete" and message.calls and self._tools is not None:
            steps += 1
            self._events.put_nowait(StepEnded(message))
            results = await self._called(self._tools, message, offered)
            if results.state != "complete" or self._stopping:
                return results
            question = dataclasses.replace(question, path=[*question.path, message, results])
            message = await self._answered(question, await self._next(results), offered, steps)
        return message

    async def _offered(self) -> OfferedTools:
        """The tools of this turn; servers are started for them. What cannot be had is told, and done without."""
        tools = self._tools
        if tools is None or not tools.selection.sources:
            return _NO_TOOLS
        self._events.put_nowait(ToolsStarting(tools.selection.sources))
        offered = await self._stoppable(tools.room.offered(tools.selection))
        if offered is None:
            return _NO_TOOLS
        for problem in offered.problems:
            self._events.put_nowait(ToolsMissing(problem))
        return offered

    async def _answered(
        self, question: TurnRequest, answer: Message, offered: OfferedTools, steps: int
    ) -> Message:
        most = self._tools.room.most_calls if self._tools is not None else 0
        choice = self._tools.choice if self._tools is not None and not steps else ToolChoice()
        over = bool(offered.by_name) and steps >= most
        must = bool(offered.by_name) and choice.mode == "required"
        question = dataclasses.replace(
            question,
            tools=tuple(tool.asked_as(name) for name, tool in offered.by_name.items()),
            tool_choice=ToolChoice("none") if over else choice if offered.by_name else ToolChoice(),
            tool_steps=steps if over else 0,
            shape=None if must else question.shape,  # one excludes the other
        )
        self._answering = answering = Answering(self._database, self._connector, question, answer)
        if self._stopping:
            await answering.stop()
        message = answer
        async for event in answering.events():
            if isinstance(event, TurnEnded):
                message = event.message
            else:
                self._events.put_nowait(event)
        self._answering = None
        if not answering.saved:
            self.unsaved.add(answer.id)
        return message

    async def _called(self, tools: TurnTools, message: Message, offered: OfferedTools) -> Message:
        row = await self._database.run(
            lambda connection: store.add_message(
                connection,
                message.conversation_id,
                message.id,
                "tool",
                "",
                state="streaming",
                owner=self._owner,
            )
        )
        self.unsaved.add(row.id)
        self._events.put_nowait(MessageStored(row))
        self._round = CallRound(self._database, tools.room, tools.selection, offered, self._events.put_nowait)
        self._step = step = asyncio.create_task(self._round.run(message, row))
        if self._stopping:
            asyncio.get_running_loop().call_soon(step.cancel)
        results = await step
        self._step = self._round = None
        self.unsaved.discard(row.id)
        return results

    async def _next(self, results: Message) -> Message:
        known = self.answer.stats
        stats = {OTHER_MODEL: known[OTHER_MODEL]} if OTHER_MODEL in known else {}
        row = await self._database.run(
            lambda connection: store.add_message(
                connection,
                results.conversation_id,
                results.id,
                "assistant",
                "",
                state="streaming",
                model=self._question.model,
                owner=self._owner,
                stats=stats,
            )
        )
        self._events.put_nowait(MessageStored(row))
        return row

    async def _stoppable(self, work: Coroutine[object, object, T]) -> T | None:
        """What comes of it; None where the turn is stopped before."""
        task = asyncio.create_task(work)
        self._step = task
        try:
            await asyncio.wait([task])
        finally:
            self._step = None
        return None if task.cancelled() else task.result()
