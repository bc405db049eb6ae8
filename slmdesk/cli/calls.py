"""Calls of tools in the terminal: what a model wants called, the question whether it may, and what came of it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from slmdesk.chat.turns import StepEnded
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.chat.calling import Decision
    from slmdesk.chat.chats import Chats
    from slmdesk.chat.turns import CallChanged, CallStatus
    from slmdesk.cli.output import Output

_LONGEST = 2000  # characters of arguments or of a result that are shown
_ENDS = {
    "done": "gave",
    "failed": "failed",
    "refused": "was refused",
    "stopped": "was stopped",
}
_ANSWERS: dict[str, Decision] = {
    "y": "once",
    "yes": "once",
    "a": "always",
    "always": "always",
    "n": "refuse",
    "no": "refuse",
    "": "refuse",
}


class CallDesk:
    """Shows the calls of one turn and asks about them. `free`: all are made without asking."""

    def __init__(self, chats: Chats, conversation_id: int, out: Output, *, free: bool = False) -> None:
        self._chats = chats
        self._conversation_id = conversation_id
        self._out = out
        self._free = free
        self._arguments: dict[str, str] = {}

    async def take(self, event: StepEnded | CallChanged) -> None:
        """An answer calls tools, or something happened to a call: one that is asked about is decided before this
        returns."""
        if isinstance(event, StepEnded):
            self._arguments |= {call.id: call.arguments for call in event.message.calls}
            return
        call, out = event.call, self._out
        arguments = self._arguments.get(call.id, "")
        out.event("call", call={**call.to_json(), "state": call.state, "arguments": arguments})
        if call.state == "running":
            out.status(f"Calling {call.name} …")
        elif call.state == "asked":
            decision = "once" if self._free else await self._ask(call, arguments)
            self._chats.decide(self._conversation_id, call.id, decision)
        else:
            self._show_end(call, arguments)

    async def _ask(self, call: CallStatus, arguments: str) -> Decision:
        out = self._out
        out.note(f"The model wants to call {_source(call)}:")
        out.note(readable(arguments))
        question = "Call it? y = yes, n = no, a = always for this tool: "
        while True:
            told = await self._answer(question)
            decision = _ANSWERS.get(told.strip().lower())
            if decision is not None:
                return decision
            out.note("Type y, n or a.")

    async def _answer(self, question: str) -> str:
        """A line of the person's; "" where there is nobody to answer."""
        if not sys.stdin.isatty() or self._out.as_json:
            return await _line()
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output

        output = create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
        try:
            return await PromptSession[str](output=output).prompt_async(question)
        except EOFError:
            return ""
        except KeyboardInterrupt:
            stopping = asyncio.ensure_future(self._chats.stop(self._conversation_id))
            await asyncio.wait({stopping})
            return ""

    def _show_end(self, call: CallStatus, arguments: str) -> None:
        took = f", {call.seconds:.1f} s" if call.seconds >= 0.1 else ""
        shown = " ".join(readable(arguments).split())[:200]
        self._out.note(f"{_source(call)} {shown} {_ENDS.get(call.state, call.state)}{took}")
        if call.state in {"done", "failed"}:
            more = " …" if len(call.result) > _LONGEST else ""
            self._out.note("\n".join(f"  {line}" for line in (call.result[:_LONGEST] + more).splitlines()))


def readable(arguments: str) -> str:
    """Arguments as a person reads them: laid out where they are JSON, else as they are; long ones are cut."""
    try:
        text = json.dumps(json.loads(arguments), ensure_ascii=False, indent=2) if arguments.strip() else "{}"
    except (ValueError, RecursionError):
        text = arguments
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def _source(call: CallStatus) -> str:
    server = call.key.partition("/")[0]
    return f"“{call.name}” of {server}" if server and server != "built-in" else f"“{call.name}”"


async def _line() -> str:
    """The next line of stdin. Read by a thread that nothing waits for: the program may end before there is one."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[str] = loop.create_future()

    def deliver(result: Callable[[], Any]) -> None:
        def settle() -> None:
            if not read.done():
                result()

        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop has ended

    def work() -> None:
        try:
            line = sys.stdin.readline()
        except (OSError, ValueError) as error:
            problem = SlmDeskError("bad_request", f"stdin cannot be read: {error}.", "Use --yes.")
            deliver(lambda: read.set_exception(problem))
            return
        deliver(lambda: read.set_result(line))

    threading.Thread(target=work, name="slmdesk-stdin", daemon=True).start()
    return await read
