"""Between the Chat page and the chat room: every action of a person is one method here.

The window is often painted with this page first, so what the room needs is imported when it is used.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer

from slmdesk.core.error_codes import SERVICE_GONE, UNFIT
from slmdesk.core.errors import SlmDeskError
from slmdesk.gui.chat.model_entries import PickerEntry, entries_of, find_entry, names_of
from slmdesk.gui.chat.names import short_name
from slmdesk.gui.chat.order_controller import OrderController
from slmdesk.gui.tasks import in_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from PySide6.QtWidgets import QWidget

    from slmdesk.application import Application
    from slmdesk.chat.calling import Decision
    from slmdesk.chat.chats import Chats
    from slmdesk.chat.export import ExportFormat
    from slmdesk.chat.rules import AnswerRules
    from slmdesk.chat.tree import ConversationSummary, ConversationTree
    from slmdesk.chat.turns import TurnEvent
    from slmdesk.gui.chat.chat_view import ChatView
    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.turn import RunningTurn
    from slmdesk.gui.page import Remedy, WindowServices

REFRESH_MS = 60
"""Changes of conversations within this time cost one reading of the list."""
PAGE = 500
NEW_CHAT = 0  # as `chats` has it


class ChatController:
    """Lives on the window's event loop. Nothing here blocks; every task belongs to the window and ends with it.

    Attributes:
        current: the conversation shown; `NEW_CHAT` for one that has not begun.
        tree: its messages, or None for a new one.
        order: what puts conversations in order.
        new_instructions, new_rules: what a chat that has not begun is to begin with; None: what is usual.
    """

    def __init__(self, services: WindowServices, view: ChatView) -> None:
        self._services = services
        self._view = view
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
        self.new_instructions: str | None = None
        self.new_rules: AnswerRules | None = None
        self._refresh = QTimer()
        self._refresh.setSingleShot(True)
        self._closed = False
        self._refresh.setInterval(REFRESH_MS)
        self._refresh.timeout.connect(self.refresh_list)
        self.order = OrderController(services, self.open, lambda made: self.delete(made, self.title(made)))
        self._forget: Callable[[], object] = lambda: None
        services.live.changed.connect(self._follow_setting)

    @property
    def _app(self) -> Application:
        return self._services.application

    @property
    def _chats(self) -> Chats:
        return self._services.application.chats

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
        import asyncio

        self._closed = True
        self._forget()
        self._refresh.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # what is shown
    def start(self) -> None:
        """Read the list and the models, and begin with a new chat."""
        from slmdesk.chat.turns import ConversationsChanged

        self._forget = self._app.events.subscribe(ConversationsChanged, lambda _event: self._refresh.start())
        self.refresh_list()
        self.refresh_models()
        self._alone("open", self._start())

    async def _start(self) -> None:
        """What was typed since the window was painted goes before the draft of last time."""
        draft = await self._chats.load_draft(NEW_CHAT)
        if self.current == NEW_CHAT:
            self._show_opened(None if self._view.typed else draft)

    def _show_opened(self, draft: str | None) -> None:
        self._view.show_opened(draft)
        self._view.show_model()
        self._view.show_running()

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
            self._view.show_model()
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
        self.new_instructions = self.new_rules = None
        self._show_opened(draft)

    async def reload(self) -> None:
        """Read the conversation shown anew."""
        if self.current != NEW_CHAT:
            conversation_id = self.current
            tree = await self._chats.load(conversation_id)
            if self.current == conversation_id:
                self.tree = tree
                self._view.show_changed()

    def items(self) -> list[MessageItem]:
        """The messages of the conversation shown, the running answer as it stands now."""
        if self.tree is None:
            return []
        from slmdesk.gui.chat.items import items_of

        turn = self._turns.get(self.current)
        items = items_of(self.tree, self._names)
        return [self._live(item, turn) if turn else item for item in items]

    @staticmethod
    def _live(item: MessageItem, turn: RunningTurn) -> MessageItem:
        item = item.with_calls(turn.calls) if item.calls else item
        if turn.answer is None or item.id != turn.answer.id or turn.ended is not None or not turn.writing:
            return item
        return item.as_live(turn.grown, turn.status)

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
                made = await self._chats.create(
                    self._new_model or None,
                    self.new_instructions,
                    self.new_rules,
                    tools=self._view.tools_wanted,
                )
                conversation_id = made.id
                await self._chats.save_draft(NEW_CHAT, "")
                if self.current == NEW_CHAT:
                    self.current = conversation_id
        except BaseException:
            self._view.show_refused()
            raise
        await self._turn(conversation_id, self._chats.send(conversation_id, text), typed=True)

    def regenerate(self, message_id: int) -> None:
        """Write another answer beside this one."""
        self._begin(self._chats.regenerate(message_id))

    def regenerate_with(self, message_id: int, button: QWidget) -> None:
        """Let a person choose another model, at `button`, that writes another answer beside this one."""
        self._view.choose_other_model(button, lambda model: self._regenerate_by(message_id, model))

    def fork(self, message_id: int) -> None:
        """Begin another conversation with the messages up to this one."""
        self.order.fork(message_id)

    def _regenerate_by(self, message_id: int, model: str) -> None:
        from slmdesk.chat.turns import TurnOptions

        self._begin(self._chats.regenerate(message_id, TurnOptions(model=model)))

    def edit(self, message_id: int, text: str) -> None:
        """Ask something else in place of a message."""
        self._begin(self._chats.edit(message_id, text))

    def continue_from(self, message_id: int) -> None:
        """Go on with an answer that was cut off, or from what its tools gave."""
        below = self.tree.children(message_id) if self.tree is not None else []
        results = next((message for message in below if message.role == "tool"), None)
        go_on = (
            self._chats.continue_from(message_id) if results is None else self._chats.regenerate(results.id)
        )
        self._begin(go_on)

    def decide(self, call_id: str, decision: Decision) -> None:
        """Say what becomes of a call that is asked about."""
        self._chats.decide(self.current, call_id, decision)
        self._view.focus_composer()

    def mend(self, error: SlmDeskError) -> Remedy | None:
        """A better button for an error than "Try again"."""
        if error.code in UNFIT:
            return "Choose another model", self._view.choose_model
        if error.code == "context_exceeded":
            return "New chat", self._view.new_chat
        return None

    def _begin(self, events: AsyncGenerator[TurnEvent, None]) -> None:
        self._run(self._turn(self.current, events), "chat: turn")
        self._view.focus_composer()  # one goes on typing, and Esc stops

    async def _turn(
        self, conversation_id: int, events: AsyncGenerator[TurnEvent, None], *, typed: bool = False
    ) -> None:
        if conversation_id in self._turns:
            await events.aclose()
            if typed:
                self._view.show_refused()
            return
        from slmdesk.chat.turns import MessageStored
        from slmdesk.gui.chat.turn import RunningTurn

        turn = self._turns[conversation_id] = RunningTurn(
            conversation_id, self._names, reconnecting=conversation_id in self._lost
        )
        self._lost.discard(conversation_id)
        self._view.show_running()
        try:
            async with aclosing(events):
                async for event in events:
                    if typed and isinstance(event, MessageStored):
                        typed = False
                        self._view.show_accepted()
                    await self._follow(turn, event)
        finally:
            if typed:
                self._view.show_refused()
            if self._turns.get(conversation_id) is turn:
                del self._turns[conversation_id]
            self._view.show_running()

    async def _follow(self, turn: RunningTurn, event: TurnEvent) -> None:
        from slmdesk.chat.turns import MessageStored, StepEnded, ToolsMissing, TurnEnded
        from slmdesk.inference.answers import ReasoningDelta

        turn.take(event)
        shown = turn.conversation_id == self.current
        match event:
            case MessageStored(message=message):
                if message.role != "user" and shown:
                    await self.reload()
            case str() | ReasoningDelta():
                if shown and turn.answer is not None:
                    self._view.show_more(turn.answer.id)
            case ToolsMissing(problem=problem):
                self._services.toast(str(problem))
            case TurnEnded(message=message) | StepEnded(message=message):
                if message.error and message.error.get("code") in SERVICE_GONE:
                    self._lost.add(turn.conversation_id)
                if shown and self.tree is not None:
                    self.tree.messages[message.id] = message
                    self._show_one(message.parent_id or 0 if message.role == "tool" else message.id)
            case _:
                if shown and turn.answer is not None:
                    self._show_one(turn.answer.id)

    def _show_one(self, message_id: int) -> None:
        for item in self.items():
            if item.id == message_id:
                self._view.show_item(item)

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
        self._view.focus_composer()

    async def _select(self, conversation_id: int, message_id: int) -> None:
        tree = await self._chats.select(message_id)
        if self.current == conversation_id:
            self.tree = tree
            self._view.show_changed()

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
        self._view.show_conversations(found, words, more=len(found) >= limit)

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
        words = f"Deleted “{title}”." if title else "Deleted the conversation."
        self._services.toast(words, lambda: self.restore(conversation_id))

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

    def export(self, conversation_id: int, form: ExportFormat, title: str) -> None:
        """Write a conversation to a file the person chooses; `title` proposes its name."""
        self._run(self._export(conversation_id, form, title), "chat: export")

    async def _export(self, conversation_id: int, form: ExportFormat, title: str) -> None:
        from slmdesk.gui.chat.exporting import export_to_file

        text = await self._chats.export(conversation_id, form)
        path = await export_to_file(self._services.window(), title or self.title(conversation_id), text, form)
        if path is not None:
            self._services.toast(f"Exported to {path.name}.")

    # models
    @property
    def model(self) -> str:
        """The id of the model that answers next."""
        if self.tree is not None and self.tree.conversation.model:
            return self.tree.conversation.model
        if self._new_model or not self._services.has_application:
            return self._new_model
        return self._app.library.usual_model

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
        self.entries = await in_thread(entries_of, models, loaded)
        self._names.update(await in_thread(names_of, models, self.entries))
        self._view.show_models()
        self._view.show_model()

    def _follow_setting(self, key: str, _value: object) -> None:
        if key == "chat.model" and not self._closed:
            self._new_model = ""
            self._view.show_model()

    def choose_model(self, model_id: str) -> None:
        """Answer with another model from the next message on; new chats begin with it too."""
        self._run(self._choose(self.current, model_id), "chat: model")

    async def _choose(self, conversation_id: int, model_id: str) -> None:
        if conversation_id == NEW_CHAT:
            self._new_model = model_id
            # The environment may hold the setting; then it holds only for this chat.
            if self._app.settings.source("chat.model") != "environment":
                await in_thread(self._app.settings.set, "chat.model", model_id)
        else:
            await self._chats.set_model(conversation_id, model_id)
            await self.reload()
        self._view.show_model()
