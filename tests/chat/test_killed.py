"""The front end is killed in the middle of an answer: what was typed and most of the answer are there."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.chat.turns import TurnEnded, TurnOptions
from slmdesk.core.paths import Paths
from slmdesk.inference.answers import ReasoningDelta
from slmdesk.inference.asks import Reasoning

from .conftest import use_home

# Prints a line for each thing that happens, as a window would show it.
CHILD = """
import asyncio, sys
from slmdesk.application import Application
from slmdesk.chat.turns import MessageStored
from slmdesk.inference.answers import ReasoningDelta

async def main():
    application = Application.build()
    conversation = await application.chats.create(sys.argv[1])
    print("conversation", conversation.id, flush=True)
    await application.chats.save_draft(0, "not sent yet")
    text = ""
    async for event in application.chats.send(conversation.id, "What is Q4_K_M?"):
        if isinstance(event, MessageStored):
            print("stored", event.message.id, flush=True)
        if isinstance(event, str | ReasoningDelta):
            text += event if isinstance(event, str) else event.text
            print("text", len(text), flush=True)

asyncio.run(main())
"""


def saved_text(database: Path) -> str:
    """What a look from outside finds of the answer being written: its text, or what is thought before that."""
    connection = sqlite3.connect(database)
    try:
        row = connection.execute("SELECT text, parts FROM messages WHERE state = 'streaming'").fetchone()
    finally:
        connection.close()
    return str(row[0]) or "".join(part["text"] for part in json.loads(row[1])) if row else ""


def run_and_kill(database: Path, model: Path, after: str) -> tuple[list[str], str]:
    """Run the child until it prints a line that begins so ("saved": until part of the answer is in the
    database), then kill it; returns its lines, and what was saved then."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(model)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines, saved = [], ""
    for line in child.stdout:
        lines.append(line.strip())
        saved = saved_text(database) if line.startswith("text") else ""
        if line.startswith(after) or (after == "saved" and saved):
            break
    child.kill()
    lines += [line.strip() for line in child.stdout]
    child.stdout.close()
    child.wait(30)
    return lines, saved


@pytest.mark.parametrize("after", ["stored", "text", "saved"])
async def test_nothing_typed_is_lost(
    service_home: Path, endless_model: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    use_home(monkeypatch, service_home)
    lines, saved = run_and_kill(Paths.resolve().database, endless_model, after)
    conversation_id = int(lines[0].split()[1])

    application = Application.build()
    try:
        problem = await application.open()
        assert problem is None
        asked, answer = (await application.chats.load(conversation_id)).path()
        assert (asked.text, asked.state) == ("What is Q4_K_M?", "complete")
        assert answer.state == "interrupted"
        assert answer.text.startswith(saved)
        assert saved or after != "saved"
        assert answer.error is not None
        assert answer.error["code"] == "answer_interrupted"
        assert await application.chats.load_draft(0) == "not sent yet"
        # It can be gone on with.
        options = TurnOptions(max_tokens=8)
        last = [event async for event in application.chats.continue_from(answer.id, options)][-1]
        assert isinstance(last, TurnEnded)
        assert last.message.state == "complete"
        assert last.message.text.startswith(answer.text)
        database = application.paths.database
    finally:
        await application.close()
    sound(database)


async def test_a_thought_is_not_lost_either_and_goes_on(
    service_home: Path, endless_thinker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_home(monkeypatch, service_home)
    lines, saved = run_and_kill(Paths.resolve().database, endless_thinker, "saved")
    application = Application.build()
    try:
        answer = (await application.chats.load(int(lines[0].split()[1]))).path()[-1]
        assert (answer.state, answer.text) == ("interrupted", "")
        (thought,) = answer.parts
        assert isinstance(thought, Reasoning)
        assert thought.text.startswith(saved)
        events = [
            event async for event in application.chats.continue_from(answer.id, TurnOptions(max_tokens=8))
        ]
        last = events[-1]
        assert isinstance(last, TurnEnded)
        assert (last.message.state, last.message.text) == ("complete", "")
        more = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
        assert more
        assert last.message.parts == (Reasoning(thought.text + more),)
        database = application.paths.database
    finally:
        await application.close()
    sound(database)


def sound(database: Path) -> None:
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()
