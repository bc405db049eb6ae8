"""The conversation in the terminal: a prompt with history, answers as they come, a few commands."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output

from slmdesk.cli.answers import on_interrupt, show_turn, speed_text
from slmdesk.cli.calls import CallDesk
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from prompt_toolkit.key_binding import KeyPressEvent

    from slmdesk.application import Application
    from slmdesk.chat.tree import Conversation
    from slmdesk.chat.turns import TurnEvent, TurnOptions
    from slmdesk.cli.output import Output

HELP = (
    ("/new", "start a new conversation; this one is kept"),
    ("/model [MODEL]", "answer with another model; without a name: show them"),
    (
        "/system [TEXT]",
        "instructions for this conversation from here on; - takes them away; without a text: show them",
    ),
    ("/tools [NAME …]", "let the model use these tools; - takes them away; without names: show them"),
    ("/regenerate [MODEL]", "write the last answer anew; with another model for this once"),
    ("/help", "show this"),
    ("/exit", "leave (also Ctrl-D, or Ctrl-C twice)"),
    ("Alt+Enter", "a new line; so does \\ at the end of a line"),
    ("Ctrl-C", "stop the answer"),
)


class Terminal:
    """One run of the interactive chat."""

    def __init__(
        self,
        application: Application,
        out: Output,
        conversation: Conversation,
        options: TurnOptions,
        *,
        keep: bool,
        free: bool = False,
    ) -> None:
        """`free`: tools are called without asking."""
        self._chats = application.chats
        self._application = application
        self._out = out
        self._conversation = conversation
        self._options = options
        self._free = free
        self._told_form = ""  # the form that stands in for a chat template, once the person was told
        history = _file_history(application.paths.data / "chat_history") if keep else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            history=history,
            multiline=True,
            key_bindings=_key_bindings(),
            prompt_continuation="  ",
            # The answers may be piped elsewhere; the prompt belongs to the person.
            output=create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr),
        )

    async def run(self) -> int:
        """Talk until the person leaves; returns the exit code."""
        self._out.note(f"{self._model()}  ·  /help shows what can be typed  ·  Ctrl-D leaves")
        leaving = False
        prompt = ANSI(self._out.bold("› "))
        while True:
            try:
                text = (await self._session.prompt_async(prompt)).strip()
            except KeyboardInterrupt:
                if leaving:
                    return 0
                leaving = True
                self._out.note("Press Ctrl-C again to leave.")
                continue
            except EOFError:
                return 0
            leaving = False
            if not text:
                continue
            try:
                if not await self._take(text):
                    return 0
            except SlmDeskError as error:
                self._out.problem(error)

    async def _take(self, text: str) -> bool:
        """Act on one input; False when the person wants to leave."""
        word, _, rest = text.partition(" ")
        match word:
            case "/exit" | "/quit":
                return False
            case "/help":
                self._out.fields(HELP)
            case "/new":
                conversation = self._conversation
                self._conversation = await self._chats.create(
                    conversation.model or None, conversation.system_prompt, tools=conversation.tools
                )
                self._out.note("A new conversation.")
            case "/model":
                await self._switch(rest.strip())
            case "/system":
                await self._instruct(rest.strip())
            case "/tools":
                await self._choose_tools(rest.split())
            case "/regenerate":
                await self._regenerate(rest.strip())
            case _ if word.startswith("/") and word[1:].isalpha() and not rest:
                raise SlmDeskError("unknown_command", f"There is no command {word}.", "/help lists them.")
            case _:
                await self._show(self._chats.send(self._conversation.id, text, self._options))
        return True

    async def _switch(self, model: str) -> None:
        if model:
            await self._chats.set_model(self._conversation.id, model)
            self._conversation = (await self._chats.load(self._conversation.id)).conversation
            self._out.note(f"{self._model()} answers from here on.")
            return
        self._out.text(f"{self._model()} answers. On this machine are:")
        for known in await self._application.library.models():
            for file in known.files:
                self._out.text(f"  {file.id}")

    async def _instruct(self, text: str) -> None:
        if text:
            await self._chats.set_system_prompt(self._conversation.id, "" if text == "-" else text)
            self._conversation = (await self._chats.load(self._conversation.id)).conversation
        told = self._conversation.system_prompt
        if not text:
            self._out.text(told or "This conversation has no instructions.")
        else:
            self._out.note("That counts from here on." if told else "There are no instructions any more.")

    async def _choose_tools(self, names: list[str]) -> None:
        chosen = self._conversation.tools
        if names:
            wanted = [] if names == ["-"] else names
            chosen = await self._application.tools.choose(wanted, [] if names == ["-"] else chosen.files)
            await self._chats.set_tools(self._conversation.id, chosen)
            self._conversation = (await self._chats.load(self._conversation.id)).conversation
        told = ", ".join((*chosen.names, *(f"reading {file}" for file in chosen.files)))
        self._out.note(f"Tools: {told}." if told else "No tools. “slmdesk tools” shows what there is.")

    async def _regenerate(self, model: str) -> None:
        tree = await self._chats.load(self._conversation.id)
        if not (path := tree.path()):
            raise SlmDeskError("nothing_to_regenerate", "There is no answer yet.", "Type a question first.")
        await self._show(self._chats.regenerate(path[-1].id, replace(self._options, model=model)))

    async def _show(self, events: AsyncGenerator[TurnEvent, None]) -> None:
        stopping: set[asyncio.Task[None]] = set()

        def stop() -> None:
            stopping.add(asyncio.ensure_future(self._chats.stop(self._conversation.id)))

        with on_interrupt(stop):
            async with aclosing(events):
                calls = CallDesk(self._chats, self._conversation.id, self._out, free=self._free)
                answer = await show_turn(events, self._out, self._told_form, calls)
            await asyncio.gather(*stopping)
        self._told_form = str(answer.stats.get("chat_form", ""))
        if answer.error is not None:
            self._out.problem(SlmDeskError.from_json(answer.error))
        elif answer.state == "stopped":
            self._out.note("Stopped. What was written is kept.")
        elif summary := speed_text(answer.stats):
            self._out.note(summary)
        self._out.text()

    def _model(self) -> str:
        return self._conversation.model or self._application.library.usual_model


def _file_history(path: Path) -> History:
    """The history file, readable by its owner alone; in memory where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return bindings
