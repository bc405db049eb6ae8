from __future__ import annotations

import sqlite3
import time

import pytest

from slmdesk.chat import search, store
from slmdesk.chat.tree import Message
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Reasoning, Text


def talk(connection: sqlite3.Connection, *texts: str, title: str = "") -> int:
    """A conversation of these messages, person first."""
    conversation = store.create_conversation(connection, "m", "")
    parent: int | None = None
    for number, text in enumerate(texts):
        role = "assistant" if number % 2 else "user"
        parent = store.add_message(connection, conversation.id, parent, role, text).id
    store.update_conversation(connection, conversation.id, title=title or texts[0])
    return conversation.id


def found(database: Database, words: str) -> list[int]:
    return [row.id for row in database.run_sync(lambda c: search.list_conversations(c, words, 100))]


def test_branches_share_their_beginning(database: Database) -> None:
    def build(connection: sqlite3.Connection) -> tuple[int, list[Message]]:
        conversation = store.create_conversation(connection, "m", "")
        asked = store.add_message(connection, conversation.id, None, "user", "q")
        one = store.add_message(connection, conversation.id, asked.id, "assistant", "one")
        more = store.add_message(connection, conversation.id, one.id, "user", "more")
        two = store.add_message(connection, conversation.id, asked.id, "assistant", "two")
        return conversation.id, [asked, one, more, two]

    conversation_id, (asked, one, more, two) = database.run_sync(build)
    tree = database.run_sync(lambda c: store.load_tree(c, conversation_id))
    assert [m.text for m in tree.path()] == ["q", "two"]
    assert [m.text for m in tree.path(more.id)] == ["q", "one", "more"]
    assert [m.id for m in tree.siblings(two.id)] == [one.id, two.id]
    assert [m.id for m in tree.siblings(asked.id)] == [asked.id]
    assert tree.newest_leaf(one.id) == more.id
    assert tree.newest_leaf(asked.id) == two.id


def test_the_list_is_ordered_and_leaves_out_what_is_not_there(database: Database) -> None:
    def build(connection: sqlite3.Connection) -> tuple[int, int, int, int]:
        first, second, deleted = talk(connection, "a"), talk(connection, "b"), talk(connection, "c")
        empty = store.create_conversation(connection, "m", "").id
        store.update_conversation(connection, first, updated_at=time.time() + 10)
        store.update_conversation(connection, deleted, deleted_at=time.time())
        return first, second, deleted, empty

    first, second, deleted, empty = database.run_sync(build)
    assert found(database, "") == [first, second]
    database.run_sync(lambda c: store.save_draft(c, empty, "half a thou"))
    assert set(found(database, "")) == {first, second, empty}
    database.run_sync(lambda c: store.update_conversation(c, deleted, deleted_at=None))
    assert deleted in found(database, "")


def test_search_finds_parts_of_words_in_titles_and_text(database: Database) -> None:
    def build(connection: sqlite3.Connection) -> list[int]:
        return [
            talk(connection, "What is quantization?", "It makes weights smaller."),
            talk(connection, "Wie groß ist der Speicher?", "Übergröße: 100 % of 4_GB", title="Memory"),
            talk(connection, "量子化とは何ですか", "重みを小さくします"),
        ]

    quant, memory, japanese = database.run_sync(build)
    assert found(database, "uantiz") == [quant]
    assert found(database, "WEIGHTS smaller") == [quant]
    assert found(database, "übergröße") == [memory]
    assert found(database, "memory") == [memory]
    assert found(database, "memory smaller") == []
    assert found(database, "小さく") == [japanese]
    assert found(database, "量子") == [japanese]  # shorter than a trigram
    assert found(database, "100 %") == [memory]
    assert found(database, "4_") == [memory]  # _ is no wildcard
    assert found(database, '" OR 1 NEAR(') == []
    rows = database.run_sync(lambda c: search.list_conversations(c, "smaller", 10))
    assert rows[0].snippet == "It makes weights smaller."
    assert rows[0].messages == 2


@pytest.mark.parametrize("indexed", [True, False])
def test_what_a_model_thought_aloud_is_not_searched(database: Database, indexed: bool) -> None:
    answer = "It is Paris, ok."

    def add(connection: sqlite3.Connection) -> int:
        made = talk(connection, "<think> about the capital", answer)
        message = store.load_tree(connection, made).path()[-1]
        thought = (Reasoning("\nPerhaps Lyon, ok?\n"), Text(answer))
        store.finish_message(connection, message.id, answer, "complete", parts=thought, stats={}, error=None)
        return made

    talk_id = database.run_sync(add)
    if not indexed:
        database.run_sync(lambda c: c.execute("DROP TABLE message_index"))
    assert found(database, "Paris") == found(database, "<think>") == found(database, "ok") == [talk_id]
    assert found(database, "Lyon") == found(database, "k?") == []
    rows = database.run_sync(lambda c: search.list_conversations(c, "ok", 10))
    assert rows[0].snippet == "It is Paris, ok."


def test_search_works_without_the_index(database: Database) -> None:
    conversation_id = database.run_sync(lambda c: talk(c, "What is quantization?", "Smaller weights."))
    database.run_sync(lambda c: c.execute("DROP TABLE message_index"))
    assert found(database, "antiz smaller") == [conversation_id]
    other = database.run_sync(lambda c: talk(c, "And what is pruning?"))
    assert found(database, "pruning") == [other]


def test_text_that_still_grows_is_found_once_it_ended(database: Database) -> None:
    def begin(connection: sqlite3.Connection) -> tuple[int, int]:
        conversation = store.create_conversation(connection, "m", "")
        asked = store.add_message(connection, conversation.id, None, "user", "hello")
        answer = store.add_message(
            connection, conversation.id, asked.id, "assistant", "", state="streaming", owner="x"
        )
        store.save_answer(connection, answer.id, "wonderful")
        return conversation.id, answer.id

    conversation_id, answer_id = database.run_sync(begin)
    ended = database.run_sync(
        lambda c: store.finish_message(
            c, answer_id, "wonderful day", "complete", stats={"usage": {"prompt_tokens": 3}}, error=None
        )
    )
    assert (ended.text, ended.state, ended.stats) == (
        "wonderful day",
        "complete",
        {"usage": {"prompt_tokens": 3}},
    )
    assert ended.finished_at is not None
    assert found(database, "wonderful day") == [conversation_id]


def test_answers_of_dead_processes_are_interrupted(database: Database) -> None:
    def begin(connection: sqlite3.Connection) -> list[int]:
        conversation = store.create_conversation(connection, "m", "")
        ids = []
        for owner in ("dead", "alive"):
            answer = store.add_message(
                connection, conversation.id, None, "assistant", owner, state="streaming", owner=owner
            )
            ids.append(answer.id)
        return ids

    dead_id, alive_id = database.run_sync(begin)
    count = database.run_sync(lambda c: store.interrupt_dead(c, lambda _id, owner: owner == "alive"))
    assert count == 1
    dead = database.run_sync(lambda c: store.get_message(c, dead_id))
    assert (dead.state, dead.text) == ("interrupted", "dead")
    assert dead.error is not None
    assert dead.error["code"] == "answer_interrupted"
    assert database.run_sync(lambda c: store.get_message(c, alive_id)).state == "streaming"


def test_purging_removes_for_good(database: Database) -> None:
    def build(connection: sqlite3.Connection) -> tuple[int, int, int]:
        old, kept = talk(connection, "old secret words"), talk(connection, "kept")
        store.update_conversation(connection, old, deleted_at=1000.0)
        store.update_conversation(connection, kept, deleted_at=time.time())
        empty = store.create_conversation(connection, "m", "").id
        store.update_conversation(connection, empty, created_at=1000.0)
        return old, kept, empty

    old, kept, empty = database.run_sync(build)
    assert database.run_sync(lambda c: store.purge(c, 2000.0, 2000.0)) == 2
    for gone in (old, empty):
        with pytest.raises(SlmDeskError, match="no conversation"):
            database.run_sync(lambda c, gone=gone: store.get_conversation(c, gone))
    database.run_sync(lambda c: store.get_conversation(c, kept))
    left = database.run_sync(lambda c: c.execute("SELECT text FROM message_index").fetchall())
    assert [row[0] for row in left] == ["kept"]


def test_drafts_are_kept_by_conversation(database: Database) -> None:
    database.run_sync(lambda c: store.save_draft(c, 0, "for a new chat"))
    database.run_sync(lambda c: store.save_draft(c, 7, "one"))
    database.run_sync(lambda c: store.save_draft(c, 7, "two"))
    assert database.run_sync(lambda c: store.load_draft(c, 7)) == "two"
    assert database.run_sync(lambda c: store.load_draft(c, 0)) == "for a new chat"
    database.run_sync(lambda c: store.save_draft(c, 7, ""))
    assert database.run_sync(lambda c: store.load_draft(c, 7)) == ""
