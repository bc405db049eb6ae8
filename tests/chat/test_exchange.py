"""Conversations in other programs' forms: written for them, and read from them."""

from __future__ import annotations

import json
import re
import sqlite3
import zipfile
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from slmdesk.application import Application
from slmdesk.chat import export, store
from slmdesk.chat.import_forms import read_conversations
from slmdesk.chat.tree import ConversationTree
from slmdesk.core.database import Database
from slmdesk.core.errors import SlmDeskError
from slmdesk.inference.asks import Reasoning, Text, ToolCall, ToolResult


@pytest.fixture
async def offline(tmp_path: Path) -> AsyncIterator[Application]:
    application = Application.build({"SLMDESK_HOME": str(tmp_path / "home"), "SLMDESK_STARTER": ""})
    await application.chats.open()
    yield application
    await application.close()


def a_tree(connection: sqlite3.Connection) -> ConversationTree:
    """A question, a call with its result, an answer with a thought; another answer beside it."""
    made = store.create_conversation(connection, "m", "Be <brief>.").id
    asked = store.add_message(connection, made, None, "user", "Where? <b>&</b>")
    call = (ToolCall("c1", "look", '{"at": "map"}'),)
    called = store.add_message(connection, made, asked.id, "assistant", "", model="m", parts=call)
    told = store.add_message(
        connection, made, called.id, "tool", "", parts=(ToolResult("c1", "There & here"),)
    )
    store.add_message(connection, made, told.id, "assistant", "Another answer", model="m")
    text = "In **Öl**:\n\n```html\n<script>x()</script>\n```\n\n![map](https://maps.example/x.png)\n\n<script>y()</script>"
    parts = (Reasoning("Perhaps <i>there</i>."), Text(text))
    store.add_message(connection, made, told.id, "assistant", text, model="p/m:Q4", parts=parts)
    store.update_conversation(connection, made, title="Where & what")
    return store.load_tree(connection, made)


class Page(HTMLParser):
    """The tags of a page, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_web_page_shows_everything_and_loads_nothing(database: Database) -> None:
    written = export.written(database.run_sync(a_tree), "html")
    page = Page()
    page.feed(written)
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "img", "iframe", "link", "object"} & set(tags)
    assert not [value for _, attrs in page.tags for name in ("src", "onclick") if (value := attrs.get(name))]
    assert {"strong", "pre", "details", "h1"} <= set(tags)
    for words in (
        "Where & what",
        "Be <brief>.",
        "Where? <b>&</b>",
        "Perhaps <i>there</i>.",
        "There & here",
        "Öl",
    ):
        assert words in page.text
    assert "<script>y()</script>" in page.text
    assert "Another answer" not in page.text
    assert ("a", {"href": "https://maps.example/x.png"}) in page.tags


def test_lines_for_training_hold_what_was_said_without_the_thoughts(database: Database) -> None:
    tree = database.run_sync(a_tree)
    [line] = export.written(tree, "openai").splitlines()
    messages = json.loads(line)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "map"}'}
    assert messages[3] == {"role": "tool", "tool_call_id": "c1", "content": "There & here"}
    [line] = export.written(tree, "sharegpt").splitlines()
    turns = json.loads(line)["conversations"]
    assert [turn["from"] for turn in turns] == ["system", "human", "function_call", "observation", "gpt"]
    assert json.loads(turns[2]["value"]) == {"name": "look", "arguments": {"at": "map"}}
    assert "Perhaps" not in json.dumps([messages, turns])


def node(key: str, parent: str | None, role: str = "", *children: str, **content: Any) -> dict[str, Any]:
    message = None
    if role:
        metadata = content.pop("metadata", {})
        body = {"content_type": "text", **content}
        message = {"author": {"role": role}, "content": body, "create_time": 1.7e9, "metadata": metadata}
    return {"id": key, "parent": parent, "children": list(children), "message": message}


CHATGPT = {
    "title": "Walks",
    "create_time": 1.69e9,
    "current_node": "e",
    "mapping": {
        "root": node("root", None, "", "sys"),
        "sys": node("sys", "root", "system", "a", parts=[""]),
        "a": node("a", "sys", "user", "t", "z", parts=["Where?", {"content_type": "image_asset_pointer"}]),
        "t": node(
            "t",
            "a",
            "assistant",
            "tool",
            content_type="thoughts",
            thoughts=[{"summary": "s", "content": "A map."}, {"content": "A path."}],
        ),
        "tool": node("tool", "t", "tool", "b", parts=["{}"]),
        "b": node("b", "tool", "assistant", "c", parts=["There."], metadata={"model_slug": "gpt-x"}),
        "c": node("c", "b", "user", "d", parts=["How far?"]),
        "d": node("d", "c", "assistant", "e", content_type="code", language="python", text="print(3)"),
        "e": node("e", "d", "assistant", parts=["3 km."]),
        "z": node("z", "a", "assistant", parts=["Elsewhere."]),
    },
}
LM_STUDIO = {
    "name": "Trees",
    "createdAt": 1_700_000_000_000,
    "systemPrompt": "",
    "perChatPredictionConfig": {"fields": [{"key": "llm.prediction.systemPrompt", "value": "Be brief."}]},
    "lastUsedModel": {"identifier": "qwen"},
    "messages": [
        {
            "versions": [
                {"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "Oaks?"}]}
            ],
            "currentlySelected": 0,
        },
        {
            "versions": [
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "steps": [{"type": "contentBlock", "content": [{"type": "text", "text": "First."}]}],
                },
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "steps": [
                        {
                            "type": "contentBlock",
                            "style": {"type": "thinking"},
                            "content": [{"type": "text", "text": "Hm."}],
                        },
                        {"type": "debugInfoBlock", "debugInfo": "x"},
                        {
                            "type": "contentBlock",
                            "genInfo": {"identifier": "qwen-4b"},
                            "content": [{"type": "text", "text": "Second."}],
                        },
                    ],
                },
            ],
            "currentlySelected": 1,
        },
        {"versions": [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "And?"}]}]},
    ],
}
OPEN_WEBUI = [
    {
        "title": "Stars",
        "created_at": 1_700_000_000,
        "chat": {
            "title": "Stars",
            "params": {"system": "Be kind."},
            "history": {
                "currentId": "3",
                "messages": {
                    "1": {
                        "id": "1",
                        "parentId": None,
                        "childrenIds": ["2", "3"],
                        "role": "user",
                        "content": "Sun?",
                    },
                    "2": {
                        "id": "2",
                        "parentId": "1",
                        "childrenIds": [],
                        "role": "assistant",
                        "content": "No.",
                    },
                    "3": {
                        "id": "3",
                        "parentId": "1",
                        "childrenIds": [],
                        "role": "assistant",
                        "model": "llama3",
                        "content": '<details type="reasoning" done="true" duration="2">\n<summary>Thought</summary>\n'
                        "> A star &\n> so on.\n</details>\nYes.",
                        "timestamp": 1_700_000_005,
                    },
                },
            },
        },
    }
]


def shown(conversation: Any) -> list[tuple[str, str, str]]:
    """The path shown of what was read: role, text, reasoning."""
    path = []
    at: int | None = len(conversation.messages) - 1 if conversation.leaf < 0 else conversation.leaf
    while at is not None:
        message = conversation.messages[at]
        path.append((message.role, message.text, message.reasoning))
        at = message.parent
    return path[::-1]


def test_chatgpts_tree_is_read_with_its_branches() -> None:
    [read] = read_conversations([CHATGPT])
    assert (read.title, read.created_at) == ("Walks", 1.69e9)
    assert shown(read) == [
        ("user", "Where?", ""),
        ("assistant", "There.", "A map.\n\nA path."),
        ("user", "How far?", ""),
        ("assistant", "```python\nprint(3)\n```", ""),
        ("assistant", "3 km.", ""),
    ]
    assert sorted(message.text for message in read.messages if message.parent == 0) == [
        "Elsewhere.",
        "There.",
    ]
    assert [message.model for message in read.messages if message.text == "There."] == ["gpt-x"]


def test_lm_studios_versions_are_branches() -> None:
    [read] = read_conversations(LM_STUDIO)
    assert (read.title, read.system_prompt, read.created_at) == ("Trees", "Be brief.", 1.7e9)
    assert shown(read) == [("user", "Oaks?", ""), ("assistant", "Second.", "Hm."), ("user", "And?", "")]
    assert [(m.text, m.model) for m in read.messages if m.parent == 0] == [
        ("First.", "qwen"),
        ("Second.", "qwen-4b"),
    ]


def test_open_webuis_history_is_read() -> None:
    [read] = read_conversations(OPEN_WEBUI)
    assert (read.title, read.system_prompt) == ("Stars", "Be kind.")
    assert shown(read) == [("user", "Sun?", ""), ("assistant", "Yes.", "A star &\nso on.")]
    assert len(read.messages) == 3


async def test_files_become_conversations_and_can_be_taken_back(offline: Application, tmp_path: Path) -> None:
    chats, importing = offline.chats, offline.chat_importing
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("sub/conversations.json", json.dumps([CHATGPT] * 45))
        file.writestr("user.json", "{}")
    ids = await importing.import_file(archive)
    assert len(ids) == 45
    tree = await chats.load(ids[0])
    assert [message.text for message in tree.path()][-1] == "3 km."
    assert tree.path()[1].reasoning == "A map.\n\nA path."
    assert len(tree.messages) == 6
    row = (await chats.conversations("Walks"))[0]
    assert (row.title, row.updated_at) == ("Walks", 1.7e9)
    assert [one.id for one in await chats.conversations("elsewhere")] == [
        one.id for one in await chats.conversations()
    ]
    await importing.take_back(ids)
    assert await chats.conversations() == []
    await chats.restore(ids[0])

    # What was written for others comes back, and so does our own.
    original = await offline.database.run(a_tree)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(export.written(original, "openai") + export.written(original, "sharegpt"), "utf-8")
    for made in await importing.import_file(lines):
        copy = await chats.load(made)
        assert copy.conversation.system_prompt == "Be <brief>."
        assert [m.text for m in copy.path()] == ["Where? <b>&</b>", original.path()[-1].text]
    own = tmp_path / "own.json"
    own.write_text(export.written(original, "json"), "utf-8")
    [again] = await importing.import_file(own)
    assert len((await chats.load(again)).messages) == len(original.messages)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.json", b"", "no conversation"),
        ("text.json", b"hello", "no conversation"),
        ("other.json", b'{"a": [1, {"b": null}]}', "no conversation"),
        ("deep.json", b"[" * 100_000, "no conversation"),
        (
            "rubbish.json",
            b'[{"mapping": {"a": 3, "b": {"parent": "b", "children": ["b", 7], "message": []}}}]',
            "no con",
        ),
        ("latin.json", "é".encode("latin-1"), "UTF-8"),
        ("broken.zip", b"PK\x03\x04" + b"x" * 40, "no conversation|UTF-8|archive"),
    ],
)
async def test_what_is_no_export_is_refused_and_adds_nothing(
    offline: Application, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(SlmDeskError) as caught:
        await offline.chat_importing.import_file(path)
    assert caught.value.code == "import_invalid"
    assert re.search(said, caught.value.message)
    with pytest.raises(SlmDeskError) as caught:
        await offline.chat_importing.import_file(tmp_path / "none.json")
    assert caught.value.code == "file_not_found"
    assert await offline.chats.conversations() == []


async def test_an_archive_without_conversations_is_refused(offline: Application, tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(SlmDeskError) as caught:
        await offline.chat_importing.import_file(path)
    assert "holds no conversations.json" in caught.value.message
