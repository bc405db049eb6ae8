"""What the panel beside a conversation changes: its instructions, how it is answered, the model's values."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from slmdesk.chat.rules import NO_RULES
from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from slmdesk.application import Application
    from slmdesk.chat.presets import AnswerPreset, InstructionPreset
    from slmdesk.chat.rules import AnswerRules
    from slmdesk.gui.chat.chat_controller import ChatController
    from slmdesk.gui.page import WindowServices
    from slmdesk.inference.asks import Overflow
    from slmdesk.inference.model_settings import ModelSettings
    from slmdesk.library.records import LibraryFile

NEW_CHAT = 0  # as `chats` has it


class ControlsView(Protocol):
    """What the controller shows."""

    def show_conversation(self, instructions: str, rules: AnswerRules, usual: Overflow) -> None:
        """`usual`: what is done with a full context where the conversation leaves it open."""
        ...

    def show_presets(self, instructions: list[InstructionPreset], answers: list[AnswerPreset]) -> None: ...

    def show_file(self, file: LibraryFile | None) -> None:
        """The model that answers next; None where it is not in the library."""
        ...

    def show_schema_problem(self, words: str) -> None:
        """Why answers cannot be held to the schema; "" where they can."""
        ...


class ControlsController:
    """For the conversation that `chat` shows; changes count from the next message on."""

    def __init__(self, services: WindowServices, view: ControlsView, chat: ChatController) -> None:
        self._services = services
        self._view = view
        self._chat = chat
        self._exclusive: dict[str, asyncio.Task[Any]] = {}

    @property
    def _app(self) -> Application:
        return self._services.application

    def _alone(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        before = self._exclusive.pop(name, None)
        if before is not None:
            before.cancel()
        self._exclusive[name] = self._services.run(work, f"chat controls: {name}")

    def look(self) -> None:
        """Read everything anew: another conversation is shown, or another model would answer."""
        self._alone("look", self._look())

    async def _look(self) -> None:
        chat, app = self._chat, self._app
        tree, model = chat.tree, chat.model
        if tree is not None:
            instructions, rules = tree.conversation.system_prompt, tree.conversation.rules
        else:
            chosen = chat.new_instructions
            instructions = await app.chats.instructions_for(model) if chosen is None else chosen
            rules = chat.new_rules or NO_RULES
        self._view.show_conversation(instructions, rules, app.settings.get("chat.overflow"))
        self._view.show_presets(await app.chat_presets.instructions(), await app.chat_presets.answers())
        try:
            file: LibraryFile | None = await app.library.resolve(model)
        except SlmDeskError:
            file = None  # a question would tell what is wrong
        self._view.show_file(file)

    # the conversation
    def set_instructions(self, text: str) -> None:
        """Give the conversation that is shown other instructions."""
        chat = self._chat
        if chat.current == NEW_CHAT:
            chat.new_instructions = text
            return
        conversation_id = chat.current
        before = chat.tree.conversation.system_prompt if chat.tree is not None else ""
        if before == text:
            return
        self._services.run(self._instruct(conversation_id, text), "chat: instructions")
        self._services.toast(
            "The instructions count from the next message on.",
            lambda: self._services.run(self._instruct(conversation_id, before), "chat: instructions"),
        )

    async def _instruct(self, conversation_id: int, text: str) -> None:
        await self._app.chats.set_system_prompt(conversation_id, text)
        await self._shown_again(conversation_id)

    def set_overflow(self, way: Overflow) -> None:
        """What is done when the conversation is longer than the context."""
        self._set_rules(replace(self._rules, overflow=way))

    def set_schema(self, text: str) -> None:
        """Hold its answers to this JSON Schema; "" to none. One that is wrong is told and not taken."""
        self._alone("schema", self._set_schema(self._chat.current, text))

    async def _set_schema(self, conversation_id: int, text: str) -> None:
        if await self._schema_problem(text):
            return
        if conversation_id == self._chat.current and text.strip() != self._rules.schema.strip():
            self._set_rules(replace(self._rules, schema=text if text.strip() else ""))

    def check_schema(self, text: str) -> None:
        """Tell what is wrong with a schema that is being written."""
        self._alone("schema", self._schema_problem(text))

    async def _schema_problem(self, text: str) -> str:
        problem = ""
        if text.strip():
            try:
                await self._app.chats.check_schema(self._chat.model, text)
            except SlmDeskError as error:
                if error.code != "schema_invalid":
                    return ""  # a question would tell it
                problem = error.message
        self._view.show_schema_problem(problem)
        return problem

    @property
    def _rules(self) -> AnswerRules:
        chat = self._chat
        return chat.new_rules or NO_RULES if chat.tree is None else chat.tree.conversation.rules

    def _set_rules(self, rules: AnswerRules) -> None:
        chat = self._chat
        if chat.current == NEW_CHAT:
            chat.new_rules = rules
        else:
            self._services.run(self._keep_rules(chat.current, rules), "chat: rules")

    async def _keep_rules(self, conversation_id: int, rules: AnswerRules) -> None:
        await self._app.chats.set_rules(conversation_id, rules)
        await self._shown_again(conversation_id)

    async def _shown_again(self, conversation_id: int) -> None:
        if self._chat.current == conversation_id:
            await self._chat.reload()
            self.look()

    def load_anew(self, file: LibraryFile) -> None:
        """Load a model as it is kept now, so that the next answer comes at once."""
        self._services.run(self._load_anew(file), "chat: load")

    async def _load_anew(self, file: LibraryFile) -> None:
        client = await self._app.connector.connect()
        async with aclosing(client.load(file.id)) as loading:
            async for _ in loading:
                pass

    # presets
    def keep_instructions(self, name: str, text: str) -> None:
        """Keep instructions as a preset."""
        self._services.run(self._keep_instructions(name, text), "chat: preset")

    async def _keep_instructions(self, name: str, text: str) -> None:
        presets = self._app.chat_presets
        before = await presets.keep_instructions(name, text)

        async def undo() -> None:
            if before is None:
                await presets.remove_instructions(name)
            else:
                await presets.keep_instructions(before.name, before.text)
            self.look()

        self._told(f"Kept the instructions as “{name}”.", undo)

    def remove_instructions(self, preset: InstructionPreset) -> None:
        """Forget a preset."""
        self._services.run(self._remove_instructions(preset), "chat: preset")

    async def _remove_instructions(self, preset: InstructionPreset) -> None:
        presets = self._app.chat_presets
        await presets.remove_instructions(preset.name)

        async def undo() -> None:
            await presets.keep_instructions(preset.name, preset.text)
            self.look()

        self._told(f"Deleted the preset “{preset.name}”.", undo)

    def keep_answers(self, name: str, values: ModelSettings) -> None:
        """Keep a model's values as a preset."""
        self._services.run(self._keep_answers(name, values), "chat: preset")

    async def _keep_answers(self, name: str, values: ModelSettings) -> None:
        presets = self._app.chat_presets
        before = await presets.keep_answers(name, values)

        async def undo() -> None:
            if before is None:
                await presets.remove_answers(name)
            else:
                await presets.keep_answers(before.name, before.values)
            self.look()

        self._told(f"Kept how this model answers as “{name}”.", undo)

    def remove_answers(self, preset: AnswerPreset) -> None:
        """Forget a preset."""
        self._services.run(self._remove_answers(preset), "chat: preset")

    async def _remove_answers(self, preset: AnswerPreset) -> None:
        presets = self._app.chat_presets
        await presets.remove_answers(preset.name)

        async def undo() -> None:
            await presets.keep_answers(preset.name, preset.values)
            self.look()

        self._told(f"Deleted the preset “{preset.name}”.", undo)

    def _told(self, words: str, undo: _Undo) -> None:
        self.look()
        self._services.toast(words, lambda: self._services.run(undo(), "chat: undo"))


class _Undo(Protocol):
    """Takes a change back."""

    def __call__(self) -> Coroutine[Any, Any, None]: ...
