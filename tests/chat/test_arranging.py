"""Conversations in order: pinned, in folders, copied; and found whatever their letters."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from slmdesk.application import Application
from slmdesk.chat import search, store
from slmdesk.chat.rules import AnswerRules
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Reasoning, Text

from .test_store import found, talk


@pytest.fixture
async def offline(tmp_path: Path) -> AsyncIterator[Application]:
    """An application that asks no service."""
    application = Application.build({"SLMDESK_HOME": str(tmp_path), "SLMDESK_STARTER": ""})
    await application.chats.open()
    yield application
    await application.close()


async def test_pinned_ones_come_first_then_folders_then_the_rest(offline: Application) -> None:
    chats, arranging = offline.chats, offline.arranging
    ids = [await offline.database.run(lambda c, n=n: talk(c, f"question {n}")) for n in range(5)]  # type: ignore[misc]
    await arranging.pin(ids[0], on=True)
    await arranging.move(ids[1], "  Öl\n paintings ")
    await arranging.move(ids[3], "art")
    rows = await chats.conversations()
    assert [(row.id, row.pinned, row.folder) for row in rows] == [
        (ids[0], True, ""),
        (ids[3], False, "art"),
        (ids[1], False, "Öl paintings"),
        (ids[4], False, ""),
        (ids[2], False, ""),
    ]
    assert await arranging.folders() == ["art", "Öl paintings"]
    assert await arranging.folder_of(ids[1]) == "Öl paintings"
    # A search lists by date alone.
    assert [row.id for row in await chats.conversations("question")] == ids[::-1]
    await arranging.pin(ids[0], on=False)
    await arranging.move(ids[1], "")
    await arranging.move(ids[3], "")
    assert [row.id for row in await chats.conversations()] == ids[::-1]
    assert await arranging.folders() == []
    with pytest.raises(SlmDeskError) as caught:
        await arranging.move(ids[0], "x" * 61)
    assert caught.value.code == "folder_invalid"
    with pytest.raises(SlmDeskError) as caught:
        await arranging.pin(999, on=True)
    assert caught.value.code == "conversation_not_found"


async def test_a_copy_holds_everything_and_goes_its_own_way(offline: Application) -> None:
    def make(connection: sqlite3.Connection) -> tuple[int, int]:
        made = store.create_conversation(connection, "m", "Be brief.", AnswerRules("refuse")).id
        asked = store.add_message(connection, made, None, "user", "q")
        parts = (Reasoning("Hm."), Text("one"))
        one = store.add_message(connection, made, asked.id, "assistant", "one", model="m", parts=parts)
        store.add_message(connection, made, asked.id, "assistant", "two", state="streaming", owner="x")
        more = store.add_message(connection, made, one.id, "user", "more")
        store.update_conversation(connection, made, title="A title")
        return made, more.id

    chats, arranging = offline.chats, offline.arranging
    original, leaf = await offline.database.run(make)
    await arranging.move(original, "art")
    copy = await arranging.duplicate(original)
    assert (copy.title, copy.system_prompt, copy.rules) == ("A title", "Be brief.", AnswerRules("refuse"))
    assert await arranging.folder_of(copy.id) == "art"
    tree = await chats.load(copy.id)
    assert sorted(message.text for message in tree.messages.values()) == ["more", "one", "q", "two"]
    assert [message.text for message in tree.path()] == ["q", "one", "more"]
    assert tree.path()[1].reasoning == "Hm."
    await chats.delete(original)
    assert len((await chats.load(copy.id)).messages) == 4

    # Up to one message: what comes behind it, and beside it, stays behind.
    answer = next(message for message in tree.path() if message.text == "one")
    forked = await chats.load((await arranging.fork(answer.id)).id)
    assert [message.text for message in forked.path()] == ["q", "one"]
    assert len(forked.messages) == 2
    assert forked.conversation.rules == AnswerRules("refuse")
    with pytest.raises(SlmDeskError) as caught:
        await arranging.fork(9999)
    assert caught.value.code == "message_not_found"
    assert leaf not in forked.messages


@pytest.mark.parametrize("indexed", [True, False])
def test_letters_are_found_whatever_their_size_in_any_script(database: Database, indexed: bool) -> None:
    one = database.run_sync(lambda c: talk(c, "ÉCOLE et Ärger", "Это ПРИМЕР"))
    two = database.run_sync(lambda c: talk(c, "école", "ja", title="ΣΟΦΙΑ"))
    if not indexed:
        database.run_sync(lambda c: c.execute("DROP TABLE message_index"))
    assert found(database, "école") == [two, one]
    assert found(database, "ärger пример") == [one]
    assert found(database, "Это") == found(database, "ЭТО") == [one]
    assert found(database, "är") == found(database, "ÄR") == [one]  # shorter than the index knows
    assert found(database, "σοφ") == [two]
    rows = database.run_sync(lambda c: search.list_conversations(c, "ПРИМЕР", 10))
    assert rows[0].snippet == "Это ПРИМЕР"
    rows = database.run_sync(lambda c: search.list_conversations(c, "примеР", 10))
    assert rows[0].snippet == "Это ПРИМЕР"
