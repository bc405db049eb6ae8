"""How an answer with reasoning looks on a terminal, in a file and as events."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from slmdesk.chat.tree import Message
from slmdesk.chat.turns import TurnEnded, TurnEvent
from slmdesk.cli.answers import show_turn
from slmdesk.cli.output import Output
from slmdesk.inference.answers import ReasoningDelta, Started

PIECES = [
    *map(ReasoningDelta, ("\nHm, ", "Lyon?\x1b[2J", "\n")),
    "Par",
    "is.",
]
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


async def _events(pieces: Sequence[str | ReasoningDelta], form: str = "") -> AsyncIterator[TurnEvent]:
    yield Started(9, 0, form)
    for piece in pieces:
        yield piece
    yield TurnEnded(Message(1, 1, None, "assistant", "".join(map(str, pieces)), "complete", "m", 0.0))


async def test_on_a_terminal_reasoning_is_dimmed_and_apart() -> None:
    screen = Tty()
    await show_turn(_events(PIECES), Output(stdout=screen, stderr=io.StringIO(), environ={}))
    shown = screen.getvalue()
    thought, _, answer = shown.partition("Lyon?[2J")
    assert thought.count(DIM) == thought.count(PLAIN) + 1  # and never undimmed within
    assert "Hm, " in thought
    assert answer.replace(DIM, "").replace(PLAIN, "") == "\n\nParis.\n"
    assert DIM not in answer[answer.index("Par") :]


async def test_in_a_file_there_is_the_answer_alone() -> None:
    file = io.StringIO()
    await show_turn(_events(PIECES), Output(stdout=file, stderr=io.StringIO(), environ={}))
    assert file.getvalue() == "Paris.\n"


async def test_as_events_both_come_by_their_names() -> None:
    file = io.StringIO()
    await show_turn(_events(PIECES), Output(as_json=True, stdout=file, stderr=io.StringIO(), environ={}))
    events = [json.loads(line) for line in file.getvalue().splitlines()]
    told = {
        name: "".join(event["text"] for event in events if event["event"] == name)
        for name in ("reasoning", "text")
    }
    assert told == {"reasoning": "\nHm, Lyon?\x1b[2J\n", "text": "Paris."}


@pytest.mark.parametrize("told", ["", "Gemma"])
async def test_a_missing_chat_template_is_said_once(told: str) -> None:
    errors = io.StringIO()
    out = Output(stdout=io.StringIO(), stderr=errors, environ={})
    await show_turn(_events(["Hi"], "Gemma"), out, told)
    assert ("Gemma" in errors.getvalue()) is not bool(told)
