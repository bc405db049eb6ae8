from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from slmdesk.chat import export, store
from slmdesk.chat.rules import AnswerRules
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Reasoning, Text


def a_tree(connection: sqlite3.Connection) -> int:
    conversation = store.create_conversation(connection, "slmdesk/desk-guide", "Be short.\nBe kind.")
    asked = store.add_message(connection, conversation.id, None, "user", "What is a quant?")
    answer = store.add_message(
        connection, conversation.id, asked.id, "assistant", "", state="streaming", model="slmdesk/desk-guide"
    )
    error = SlmDeskError("engine_killed", "Killed.", "Again.").to_json()
    store.finish_message(connection, answer.id, "A wei", "interrupted", stats={"usage": {}}, error=error)
    other = store.add_message(connection, conversation.id, asked.id, "assistant", "A weight format — ¼.")
    store.update_conversation(connection, conversation.id, title="What is a quant?", active_leaf=other.id)
    return conversation.id


def test_markdown_shows_the_active_path(database: Database) -> None:
    tree = database.run_sync(lambda c: store.load_tree(c, a_tree(c)))
    text = export.to_markdown(tree)
    assert text.startswith("# What is a quant?\n")
    assert "> Be short.\n> Be kind." in text
    assert "A weight format — ¼." in text
    assert "A wei\n" not in text
    first_answer = next(m for m in tree.messages.values() if m.state == "interrupted")
    assert "(interrupted)\n\nA wei\n" in export.to_markdown(
        type(tree)(
            database.run_sync(
                lambda c: (
                    store.update_conversation(c, tree.conversation.id, active_leaf=first_answer.id),
                    store.get_conversation(c, tree.conversation.id),
                )[1]
            ),
            tree.messages.values(),
        )
    )


def test_reasoning_stays_out_of_markdown_and_in_json(database: Database) -> None:
    def add(connection: sqlite3.Connection) -> int:
        conversation = store.create_conversation(connection, "m", "")
        asked = store.add_message(connection, conversation.id, None, "user", "What is <think>?")
        store.add_message(
            connection,
            conversation.id,
            asked.id,
            "assistant",
            "A mark.",
            parts=(Reasoning("\nHm.\n"), Text("A mark.")),
        )
        return conversation.id

    tree = database.run_sync(lambda c: store.load_tree(c, add(c)))
    assert "Hm." not in export.to_markdown(tree)
    assert "What is <think>?" in export.to_markdown(tree)
    assert "A mark." in export.to_markdown(tree)
    text = export.to_json(tree)
    assert json.loads(text)["messages"][1]["parts"][0] == {"type": "reasoning", "text": "\nHm.\n"}
    again = database.run_sync(lambda c: store.load_tree(c, export.from_json(c, text)))
    assert [(m.text, m.parts) for m in again.path()] == [(m.text, m.parts) for m in tree.path()]


def test_reasoning_in_the_text_of_an_older_export_is_told_apart(database: Database) -> None:
    older = json.loads(spoiled())
    assert older["version"] == 1
    marked = {"id": 2, "parent_id": 1, "role": "assistant", "created_at": 1.0}
    older["active_leaf"] = 2
    older["messages"].append({**marked, "text": "<think>\nHm.\n</think>\n\nA mark."})
    tree = database.run_sync(lambda c: store.load_tree(c, export.from_json(c, json.dumps(older))))
    answer = tree.path()[-1]
    assert (answer.text, answer.reasoning) == ("A mark.", "Hm.")
    older["version"] = 2  # then it is what the answer says
    tree = database.run_sync(lambda c: store.load_tree(c, export.from_json(c, json.dumps(older))))
    assert tree.path()[-1].text.startswith("<think>")


def test_json_comes_back_as_it_went(database: Database) -> None:
    tree = database.run_sync(lambda c: store.load_tree(c, a_tree(c)))
    text = export.to_json(tree)
    copied_id = database.run_sync(lambda c: export.from_json(c, text))
    copied = database.run_sync(lambda c: store.load_tree(c, copied_id))
    assert copied_id != tree.conversation.id
    assert [m.text for m in copied.path()] == [m.text for m in tree.path()]

    def shape(document: dict[str, Any]) -> dict[str, Any]:
        order = [message["id"] for message in document["messages"]]
        number = {known: order.index(known) for known in order} | {None: None}
        for message in document["messages"]:
            message["id"], message["parent_id"] = number[message["id"]], number[message["parent_id"]]
        document["active_leaf"] = number[document["active_leaf"]]
        return document

    assert shape(json.loads(export.to_json(copied))) == shape(json.loads(text))


def spoiled(**changes: Any) -> str:
    message = {"id": 1, "parent_id": None, "role": "user", "text": "q", "created_at": 1.0}
    document = {
        "format": "slmdesk-conversation",
        "version": 1,
        "title": "t",
        "created_at": 1.0,
        "active_leaf": 1,
        "messages": [message],
    }
    document |= {
        key: value for key, value in changes.items() if key in {"version", "messages", "format", "title"}
    }
    message |= {key: value for key, value in changes.items() if key not in document}
    message |= {
        key.removeprefix("message_"): value for key, value in changes.items() if key.startswith("message_")
    }
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "import_invalid"),
        ("[]", "import_invalid"),
        ("[" * 100_000, "import_invalid"),
        ('{"format": "other"}', "import_invalid"),
        (spoiled(version=99), "import_newer"),
        (spoiled(version="1"), "import_invalid"),
        (spoiled(messages={}), "import_invalid"),
        (spoiled(messages=[3]), "import_invalid"),
        (spoiled(title=4), "import_invalid"),
        (spoiled(role="system"), "import_invalid"),
        (spoiled(parent_id=1), "import_invalid"),
        (spoiled(parent_id=2), "import_invalid"),
        (spoiled(text=None), "import_invalid"),
        (spoiled(stats=[1]), "import_invalid"),
        (spoiled(error="no"), "import_invalid"),
        (spoiled(message_created_at="noon"), "import_invalid"),
    ],
)
def test_a_damaged_file_adds_nothing(database: Database, text: str, code: str) -> None:
    with pytest.raises(SlmDeskError) as raised:
        database.run_sync(lambda c: export.from_json(c, text))
    assert raised.value.code == code
    assert raised.value.hint
    assert database.run_sync(lambda c: c.execute("SELECT COUNT(*) FROM conversations").fetchone()[0]) == 0


def test_the_plain_sample_of_these_tests_is_taken(database: Database) -> None:
    conversation_id = database.run_sync(lambda c: export.from_json(c, spoiled()))
    tree = database.run_sync(lambda c: store.load_tree(c, conversation_id))
    assert [m.text for m in tree.path()] == ["q"]


def test_how_answers_are_made_goes_along(database: Database) -> None:
    rules = AnswerRules("keep_ends", '{"type": "object"}')
    made = database.run_sync(lambda c: store.create_conversation(c, "m", "", rules))
    database.run_sync(lambda c: store.add_message(c, made.id, None, "user", "q"))
    text = export.to_json(database.run_sync(lambda c: store.load_tree(c, made.id)))
    again = database.run_sync(lambda c: store.load_tree(c, export.from_json(c, text)))
    assert again.conversation.rules == rules
    for wrong in ({"overflow": "never"}, {"schema": "{"}, 3):
        spoilt = json.dumps({**json.loads(text), "rules": wrong})
        with pytest.raises(SlmDeskError) as caught:
            database.run_sync(lambda c, spoilt=spoilt: export.from_json(c, spoilt))  # type: ignore[misc]
        assert caught.value.code == "import_invalid"
