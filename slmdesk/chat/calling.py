"""One round of tool calls: each is shown, approved, made and kept, in the order the model wrote them.

A call that is refused, stopped, unknown or failed has a result that says so: none stays without one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from slmdesk.chat import store
from slmdesk.chat.turns import CallChanged, CallStatus
from slmdesk.inference.asks import ToolResult

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from slmdesk.chat.tree import Message
    from slmdesk.chat.turns import CallState
    from slmdesk.core.database import Database
    from slmdesk.inference.asks import ToolCall
    from slmdesk.tools.selection import ToolSelection
    from slmdesk.tools.tool import OfferedTool, ToolOutcome
    from slmdesk.tools.toolbox import OfferedTools, Tools

Decision = Literal["once", "always", "refuse"]
"""What a person says to a call: make it, make it and never ask for this tool again, leave it."""

REFUSED = "The person refused this call. Do without it, or ask them."
STOPPED = "The person stopped this before there was a result."


class CallRound:
    """The calls of one answer. `tell` hears what happens to each."""

    def __init__(
        self,
        database: Database,
        room: Tools,
        selection: ToolSelection,
        offered: OfferedTools,
        tell: Callable[[CallChanged], None],
    ) -> None:
        self._database = database
        self._room = room
        self._selection = selection
        self._offered = offered
        self._tell = tell
        self._asked: dict[str, asyncio.Future[Decision]] = {}
        self._statuses: dict[str, CallStatus] = {}
        self._results: list[ToolResult] = []
        self._message_id = 0

    def decide(self, call_id: str, decision: Decision) -> bool:
        """Answer a call that is asked about. Whether it was."""
        waiting = self._asked.get(call_id)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(decision)
        return True

    async def run(self, answer: Message, row: Message) -> Message:
        """Make the calls of `answer`, keeping their results in `row`, which is in state `streaming`. Cancelling it ends
        it in order: it returns then too. Raises what the database does."""
        self._message_id = answer.id
        calls = answer.calls
        state: Literal["complete", "stopped"] = "complete"
        try:
            for call in calls:
                await self._one(call)
                await self._database.run(self._keeper(row))
        except asyncio.CancelledError:
            state = "stopped"
            self._stop(calls)
        # The result itself stands in the parts.
        stats = {"calls": [replace(self._statuses[call.id], result="").to_json() for call in calls]}
        return await asyncio.shield(
            self._database.run(
                lambda connection: store.finish_message(
                    connection, row.id, self._text, state, parts=tuple(self._results), stats=stats, error=None
                )
            )
        )

    def _keeper(self, row: Message) -> Callable[[sqlite3.Connection], None]:
        text, results = self._text, tuple(self._results)
        return lambda connection: store.save_answer(connection, row.id, text, results)

    async def _one(self, call: ToolCall) -> None:
        tool = self._offered.by_name.get(call.name)
        if tool is None:
            known = ", ".join(self._offered.by_name) or "none"
            self._end(call, "failed", f"There is no tool “{call.name[:60]}”. There are: {known}.")
            return
        if not await self._room.is_allowed(tool) and not await self._approved(call, tool):
            self._end(call, "refused", REFUSED)
            return
        self._change(CallStatus(call.id, call.name, tool.key, "running"))
        outcome = await self._made(call, tool)
        self._end(call, "failed" if outcome.failed else "done", outcome.text, outcome)

    async def _approved(self, call: ToolCall, tool: OfferedTool) -> bool:
        waiting: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._asked[call.id] = waiting
        self._change(CallStatus(call.id, call.name, tool.key, "asked"))
        try:
            decision = await waiting
        finally:
            del self._asked[call.id]
        if decision == "always":
            await self._room.allow(tool.key, always=True)
        return decision != "refuse"

    async def _made(self, call: ToolCall, tool: OfferedTool) -> ToolOutcome:
        began = time.monotonic()
        outcome = await self._room.call(tool, call.arguments, self._selection)
        return dataclasses.replace(outcome, seconds=time.monotonic() - began)

    def _end(self, call: ToolCall, state: CallState, text: str, outcome: ToolOutcome | None = None) -> None:
        self._results.append(ToolResult(call.id, text, state != "done"))
        known = self._statuses.get(call.id) or CallStatus(call.id, call.name)
        seconds, left_out = (outcome.seconds, outcome.left_out) if outcome is not None else (0.0, 0)
        self._change(replace(known, state=state, seconds=round(seconds, 2), left_out=left_out, result=text))

    def _stop(self, calls: Sequence[ToolCall]) -> None:
        """What was not ended is stopped, and has a result that says so."""
        there = {result.id for result in self._results}
        for call in calls:
            if call.id not in there:
                self._end(call, "stopped", STOPPED)

    def _change(self, status: CallStatus) -> None:
        self._statuses[status.id] = status
        self._tell(CallChanged(self._message_id, status))

    @property
    def _text(self) -> str:
        """What is read and searched of the row."""
        return "\n\n".join(result.text for result in self._results)
