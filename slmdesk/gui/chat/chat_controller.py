"""Between the widgets of the Chat page and the chat room: every action of a person is one method here."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from slmdesk.chat.chats import NEW_CHAT
from slmdesk.chat.turns import ConversationsChanged, MessageStored, TurnEnded
from slmdesk.core.error_codes import SERVICE_GONE
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.items import MessageItem, items_of
from slmdesk.gui.chat.model_entries import PickerEntry, entries_of, find_entry, names_of
from slmdesk.gui.chat.names import short_name
from slmdesk.gui.chat.turn import RunningTurn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from slmdesk.application import Application
    from slmdesk.chat.tree import ConversationSummary, ConversationTree
    from slmdesk.chat.turns import TurnEvent
    from slmdesk.gui.page import WindowServices

REFRESH_MS = 60
"""Changes of conversations within this time cost one reading of the list."""
PAGE = 500


class ChatController(QObject):
    """Lives on the window's event loop. Nothing here blocks; every task belongs to the window and ends with it.

    Attributes:
        current: the conversation shown; `NEW_CHAT` for one that has not begun.
        tree: its messages, or None for a new one.

    Signals:
        opened: another conversation is shown: everything is different, the draft too.
        changed: the same conversation has other messages.
        item_changed(MessageItem): one message is another now.
        text_arrived(int, str): text for the answer with that id.
        running_changed: answers began or ended.
        accepted, refused: what the composer sent is stored, or could not be.
        listed(list, str, bool): conversations found, for which search, and whether there are more.
        model_changed: another model would answer next.
        models_known: the list of models was read anew.
        deleted(int, str): a conversation was deleted: its id and title.
    """

    opened = Signal(str)
    changed = Signal()
    item_changed = Signal(object)
    text_arrived = Signal(int, str)
    running_changed = Signal()
    accepted = Signal()
    refused = Signal()
    listed = Signal(list, str, bool)
    model_changed = Signal()
    models_known = Signal()
    deleted = Signal(int, str)
    _setting_changed = Signal(str)

    def __init__(self, services: WindowServices, application: Application, parent: QObject) -> None:
        super().__init__(parent)
        self._services = services
        self._app = application
        self._chats = application.chats
        self.current = NEW_CHAT
        self.tree: ConversationTree | None = None
        self.entries: list[PickerEntry] = []
        self._names: dict[str, str] = {}
        self._turns: dict[int, RunningTurn] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._exclusive: dict[str, asyncio.Task[Any]] = {}
        self._search = ""
        self._limit = PAGE
        self._lost: set[int] = set()
        self._left = NEW_CHAT
        self._new_model = ""
        self._refresh = QTimer(self)
        self._refresh.setSingleShot(True)
        self._closed = False
        self._refresh.setInterval(REFRESH_MS)
        self._refresh.timeout.connect(self.refresh_list)
        # Settings may change on other threads; the signal brings them to this one.
        self._setting_changed.connect(self._follow_setting, Qt.ConnectionType.QueuedConnection)
        self._forget = (
            application.events.subscribe(ConversationsChanged, lambda _event: self._refresh.start()),
            application.settings.subscribe(lambda key, _value: self._setting_changed.emit(key)),
        )

    # tasks
    def _run(self, work: Coroutine[Any, Any, Any], where: str) -> asyncio.Task[Any]:
        task = self._services.run(work, where)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _alone(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` in place of what ran under this name."""
        before = self._exclusive.pop(name, None)
        if before is not None:
            before.cancel()
        self._exclusive[name] = self._run(work, f"chat: {name}")

    async def close(self) -> None:
        """End every task; running answers are stopped and kept."""
        self._closed = True
        for forget in self._forget:
            forget()
        self._refresh.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # what is shown
    def start(self) -> None:
        """Read the list and the models, and begin with a new chat."""
        self.refresh_list()
        self.refresh_models()
        self.new_chat()

    def new_chat(self) -> None:
        """Show a chat that has not begun."""
        self._alone("open", self._open(NEW_CHAT))

    def new_chat_with(self, model_id: str) -> None:
        """Show a chat that has not begun, to be answered by this model."""

        async def begin() -> None:
            await self._open(NEW_CHAT)
            await self._choose(NEW_CHAT, model_id)

        self._alone("open", begin())

    def ask(self, model_id: str, text: str = "") -> None:
        """Show a chat with this model, which stays the choice for this one chat, and send `text` in it."""

        async def begin() -> None:
            await self._open(NEW_CHAT)
            self._new_model = model_id
            self.model_changed.emit()
            if text:
                self.send(text)

        self._alone("open", begin())

    def open(self, conversation_id: int) -> None:
        """Show a conversation."""
        self._alone("open", self._open(conversation_id))

    async def _open(self, conversation_id: int) -> None:
        tree = await self._chats.load(conversation_id) if conversation_id != NEW_CHAT else None
        draft = await self._chats.load_draft(conversation_id)
        self.current, self.tree = conversation_id, tree
        self._new_model = ""
        self.opened.emit(draft)
        self.model_changed.emit()
        self.running_changed.emit()

    async def _reload(self) -> None:
        if self.current != NEW_CHAT:
            conversation_id = self.current
            tree = await self._chats.load(conversation_id)
            if self.current == conversation_id:
                self.tree = tree
                self.changed.emit()

    def items(self) -> list[MessageItem]:
        """The messages of the conversation shown, the running answer as it stands now."""
        if self.tree is None:
            return []
        turn = self._turns.get(self.current)
        items = items_of(self.tree, self._names)
        return [self._live(item, turn) if turn else item for item in items]

    @staticmethod
    def _live(item: MessageItem, turn: RunningTurn) -> MessageItem:
        if turn.answer is None or item.id != turn.answer.id or turn.ended is not None:
            return item
        return item.with_text(turn.text).as_live(turn.status)

    @property
    def running(self) -> frozenset[int]:
        """The conversations in which an answer is being written."""
        return frozenset(self._turns)

    @property
    def last_stats(self) -> dict[str, Any]:
        """What the last answer shown used, as far as it is known.

        Where that is not known, or not yet, it is the context that the answer before it used, without its speed.
        """
        if self.tree is None:
            return {}
        turn = self._turns.get(self.current)
        if turn is not None and turn.stats and turn.ended is None:
            return turn.stats
        answers = [message for message in reversed(self.tree.path()) if message.role == "assistant"]
        known = next((message for message in answers if message.stats.get("usage")), None)
        if known is None:
            return answers[0].stats if answers else {}
        return known.stats if known is answers[0] else {**known.stats, "timings": {}}

    def title(self, conversation_id: int) -> str:
        if self.tree is not None and self.tree.conversation.id == conversation_id:
            return self.tree.conversation.title
        return ""

    # turns
    def send(self, text: str) -> None:
        """Store what was typed and have it answered; a new chat becomes a conversation."""
        self._run(self._send(self.current, text), "chat: send")

    async def _send(self, conversation_id: int, text: str) -> None:
        try:
            if conversation_id == NEW_CHAT:
                conversation_id = (await self._chats.create(self._new_model or None)).id
                await self._chats.save_draft(NEW_CHAT, "")
                if self.current == NEW_CHAT:
                    self.current = conversation_id
        except BaseException:
            self.refused.emit()
            raise
        await self._turn(conversation_id, self._chats.send(conversation_id, text), typed=True)

    def regenerate(self, message_id: int) -> None:
        """Write another answer beside this one."""
        self._begin(self._chats.regenerate(message_id))

    def edit(self, message_id: int, text: str) -> None:
        """Ask something else in place of a message."""
        self._begin(self._chats.edit(message_id, text))

    def continue_from(self, message_id: int) -> None:
        """Go on with an answer that was cut off."""
        self._begin(self._chats.continue_from(message_id))

    def _begin(self, events: AsyncGenerator[TurnEvent, None]) -> None:
        self._run(self._turn(self.current, events), "chat: turn")

    async def _turn(
        self, conversation_id: int, events: AsyncGenerator[TurnEvent, None], *, typed: bool = False
    ) -> None:
        if conversation_id in self._turns:
            await events.aclose()
            if typed:
                self.refused.emit()
            return
        turn = self._turns[conversation_id] = RunningTurn(
            conversation_id, self._names, reconnecting=conversation_id in self._lost
        )
        self._lost.discard(conversation_id)
        self.running_changed.emit()
        try:
            async with aclosing(events):
                async for event in events:
                    if typed and isinstance(event, MessageStored):
                        typed = False
                        self.accepted.emit()
                    await self._follow(turn, event)
        finally:
            if typed:
                self.refused.emit()
            if self._turns.get(conversation_id) is turn:
                del self._turns[conversation_id]
            self.running_changed.emit()

    async def _follow(self, turn: RunningTurn, event: TurnEvent) -> None:
        turn.take(event)
        shown = turn.conversation_id == self.current
        match event:
            case MessageStored(message=message):
                if message.role == "assistant" and shown:
                    await self._reload()
            case str():
                if shown and turn.answer is not None:
                    self.text_arrived.emit(turn.answer.id, event)
            case TurnEnded(message=message):
                if message.error and message.error.get("code") in SERVICE_GONE:
                    self._lost.add(turn.conversation_id)
                if shown and self.tree is not None:
                    self.tree.messages[message.id] = message
                    self._show_one(message.id)
            case _:
                if shown and turn.answer is not None:
                    self._show_one(turn.answer.id)

    def _show_one(self, message_id: int) -> None:
        for item in self.items():
            if item.id == message_id:
                self.item_changed.emit(item)

    def stop(self) -> None:
        """End the answer being written in the conversation shown."""
        if self.current in self._turns:
            self._run(self._chats.stop(self.current), "chat: stop")

    def select_branch(self, message_id: int, branch: int) -> None:
        """Show another version of a message."""
        if self.tree is not None:
            siblings = self.tree.siblings(message_id)
            if 0 <= branch < len(siblings):
                self._alone("branch", self._select(self.current, siblings[branch].id))

    async def _select(self, conversation_id: int, message_id: int) -> None:
        tree = await self._chats.select(message_id)
        if self.current == conversation_id:
            self.tree = tree
            self.changed.emit()

    # the list
    def search(self, words: str) -> None:
        """List the conversations that hold these words."""
        self._search, self._limit = words, PAGE
        self.refresh_list()

    def more(self) -> None:
        """List more of them."""
        self._limit *= 2
        self.refresh_list()

    def refresh_list(self) -> None:
        """Read the list of conversations anew."""
        if self._closed:
            return  # a search that was still resting when the window closed
        self._alone("list", self._list(self._search, self._limit))

    async def _list(self, words: str, limit: int) -> None:
        found: list[ConversationSummary] = await self._chats.conversations(words, limit)
        self.listed.emit(found, words, len(found) >= limit)

    def rename(self, conversation_id: int, title: str) -> None:
        self._run(self._chats.rename(conversation_id, title), "chat: rename")

    def delete(self, conversation_id: int, title: str) -> None:
        """Put a conversation away; `restore` undoes it."""
        self._run(self._delete(conversation_id, title), "chat: delete")

    async def _delete(self, conversation_id: int, title: str) -> None:
        await self._chats.delete(conversation_id)
        if self.current == conversation_id:
            self._left = conversation_id
            self.new_chat()
        self.deleted.emit(conversation_id, title)

    def restore(self, conversation_id: int) -> None:
        """Undo `delete`."""
        self._run(self._restore(conversation_id), "chat: restore")

    async def _restore(self, conversation_id: int) -> None:
        await self._chats.restore(conversation_id)
        if self._left == conversation_id and self.current == NEW_CHAT:
            self.open(conversation_id)  # it was shown when it was deleted

    def save_draft(self, conversation_id: int, text: str) -> None:
        """Keep what is typed and not sent."""
        self._run(self._chats.save_draft(conversation_id, text), "chat: draft")

    async def export(self, conversation_id: int, form: str) -> str:
        """The text of a conversation, as Markdown or JSON."""
        return await self._chats.export(conversation_id, "json" if form == "json" else "markdown")

    # models
    @property
    def model(self) -> str:
        """The id of the model that answers next."""
        if self.tree is not None and self.tree.conversation.model:
            return self.tree.conversation.model
        return self._new_model or self._app.library.usual_model

    @property
    def model_entry(self) -> PickerEntry | None:
        return find_entry(self.entries, self.model)

    @property
    def model_name(self) -> str:
        """What the model that answers next is called."""
        entry = self.model_entry
        return entry.title if entry else short_name(self.model, self._names)

    def refresh_models(self) -> None:
        """Read the library, and what the service has loaded."""
        self._alone("models", self._list_models())

    async def _list_models(self) -> None:
        await self._read_models()
        if await self._app.library.check_starter():
            await self._read_models()

    async def _read_models(self) -> None:
        models = await self._app.library.models()
        loaded: dict[str, str] = {}
        try:
            client = await self._app.connector.attached()
            if client is not None:
                loaded = {one.id: one.state for one in (await client.status()).loaded}
        except SlmDeskError:
            pass  # only what is loaded stays unsaid; a question would tell what is wrong
        # Not here: of ten thousand files it takes longer than a window may stand still.
        self.entries = await asyncio.to_thread(entries_of, models, loaded)
        self._names.update(await asyncio.to_thread(names_of, models, self.entries))
        self.models_known.emit()
        self.model_changed.emit()

    def _follow_setting(self, key: str) -> None:
        if key == "chat.model":
            self._new_model = ""
            self.model_changed.emit()

    def choose_model(self, model_id: str) -> None:
        """Answer with another model from the next message on; new chats begin with it too."""
        self._run(self._choose(self.current, model_id), "chat: model")

    async def _choose(self, conversation_id: int, model_id: str) -> None:
        if conversation_id == NEW_CHAT:
            self._new_model = model_id
            # The environment may hold the setting; then it holds only for this chat.
            if self._app.settings.source("chat.model") != "environment":
                await asyncio.to_thread(self._app.settings.set, "chat.model", model_id)
        else:
            await self._chats.set_model(conversation_id, model_id)
            await self._reload()
        self.model_changed.emit()
