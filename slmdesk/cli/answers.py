"""An answer as it is written, on the terminal or as events."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slmdesk.chat.turns import (
    CallChanged,
    MessageStored,
    StepEnded,
    ToolsMissing,
    ToolsStarting,
    TurnEnded,
    tool_limit_words,
)
from slmdesk.core.errors import SlmDeskError
from slmdesk.engines.families import in_words
from slmdesk.inference.answers import EngineChanged, LoadProgress, ReasoningDelta, Started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from slmdesk.chat.tree import Message
    from slmdesk.chat.turns import TurnEvent
    from slmdesk.cli.calls import CallDesk
    from slmdesk.cli.output import Output


class _Shown:
    """An answer on its way to the terminal: its reasoning apart from the rest."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.last = ""
        self._thought = False

    def take(self, delta: str | ReasoningDelta) -> None:
        if isinstance(delta, str):
            self._say(delta)
        else:
            self._think(delta.text)

    def _think(self, text: str) -> None:
        out = self._out
        out.event("reasoning", text=text)
        if out.for_eyes:
            out.aside(text if self._thought else text.lstrip())
            self._thought = self._thought or bool(text.strip())
            self.last = text
        elif not self._thought:
            out.status("Thinking …")

    def _say(self, text: str) -> None:
        if self._thought:
            self._out.text("" if self.last.endswith("\n") else "\n")
            self._thought = False
        self._out.stream(text)
        self._out.event("text", text=text)
        self.last = text


async def show_turn(
    events: AsyncIterator[TurnEvent], out: Output, told_form: str = "", calls: CallDesk | None = None
) -> Message:
    """Print a turn's events as they come; returns the last message as it was saved.

    `calls` asks about the tools it calls. What the model thinks aloud goes to a terminal, dimmed, and nowhere else:
    stdout may be somebody's file.
    """
    shown = _Shown(out)
    changed = ""
    async for event in events:
        match event:
            case str() | ReasoningDelta():
                shown.take(event)
            case EngineChanged(text=changed):
                out.event("engine_changed", text=changed)
            case StepEnded() | CallChanged():
                _close(out, shown.last, changed)
                shown, changed = _Shown(out), ""
                if calls is not None:
                    await calls.take(event)
            case TurnEnded(message=message):
                _close(out, shown.last, changed)
                if steps := int(message.stats.get("tool_steps", 0)):
                    out.note(tool_limit_words(steps))
                return message
            case _:
                _show_preparing(event, out, told_form)
    # The iterator's contract; only a defect ends up here.
    raise SlmDeskError("answer_lost", "The answer ended without being saved.", "Ask again.")


def _show_preparing(event: TurnEvent, out: Output, told_form: str) -> None:
    """What happens before an answer begins."""
    match event:
        case MessageStored():
            out.status("Starting …")
        case ToolsStarting(sources=sources):
            out.status("Starting the tools …")
            out.event("tools_starting", sources=list(sources))
        case ToolsMissing(problem=problem):
            out.problem(problem)
            out.event("problem", error=problem.to_json())
        case LoadProgress(fraction=fraction):
            out.status(f"Loading the model … {fraction:.0%}")
            out.event("loading", fraction=fraction)
        case Started(prompt_tokens=tokens, trimmed_turns=trimmed, chat_form=form):
            if form and form != told_form:
                out.note(in_words(form))
            if trimmed:
                out.note(f"The conversation is longer than the context: {_turns(trimmed)} left out.")
            out.status(f"Reading {tokens} tokens …")
            out.event("started", prompt_tokens=tokens, trimmed_turns=trimmed, chat_form=form)


def _close(out: Output, last: str, changed: str) -> None:
    """End the answer's last line; what was changed in the engine stands below it."""
    out.clear_status()
    if last and not last.endswith("\n"):
        out.text()
    if changed:
        out.note(changed)


def speed_text(stats: dict[str, Any]) -> str:
    """What an answer cost: "57 tokens, 148 tokens/s"; empty when nothing was measured."""
    tokens = stats.get("usage", {}).get("completion_tokens", 0)
    rate = stats.get("timings", {}).get("tokens_per_s", 0.0)
    if not tokens:
        return ""
    return f"{tokens} tokens, {rate:.0f} tokens/s" if rate else f"{tokens} tokens"


def _turns(count: int) -> str:
    return "one turn is" if count == 1 else f"{count} turns are"


@contextmanager
def on_interrupt(action: Callable[[], Any]) -> Iterator[None]:
    """While inside, Ctrl-C calls `action` on the event loop instead of ending the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(_signal: int, _frame: object) -> None:
        loop.call_soon_threadsafe(action)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
