"""What a person can do with conversations: each action of a front end is a method here."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from slmdesk.chat import export as exporting
from slmdesk.chat import search as searching
from slmdesk.chat import store
from slmdesk.chat.rules import NO_RULES, AnswerRules, schema_of
from slmdesk.chat.titles import title_of
from slmdesk.chat.tree import OTHER_MODEL
from slmdesk.chat.turn_options import turn_request
from slmdesk.chat.turn_run import TurnRun, TurnTools
from slmdesk.chat.turns import ConversationsChanged, MessageStored, TurnEvent, TurnOptions
from slmdesk.core.errors import SlmDeskError
from slmdesk.core.processes import process_alive, process_create_time
from slmdesk.inference.asks import Ask
from slmdesk.inference.wire import encoded
from slmdesk.library.in_force import metadata_of
from slmdesk.library.shipped import first_instructions
from slmdesk.tools.selection import NO_TOOLS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable

    from slmdesk.chat.calling import Decision
    from slmdesk.chat.tree import Conversation, ConversationSummary, ConversationTree, Message
    from slmdesk.core.database import Database
    from slmdesk.core.events import EventBus
    from slmdesk.core.settings import Settings
    from slmdesk.library.library import Library
    from slmdesk.serving.connector import ServiceConnector
    from slmdesk.tools.selection import ToolSelection
    from slmdesk.tools.toolbox import Tools

T = TypeVar("T")

log = logging.getLogger(__name__)

NEW_CHAT = 0  # the draft of a conversation that does not exist yet

_KEEP_DELETED_S = 30 * 24 * 3600
_KEEP_EMPTY_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A turn as it stands in the database, before anything is asked."""

    conversation: Conversation
    path: list[Message]  # up to the message to answer
    stored: list[Message]  # new rows, the answer last
    model: str

    @property
    def answer(self) -> Message:
        return self.stored[-1]


class Chats:
    """Conversations of this user. One instance a process; methods are called on one event loop.

    The database is opened by the first method that needs it. Every method may raise the database's errors
    (`database_locked`, `database_read_only`, `database_newer`, `database_damaged`).
    """

    def __init__(
        self,
        database: Database,
        connector: ServiceConnector,
        library: Library,
        settings: Settings,
        events: EventBus | None = None,
        *,
        tools: Callable[[], Tools] | None = None,
    ) -> None:
        """`tools`: the room of tools, asked for where a conversation uses some."""
        self._database = database
        self._connector = connector
        self._library = library
        self._settings = settings
        self._bus = events
        self._opened = False
        self._opening = asyncio.Lock()
        self._tools = tools
        self._running: dict[int, TurnRun] = {}  # by conversation
        self._unsaved: set[int] = set()  # answers whose end could not be written
        self._splitting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the database, mark answers that a crash cut off, and remove what was deleted long ago."""
        async with self._opening:
            if self._opened:
                return
            await asyncio.to_thread(self._database.open)
            await self._database.run(self._recover)
            if await self._database.read(store.marked_below):
                self._splitting = asyncio.create_task(self._split_stored(), name="split stored answers")
            self._opened = True

    async def _split_stored(self) -> None:
        """Tell reasoning apart in what earlier versions kept, a little at a time: others use the database between."""
        try:
            while await self._database.run(store.split_stored):
                pass
        except SlmDeskError as error:
            log.warning("stored answers are split the next time: %s", error)

    async def close(self) -> None:
        """Stop every running answer; what they wrote is kept."""
        if self._splitting is not None:
            self._splitting.cancel()
            await asyncio.wait([self._splitting])
        for answering in list(self._running.values()):
            await answering.stop()

    @property
    def answering(self) -> bool:
        """Whether an answer is being written, or waited for."""
        return bool(self._running)

    # Conversations

    async def conversations(self, search: str = "", limit: int = 1000) -> list[ConversationSummary]:
        """The conversations that hold every word of `search`, the one changed last first."""
        await self.open()
        return await self._database.read(lambda c: searching.list_conversations(c, search, limit))

    async def create(
        self,
        model: str | None = None,
        system_prompt: str | None = None,
        rules: AnswerRules | None = None,
        tools: ToolSelection = NO_TOOLS,
    ) -> Conversation:
        """A new conversation, with the model's or the settings' system prompt unless one is given.

        `model` is a library id or a path; without one the usual model answers. One with the starter begins with the
        instructions it answers best with, where a person chose none. Raises `model_not_found` with close matches, and
        `schema_invalid`.
        """
        reference = (await self._library.resolve(model)).id if model else ""
        prompt = system_prompt
        if prompt is None:
            prompt = await self.instructions_for(reference or self._library.usual_model)
        rules = rules or NO_RULES
        rules.check()
        return await self._run(lambda c: store.create_conversation(c, reference, prompt, rules, tools))

    async def instructions_for(self, model: str) -> str:
        """What a conversation with this model begins with: what is kept for it, then what a person set for all."""
        file = kept = None
        try:
            file = await self._library.resolve(model)
            kept = (await asyncio.to_thread(self._library.kept.of, file)).effective.system_prompt
        except SlmDeskError:
            pass  # asking it will say what is wrong
        if kept is not None:
            return kept
        if self._settings.source("chat.system_prompt") != "default":
            return str(self._settings.get("chat.system_prompt"))
        metadata = await asyncio.to_thread(metadata_of, file) if file is not None else {}
        return first_instructions(model, metadata)

    async def load(self, conversation_id: int) -> ConversationTree:
        """A conversation with all its branches. Raises `conversation_not_found`."""

        await self.open()
        tree = await self._database.read(lambda c: store.load_tree(c, conversation_id))
        if any(message.state == "streaming" for message in tree.messages.values()):
            # Another program may have died since this one started.
            await self._database.run(lambda c: store.interrupt_dead(c, self._alive))
            tree = await self._database.read(lambda c: store.load_tree(c, conversation_id))
        return tree

    async def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title; an empty one is made from its first message again."""

        def rename(connection: sqlite3.Connection) -> None:
            title_now = " ".join(title.split())
            if not title_now:
                tree = store.load_tree(connection, conversation_id)
                first = next(iter(tree.path()), None)
                title_now = title_of(first.text) if first else ""
            store.update_conversation(connection, conversation_id, title=title_now)

        await self._run(rename)
        self._changed(conversation_id)

    async def set_model(self, conversation_id: int, model: str) -> None:
        """Answer with another model from the next message on. Raises `model_not_found`."""
        reference = (await self._library.resolve(model)).id
        await self._run(lambda c: store.update_conversation(c, conversation_id, model=reference))
        self._changed(conversation_id)

    async def set_system_prompt(self, conversation_id: int, text: str) -> None:
        """Change the instructions of one conversation, from the next message on."""
        await self._run(lambda c: store.update_conversation(c, conversation_id, system_prompt=text))
        self._changed(conversation_id)

    async def set_rules(self, conversation_id: int, rules: AnswerRules) -> None:
        """Make the answers of one conversation otherwise, from the next message on. Raises `schema_invalid`."""
        rules.check()
        text = encoded(rules).decode()
        await self._run(lambda c: store.update_conversation(c, conversation_id, rules=text))
        self._changed(conversation_id)

    async def check_schema(self, model: str, text: str) -> None:
        """Raise `SlmDeskError("schema_invalid")` where answers cannot be held to this schema.

        What the model's engine has to say is asked where the model is loaded; nothing is loaded for it.
        """
        schema = schema_of(text)
        client = await self._connector.attached()
        if client is None or (await client.status()).model(model) is None:
            return
        ask = Ask(model=model, prompt=" ", shape=schema, prompt_only=True, max_tokens=1)
        async with aclosing(client.ask(ask)) as events:
            async for _ in events:
                pass

    async def set_tools(self, conversation_id: int, tools: ToolSelection) -> None:
        """Change what a conversation may use, from the next message on."""
        await self._run(lambda c: store.set_tools(c, conversation_id, tools))
        self._changed(conversation_id)

    async def delete(self, conversation_id: int) -> None:
        """Put a conversation away; `restore` brings it back for 30 days. Stops a running answer."""
        await self.stop(conversation_id)
        now = time.time()
        await self._run(lambda c: store.update_conversation(c, conversation_id, deleted_at=now))
        self._changed(conversation_id)

    async def restore(self, conversation_id: int) -> None:
        """Undo `delete`. Raises `conversation_not_found` once it is gone for good."""
        await self._run(lambda c: store.update_conversation(c, conversation_id, deleted_at=None))
        self._changed(conversation_id)

    async def deleted(self) -> list[ConversationSummary]:
        """What `restore` can bring back, the latest first."""
        await self.open()
        return await self._database.read(searching.list_deleted)

    async def select(self, message_id: int) -> ConversationTree:
        """Show the branch a message stands in, down to its newest end."""

        def select(connection: sqlite3.Connection) -> int:
            conversation_id = store.get_message(connection, message_id).conversation_id
            leaf = store.load_tree(connection, conversation_id).newest_leaf(message_id)
            store.update_conversation(connection, conversation_id, active_leaf=leaf)
            return conversation_id

        return await self.load(await self._run(select))

    async def save_draft(self, conversation_id: int, text: str) -> None:
        """Keep text that is typed and not sent; `NEW_CHAT` stands for a conversation not begun."""
        await self._run(lambda c: store.save_draft(c, conversation_id, text))

    async def load_draft(self, conversation_id: int) -> str:
        """The text typed and not sent, or ""."""
        await self.open()
        return await self._database.read(lambda c: store.load_draft(c, conversation_id))

    async def export(self, conversation_id: int, form: exporting.ExportFormat = "markdown") -> str:
        """All branches as JSON, or the active path in one of the other forms."""
        tree = await self.load(conversation_id)
        return await asyncio.to_thread(exporting.written, tree, form)

    async def import_json(self, text: str) -> Conversation:
        """Add a conversation that was exported as JSON. Raises `import_invalid` or `import_newer`."""

        def add(connection: sqlite3.Connection) -> Conversation:
            return store.get_conversation(connection, exporting.from_json(connection, text))

        conversation = await self._run(add)
        self._changed(conversation.id)
        return conversation

    # Turns. Each of these is an async generator that ends with `TurnEnded`. Once a message is stored, nothing
    # raises any more: what goes wrong is in the error of the ended message. Closing it stops the answer.

    def send(
        self, conversation_id: int, text: str, options: TurnOptions | None = None
    ) -> AsyncGenerator[TurnEvent, None]:
        """Store what was typed, then have it answered. Raises `message_empty` or `conversation_busy`."""

        def prepare(connection: sqlite3.Connection) -> _Prepared:
            if not text.strip():
                raise SlmDeskError("message_empty", "There is nothing to send.", "Type a message first.")
            tree = self._tree_at_rest(connection, conversation_id)
            asked = store.add_message(
                connection, conversation_id, tree.conversation.active_leaf, "user", text
            )
            if not tree.conversation.title:
                store.update_conversation(connection, conversation_id, title=title_of(text))
            store.save_draft(connection, conversation_id, "")
            return self._answer_row(connection, [*tree.path(), asked], [asked])

        return self._turn(prepare, options)

    def regenerate(
        self, message_id: int, options: TurnOptions | None = None
    ) -> AsyncGenerator[TurnEvent, None]:
        """Write another answer beside this one (or the first below a message of the person, or below results).

        By another model where `options` names one, which is then no choice for what follows. Raises `model_not_found`.
        """
        other = options.model if options is not None else ""

        def prepare(connection: sqlite3.Connection) -> _Prepared:
            message = store.get_message(connection, message_id)
            tree = self._tree_at_rest(connection, message.conversation_id)
            asked_id = message.parent_id if message.role == "assistant" else message.id
            if asked_id is None:
                raise SlmDeskError(
                    "message_not_answerable",
                    "There is no question before this answer.",
                    "Send a new message.",
                )
            return self._answer_row(connection, tree.path(asked_id), [], model=other)

        return self._turn(prepare, options)

    def edit(
        self, message_id: int, text: str, options: TurnOptions | None = None
    ) -> AsyncGenerator[TurnEvent, None]:
        """Ask something else in place of a message of the person: a new branch beside the old one."""

        def prepare(connection: sqlite3.Connection) -> _Prepared:
            message = store.get_message(connection, message_id)
            if message.role != "user":
                raise SlmDeskError(
                    "message_not_editable", "Answers cannot be edited.", "Edit the message before it instead."
                )
            if not text.strip():
                raise SlmDeskError("message_empty", "There is nothing to send.", "Type a message first.")
            tree = self._tree_at_rest(connection, message.conversation_id)
            asked = store.add_message(connection, message.conversation_id, message.parent_id, "user", text)
            before = [] if message.parent_id is None else tree.path(message.parent_id)
            return self._answer_row(connection, [*before, asked], [asked])

        return self._turn(prepare, options)

    def continue_from(
        self, message_id: int, options: TurnOptions | None = None
    ) -> AsyncGenerator[TurnEvent, None]:
        """Go on with an answer that was stopped, interrupted or cut off; one without text is begun again.

        One that calls tools and was left there has its calls made.
        """

        def prepare(connection: sqlite3.Connection) -> _Prepared:
            message = store.get_message(connection, message_id)
            tree = self._tree_at_rest(connection, message.conversation_id)
            if message.role != "assistant" or message.parent_id is None or tree.children(message_id):
                raise SlmDeskError(
                    "message_not_continuable",
                    "Only the last answer of a branch can be continued.",
                    "Send a new message instead.",
                )
            answer = message if message.calls else store.reopen_message(connection, message_id, self._owner)
            store.update_conversation(connection, message.conversation_id, active_leaf=message_id)
            conversation = store.get_conversation(connection, message.conversation_id)
            model = str(message.stats.get(OTHER_MODEL) or "") or self._model(conversation)
            return _Prepared(conversation, tree.path(message.parent_id), [answer], model)

        return self._turn(prepare, options)

    async def stop(self, conversation_id: int) -> None:
        """Stop the answer being written, or its calls, if any; its iterator still delivers `TurnEnded`."""
        if turn := self._running.get(conversation_id):
            await turn.stop()

    def decide(self, conversation_id: int, call_id: str, decision: Decision) -> bool:
        """Say what becomes of a call that `CallChanged` asks about. Whether it still was asked about."""
        turn = self._running.get(conversation_id)
        return turn is not None and turn.decide(call_id, decision)

    async def _turn(
        self, prepare: Callable[[sqlite3.Connection], _Prepared], options: TurnOptions | None
    ) -> AsyncGenerator[TurnEvent, None]:
        await self.open()
        if options is not None and options.model:
            await self._library.resolve(options.model)
        storing = asyncio.create_task(self._begin(prepare, options or TurnOptions()))
        try:
            prepared, answering = await asyncio.shield(storing)
        except asyncio.CancelledError:
            # Stored or not, no half-begun turn is left behind.
            if not storing.cancelled() and not (await asyncio.wait([storing]))[0].pop().exception():
                await self._end(storing.result()[1])
            raise
        try:
            for message in prepared.stored:
                yield MessageStored(message)
            async with aclosing(answering.events()) as events:
                async for event in events:
                    yield event
        finally:
            await self._end(answering)

    async def _begin(
        self, prepare: Callable[[sqlite3.Connection], _Prepared], options: TurnOptions
    ) -> tuple[_Prepared, TurnRun]:
        prepared = await self._database.run(prepare)
        conversation = prepared.conversation
        question = turn_request(prepared.model, conversation, prepared.path, options, self._settings)
        selection = options.tools or conversation.tools
        tools = None
        if self._tools is not None and selection.sources:
            tools = TurnTools(self._tools(), selection, options.tool_choice)
        answering = TurnRun(
            self._database, self._connector, question, prepared.answer, tools=tools, owner=self._owner
        )
        self._running[conversation.id] = answering
        self._changed(conversation.id)
        return prepared, answering

    async def _end(self, answering: TurnRun) -> None:
        await answering.stop()
        conversation_id = answering.answer.conversation_id
        if self._running.get(conversation_id) is answering:
            del self._running[conversation_id]
        self._unsaved |= answering.unsaved
        self._changed(conversation_id)

    def _answer_row(
        self, connection: sqlite3.Connection, path: list[Message], stored: list[Message], *, model: str = ""
    ) -> _Prepared:
        """`model`: the one that answers this once."""
        conversation_id, asked_id = path[-1].conversation_id, path[-1].id
        usual = self._model(store.get_conversation(connection, conversation_id))
        other, model = model, model or usual
        answer = store.add_message(
            connection,
            conversation_id,
            asked_id,
            "assistant",
            "",
            state="streaming",
            model=model,
            owner=self._owner,
            stats={OTHER_MODEL: other} if other else {},
        )
        # From now on the conversation keeps the model it was begun with, whatever the settings become.
        store.update_conversation(connection, conversation_id, model=usual)
        conversation = store.get_conversation(connection, conversation_id)
        return _Prepared(conversation, path, [*stored, answer], model)

    def _tree_at_rest(self, connection: sqlite3.Connection, conversation_id: int) -> ConversationTree:
        """The tree, with nothing being written into it. Raises `conversation_busy`."""
        store.interrupt_dead(connection, self._alive)
        tree = store.load_tree(connection, conversation_id)
        if any(message.state == "streaming" for message in tree.messages.values()):
            raise SlmDeskError(
                "conversation_busy",
                "An answer is still being written in this conversation.",
                "Wait for its end, or stop it first.",
            )
        return tree

    def _model(self, conversation: Conversation) -> str:
        return conversation.model or self._library.usual_model

    async def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        await self.open()
        return await self._database.run(action)

    def _recover(self, connection: sqlite3.Connection) -> None:
        store.interrupt_dead(connection, self._alive)
        now = time.time()
        store.purge(connection, now - _KEEP_DELETED_S, now - _KEEP_EMPTY_S)

    def _alive(self, message_id: int, owner: str) -> bool:
        if owner == self._owner:
            return message_id not in self._unsaved
        pid, _, created = owner.partition(":")
        try:
            return process_alive(int(pid), float(created))
        except ValueError:
            return False

    @cached_property
    def _owner(self) -> str:
        """This process in the rows it writes. Asked for late: it loads psutil, 4.6 MB of an idle window."""
        return f"{os.getpid()}:{process_create_time()}"

    def _changed(self, conversation_id: int) -> None:
        if self._bus is not None:
            self._bus.publish(ConversationsChanged(conversation_id))
