"""The tour through the Chat page."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from slmdesk.gui.chat.names import BUILT_IN, STARTER
from slmdesk.gui.tour.driver import LONG_S, NARROW, SMALLEST, WIDE

if TYPE_CHECKING:
    from slmdesk.chat.tree import Conversation
    from slmdesk.gui.chat.call_card import CallCard
    from slmdesk.gui.chat.chat_controller import ChatController
    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.tour.driver import Driver

GENERAL, RIGHT = "What is the capital of France?", "Paris"
QUESTION = "Which quant should I choose?"
SECOND = "What is a token?"
THIRD = "How do I start the API for other programs?"

SHOWCASE = """Two lines of Python read a model's header. A GGUF file begins with four letters and a version:

```python
from pathlib import Path

def version(path: Path) -> int:
    \"\"\"The version of a GGUF file; raises ValueError for anything else.\"\"\"
    head = path.read_bytes()[:8]
    if head[:4] != b"GGUF":
        raise ValueError(f"{path.name} is not a GGUF file")
    return int.from_bytes(head[4:], "little")
```

What follows is a list of keys and values, then one entry a tensor:

| part | what it holds | size |
| --- | --- | ---: |
| header | counts of tensors and keys | 24 bytes |
| metadata | architecture, tokenizer, template | 1 to 10 MB |
| tensors | name, shape, type, offset | 60 bytes each |

1. **Check** the counts before you believe them.
2. *Skip* the vocabulary unless you need it.
3. Compare each offset with the size of the file.

> A reader that trusts a length it was given will one day ask for all the memory there is.
"""


async def first_start(driver: Driver) -> None:
    async with driver.step("First start: a model, an honest line, examples of what to ask") as step:
        pane = driver.chat.pane
        name = "SmolLM2" if has_starter(driver) else "Desk Guide"
        await driver.until(
            lambda: name in pane.composer.model_button.text() and _controller(driver).model_entry is not None,
            "the model's name",
        )
        driver.check(pane.empty, "the first start is not shown.")
        asked = [button.text() for button in (*pane.first_start.questions, *pane.first_start.guide_questions)]
        driver.check(len(asked) == (6 if has_starter(driver) else 3), f"the examples are {asked}.")
        step.saw += [pane.composer.model_button.text(), *asked]
        await driver.shoot("first-start", WIDE, NARROW, SMALLEST)


async def ask_starter(driver: Driver) -> None:
    if not has_starter(driver):
        return
    async with driver.step("A general question is answered right by the starter") as step:
        await ask(driver, GENERAL)
        await answered(driver, 1, least=len(RIGHT))
        message = _last(driver).message
        driver.check(RIGHT in message.text, f"the answer is {message.text!r}.")
        driver.check(message.model.partition(":")[0] == STARTER, f"{message.model} answered.")
        step.saw += [message.model, message.text]
        await driver.shoot("starter", WIDE, NARROW)


async def ask_guide(driver: Driver) -> None:
    async with driver.step("“Ask about SLM Desk” opens a chat with Desk Guide") as step:
        await new_guide_chat(driver)
        usual = driver.application.library.usual_model
        driver.check((usual == STARTER) == has_starter(driver), f"new chats begin with {usual} now.")
        step.saw += [button.text() for button in driver.chat.pane.first_start.questions]


async def ask_by_button(driver: Driver) -> None:
    async with driver.step("A click on an example question is answered") as step:
        await driver.click(driver.chat.pane.first_start.questions[0])
        await answered(driver, 1)
        step.saw.append(_last(driver).message.text)
        step.saw.append(driver.chat.pane.composer.speed_words)
        await driver.shoot("answer", WIDE, NARROW)


async def ask_by_typing(driver: Driver) -> None:
    async with driver.step("A typed question is answered in the same conversation") as step:
        await ask(driver, QUESTION)
        await answered(driver, 2)
        step.saw.append(_last(driver).message.text)


async def regenerate(driver: Driver) -> None:
    async with driver.step("Another answer stands beside the first") as step:
        await driver.key(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        palette = driver.window.palette_of_actions()
        await driver.until(palette.isVisible, "the palette")
        await driver.type(palette.focusWidget() or palette, "regenerate")
        driver.check(bool(palette.titles), "the palette finds nothing to regenerate.")
        await driver.key(Qt.Key.Key_Return, widget=palette.focusWidget())
        await driver.until(lambda: _last(driver).branches == 2, "the second answer")
        await answered(driver, 2)
        step.saw.append(f"{_last(driver).branch + 1}/{_last(driver).branches}")


async def edit_and_resend(driver: Driver) -> None:
    async with driver.step("An edited question gets an answer of its own, and the old branch stays") as step:
        await driver.key(Qt.Key.Key_Up, widget=driver.chat.pane.composer.field)
        asked = driver.messages[-2]
        view = driver.chat.pane.messages.view_of(asked.id)
        assert view is not None
        await driver.until(lambda: view.editing, "the field to edit in")
        editor = driver.window.focusWidget()
        assert editor is not None
        await driver.key(Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier, editor)
        await driver.type(editor, SECOND)
        await driver.key(Qt.Key.Key_Return, widget=editor)
        await driver.until(lambda: driver.messages[-2].message.text == SECOND, "the edited question")
        await answered(driver, 2)
        driver.check(driver.messages[-2].branches == 2, "the question before the edit is gone.")
        step.saw.append(_last(driver).message.text)
        await driver.shoot("edited")


async def formatted(driver: Driver) -> None:
    async with driver.step("A long answer with code and a table, imported from an export"):
        rows: list[dict[str, object]] = [
            {"id": 1, "parent_id": None, "role": "user", "text": "How do I read a GGUF header in Python?"},
            {"id": 2, "parent_id": 1, "role": "assistant", "text": SHOWCASE, "model": "slmdesk/desk-guide"},
        ]
        conversation = await _imported(driver, "Reading a GGUF header", rows)
        driver.chat.controller.open(conversation.id)
        await driver.until(
            lambda: len(driver.messages) == 2 and "GGUF" in _last(driver).message.text, "the import"
        )
        await driver.until(lambda: _complete(driver), "the formatted answer")
        await driver.shoot("formatted", WIDE, NARROW, SMALLEST)


async def tools(driver: Driver) -> None:
    """A model of this size does not call tools by itself: the call stands in what is imported, and is made here."""
    async with driver.step("A tool is chosen, its call approved, and its result goes to the model") as step:
        call = {
            "type": "tool_call",
            "id": "c1",
            "name": "calculator",
            "arguments": '{"expression": "17 * 23"}',
        }
        rows: list[dict[str, object]] = [
            {"id": 1, "parent_id": None, "role": "user", "text": "What is 17 * 23?"},
            {"id": 2, "parent_id": 1, "role": "assistant", "text": "", "parts": [call]},
        ]
        conversation = await _imported(driver, "A calculation", rows)
        driver.chat.open(conversation.id)
        await driver.until(lambda: len(driver.messages) == 2 and bool(_last(driver).calls), "the call")
        button = driver.chat.pane.composer.tools_button
        await driver.click(button)
        await driver.until(lambda: driver.chat.tools.menu is not None, "the menu of tools")
        await driver.shoot("tools-menu", WIDE)
        menu = driver.chat.tools.menu
        assert menu is not None
        menu.actions()[0].trigger()
        menu.close()
        await driver.until(lambda: button.text() == "Calculator", "the choice")
        driver.chat.controller.continue_from(_last(driver).id)
        await driver.until(
            lambda: bool(_cards(driver, 1)) and bool(_cards(driver, 1)[0].buttons), "the question"
        )
        await driver.shoot("tool-asked", WIDE, NARROW, SMALLEST)
        await driver.click(_cards(driver, 1)[0].buttons[0])
        await driver.until(lambda: len(driver.messages) == 3 and not _last(driver).live, "the answer", LONG_S)
        words = _cards(driver, 1)[0].words
        driver.check(words.startswith("Called calculator"), f"the card says {words!r}.")
        driver.check(_last(driver).message.error is None, f"the answer failed: {_last(driver).message.error}")
        step.saw += [words, _last(driver).message.text]
        await driver.shoot("tool-called", WIDE, NARROW)


def _cards(driver: Driver, number: int) -> list[CallCard]:
    """The cards of the tools that a message calls."""
    view = driver.chat.pane.messages.view_of(driver.messages[number].id)
    return view.calls.cards if view is not None else []


async def _imported(driver: Driver, title: str, rows: list[dict[str, object]]) -> Conversation:
    """A conversation of these messages, by way of an import."""
    now = time.time()
    known = {"state": "complete", "model": "", "created_at": now, "finished_at": now, "stats": {}}
    document = {
        "format": "slmdesk-conversation",
        "version": 1,
        "title": title,
        "model": "",
        "system_prompt": "",
        "created_at": now,
        "active_leaf": rows[-1]["id"],
        "messages": [{**known, **row} for row in rows],
    }
    return await driver.application.chats.import_json(json.dumps(document))


async def survive_engine(driver: Driver) -> None:
    async with driver.step("The engine is killed; the next message is answered all the same") as step:
        import psutil

        await new_guide_chat(driver)
        client = await driver.application.connector.connect()
        service = psutil.Process((await client.health())["pid"])
        engines = service.children()
        driver.check(bool(engines), "no engine is running.")
        for engine in engines:
            engine.kill()
        await ask(driver, THIRD)
        await answered(driver, 1)
        step.saw.append(_last(driver).message.text)


async def damaged_model(driver: Driver) -> None:
    async with driver.step("A damaged file is named as such in the list of models") as step:
        folder = driver.application.paths.models / "example" / "cut-short"
        folder.mkdir(parents=True)
        whole = driver.application.paths.builtin_model.read_bytes()
        (folder / "cut-short-F16.gguf").write_bytes(whole[: len(whole) // 3])
        await driver.click(driver.chat.pane.composer.model_button)
        controller = driver.chat.controller
        await driver.until(
            lambda: any("cut-short" in entry.id and entry.problem for entry in controller.entries),
            "the damaged model in the list",
        )
        step.saw += [entry.problem for entry in controller.entries if entry.problem]
        await driver.shoot("models")
        await driver.key(Qt.Key.Key_Escape)
        await driver.until(lambda: QApplication.activePopupWidget() is None, "the end of the list")


async def find_and_delete(driver: Driver) -> None:
    async with driver.step("A conversation is found, deleted, and brought back by Undo") as step:
        conversations = driver.chat.list
        await driver.type(conversations.search, "header")
        await driver.until(lambda: conversations.model.rowCount() > 0, "the conversation")
        found = [s.title for s in await driver.application.chats.conversations("header")]
        driver.check(found == ["Reading a GGUF header"], f"the search found {found}.")
        conversation = (await driver.application.chats.conversations("header"))[0]
        driver.chat.delete(conversation.id)
        await driver.until(lambda: bool(driver.window.message), "the toast")
        step.saw.append(driver.window.message)
        await driver.shoot("deleted")
        driver.check(driver.window.undo(), "the toast offers no Undo.")
        await driver.until_found(
            lambda: driver.application.chats.conversations("header"),
            "the conversation, brought back by Undo,",
        )
        conversations.search.clear()


async def ask(driver: Driver, text: str) -> None:
    """Type a question and send it with Enter."""
    composer = driver.chat.pane.composer
    await driver.type(composer.field, text)
    driver.check(composer.text == text, f"the composer holds {composer.text!r}.")
    await driver.key(Qt.Key.Key_Return, widget=composer.field)


async def new_guide_chat(driver: Driver) -> None:
    """Open a chat with Desk Guide as a person does, through the palette."""
    await driver.key(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = driver.window.palette_of_actions()
    await driver.until(palette.isVisible, "the palette")
    await driver.type(palette.focusWidget() or palette, "ask about")
    driver.check("Ask about SLM Desk" in palette.titles[:1], f"the palette offers {palette.titles}.")
    await driver.key(Qt.Key.Key_Return, widget=palette.focusWidget())
    await driver.until(
        lambda: driver.chat.pane.empty and _controller(driver).model.partition(":")[0] == BUILT_IN,
        "a new chat with Desk Guide",
    )


def has_starter(driver: Driver) -> bool:
    return driver.application.paths.starter_model is not None


def _controller(driver: Driver) -> ChatController:
    return driver.chat.controller


def _last(driver: Driver) -> MessageItem:
    return driver.messages[-1]


def _complete(driver: Driver) -> bool:
    view = driver.chat.pane.messages.view_of(_last(driver).id)
    return view is not None and view.complete


async def answered(driver: Driver, turns: int, *, least: int = 20) -> None:
    """Wait until the last of so many turns is answered whole, in more than `least` letters, and shown."""
    await driver.until(
        lambda: len(driver.messages) == 2 * turns and _last(driver).answer and not _last(driver).live,
        "the answer",
        LONG_S,
    )
    message = _last(driver).message
    driver.check(message.state == "complete", f"the answer is {message.state}: {message.error}")
    driver.check(len(message.text) > least, f"the answer is only {message.text!r}.")
    await driver.until(lambda: _complete(driver), "the answer's text in the window")


STEPS = (
    first_start,
    ask_starter,
    ask_guide,
    ask_by_button,
    ask_by_typing,
    regenerate,
    edit_and_resend,
    formatted,
    tools,
    survive_engine,
    damaged_model,
    find_and_delete,
)
