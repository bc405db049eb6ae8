"""The Chat page: conversations at the left, one of them in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QEvent, QObject, QPoint, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from slmdesk.core.error_codes import UNFIT
from slmdesk.gui.chat.conversation_list import ConversationList
from slmdesk.gui.chat.conversation_pane import ConversationPane
from slmdesk.gui.chat.model_button import ModelButton, where_words
from slmdesk.gui.chat.names import BUILT_IN
from slmdesk.gui.page import Page
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.buttons import IconButton

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

    from slmdesk.core.errors import SlmDeskError
    from slmdesk.gui.actions import Action
    from slmdesk.gui.chat.chat_controller import ChatController
    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.model_picker import ModelPicker
    from slmdesk.gui.page import Remedy, WindowServices

LIST_WIDTH = 272
NARROW = MEASURE.narrow - MEASURE.rail
"""Below this width the list of conversations lies over the messages and hides."""


class ChatPage(Page):
    """Translates between widgets and `ChatController`; holds no state of its own.

    Attributes:
        list: the conversations.
        pane: messages and composer.
        controller: there from the first `activated` on.
    """

    id: ClassVar[str] = "chat"
    title: ClassVar[str] = "Chat"
    icon: ClassVar[str] = "chat"
    can_find: ClassVar[bool] = True

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        self.controller: ChatController | None = None
        self.list = ConversationList(self.theme)
        self.list.setFixedWidth(LIST_WIDTH)
        self.pane = ConversationPane(self.theme, self._mend)
        self._picker: ModelPicker | None = None
        self.model_button = ModelButton(self.theme)
        self.model_button.clicked.connect(lambda: self.choose_model(self.model_button))
        self._open_list = IconButton(self.theme, "list", "Show conversations")
        self._open_list.clicked.connect(self.toggle_list)
        self._open_list.hide()
        self._menu_button = IconButton(self.theme, "menu", "What to do with this conversation")
        self._menu_button.clicked.connect(self._show_menu)
        self._menu_button.setEnabled(False)
        self._over = False
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(0)
        self._row.addWidget(self.list)
        self._row.addWidget(self.pane, 1)
        self.pane.installEventFilter(self)

    def header_widgets(self) -> list[QWidget]:
        return [self.model_button, self._open_list, self._menu_button]

    def foot_height(self) -> int:
        return self.pane.composer.height()

    def activated(self) -> None:
        if self.controller is None:
            self._begin()
        elif self.controller is not None:
            self.controller.refresh_models()
        self.pane.focus()

    def asked(self, what: str, value: str) -> None:
        if what == "chat_with":
            self.new_chat(value)
        elif what == "open":
            self._open(int(value))

    def _begin(self) -> None:
        from slmdesk.gui.chat.chat_controller import ChatController

        controller = self.controller = ChatController(self.services, self.services.application, self)
        controller.opened.connect(self._show_opened)
        controller.changed.connect(lambda: self._show(keep=True))
        controller.item_changed.connect(self._show_item)
        controller.text_arrived.connect(self._show_text)
        controller.running_changed.connect(self._show_running)
        controller.accepted.connect(self.pane.composer.accepted)
        controller.refused.connect(self.pane.composer.refused)
        controller.listed.connect(
            lambda found, words, more: self.list.show_summaries(found, searched=words, more=more)
        )
        controller.model_changed.connect(self._show_model)
        controller.models_known.connect(self._show_models)
        controller.deleted.connect(self._deleted)
        self._connect_list(controller)
        composer = self.pane.composer
        composer.sent.connect(self._send)
        composer.stop.connect(controller.stop)
        composer.edit_last.connect(self.pane.edit_last)
        composer.draft.connect(lambda text: controller.save_draft(controller.current, text))
        composer.model_wanted.connect(self.choose_model)
        self.services.loaded.changed.connect(self._show_where)
        self.pane.first_start.asked.connect(self._send_example)
        self.pane.first_start.guide_asked.connect(self.ask_guide)
        self.pane.asked.connect(self._asked)
        controller.start()
        # What Markdown needs is read in a thread now, so that the first answer does not wait for it.
        self.services.run(_warm_up(), "chat: warm up")

    def _connect_list(self, controller: ChatController) -> None:
        self.list.opened.connect(self._open)
        self.list.new_wanted.connect(self.new_chat)
        self.list.searched.connect(controller.search)
        self.list.renamed.connect(controller.rename)
        self.list.deleted.connect(self.delete)
        self.list.export_wanted.connect(self.export)
        self.list.more_wanted.connect(controller.more)
        self.list.deleted_wanted.connect(lambda: self.services.go_to("deleted"))

    async def shut_down(self) -> None:
        self._keep_draft()
        if self.controller is not None:
            await self.controller.close()
        self.pane.close_up()

    # showing
    def _show_opened(self, draft: str) -> None:
        assert self.controller is not None
        self._show(keep=False)
        self.pane.composer.put(draft)
        self.list.set_current(self.controller.current)

    def _show(self, *, keep: bool) -> None:
        assert self.controller is not None
        items = self.controller.items()
        grown = len(items) > len(self.pane.items)
        self.pane.show_items(items, keep=keep)
        if keep and grown and items[-1].live:
            self.pane.messages.to_end()
        self.pane.composer.set_stats(self.controller.last_stats)
        self.list.set_current(self.controller.current)
        self._menu_button.setEnabled(self.controller.current != 0)

    def _show_text(self, message_id: int, text: str) -> None:
        self.pane.messages.append_text(message_id, text)

    def _show_item(self, item: MessageItem) -> None:
        assert self.controller is not None
        self.pane.messages.update_item(item)
        self.pane.composer.set_stats(self.controller.last_stats)

    def _show_running(self) -> None:
        assert self.controller is not None
        running = self.controller.running
        self.list.model.set_running(running)
        self.pane.composer.set_streaming(streaming=self.controller.current in running)

    def _show_model(self) -> None:
        assert self.controller is not None
        name = self.controller.model_name
        self.pane.composer.set_model(name)
        self._show_where()
        guide = any(entry.built_in and not entry.problem for entry in self.controller.entries)
        self.pane.first_start.show_model(self.controller.model_entry, name, guide=guide)

    def _show_where(self) -> None:
        assert self.controller is not None
        entry = self.controller.model_entry
        loaded = self.services.loaded.get(entry.id if entry else self.controller.model)
        self.model_button.show_model(self.controller.model_name, where_words(loaded))

    def _show_models(self) -> None:
        if self._picker is not None and self._picker.isVisible() and self.controller is not None:
            self._picker.refresh(self.controller.entries)

    def _mend(self, error: SlmDeskError) -> Remedy | None:
        """A better button for an error than "Try again"."""
        if error.code in UNFIT:
            return "Choose another model", self.choose_model
        if error.code == "context_exceeded":
            return "New chat", self.new_chat
        return None

    # doing
    def _send(self, text: str) -> None:
        assert self.controller is not None
        self.controller.send(text)

    def _send_example(self, text: str) -> None:
        assert self.controller is not None
        self.controller.send(text)
        self.pane.focus()

    def _open(self, conversation_id: int) -> None:
        assert self.controller is not None
        self._keep_draft()
        self.show_list(shown=False)
        if conversation_id != self.controller.current:
            self.controller.open(conversation_id)
        self.pane.focus()

    def new_chat(self, model_id: str = "") -> None:
        """Show a chat that has not begun, with the focus in the composer; with this model, or the usual one."""
        if self.controller is not None:
            self._keep_draft()
            self.show_list(shown=False)
            if model_id:
                self.controller.new_chat_with(model_id)
            else:
                self.controller.new_chat()
            self.pane.focus()

    def ask_guide(self, text: str = "") -> None:
        """Show a chat with Desk Guide, which knows this program, and ask it `text`."""
        if self.controller is not None:
            self._keep_draft()
            self.show_list(shown=False)
            self.controller.ask(BUILT_IN, text)
            self.pane.focus()

    def _keep_draft(self) -> None:
        draft = self.pane.composer.take_draft()
        if draft is not None and self.controller is not None:
            self.controller.save_draft(self.controller.current, draft)

    def _asked(self, message_id: int, what: str, value: object) -> None:
        controller = self.controller
        assert controller is not None
        match what, value:
            case "regenerate", _:
                controller.regenerate(message_id)
            case "continue", _:
                controller.continue_from(message_id)
            case "edit", str() as text:
                controller.edit(message_id, text)
            case "branch", int() as branch:
                controller.select_branch(message_id, branch)
        self.pane.focus()  # one goes on typing, and Esc stops

    def delete(self, conversation_id: int) -> None:
        """Delete a conversation; the toast can undo it."""
        if self.controller is not None:
            summary = self.list.model.summary_at(self.list.model.index_of(conversation_id))
            self.controller.delete(conversation_id, summary.title if summary else "")

    def _deleted(self, conversation_id: int, title: str) -> None:
        controller = self.controller
        assert controller is not None
        words = f"Deleted “{title}”." if title else "Deleted the conversation."
        self.services.toast(words, lambda: controller.restore(conversation_id))

    def choose_model(self, button: QWidget | None = None) -> None:
        """Open the list of models at `button`; without one, above the composer."""
        if self.controller is None:
            return
        if self._picker is None:
            from slmdesk.gui.chat.model_picker import ModelPicker

            self._picker = ModelPicker(self.theme, self)
            self._picker.chosen.connect(self.controller.choose_model)
            self._picker.closed.connect(self.pane.focus)
            self._picker.more_wanted.connect(lambda: self.services.go_to("catalog"))
            self._picker.settings_wanted.connect(lambda file: self.services.ask("library", "kept", file))
        self.controller.refresh_models()
        entry = self.controller.model_entry
        current = entry.id if entry else self.controller.model
        self._picker.open_over(button or self.pane.composer.model_button, self.controller.entries, current)

    def _show_menu(self) -> None:
        if self.controller is not None and self.controller.current:
            menu = self.list.menu_for(self.controller.current)
            corner = self._menu_button.mapToGlobal(self._menu_button.rect().bottomRight())
            menu.popup(corner - QPoint(menu.sizeHint().width(), 0))

    def export(self, conversation_id: int, form: str) -> None:
        """Write a conversation to a file the person chooses."""
        self.services.run(self._export(conversation_id, form), "chat: export")

    async def _export(self, conversation_id: int, form: str) -> None:
        from slmdesk.gui.chat.exporting import export_to_file

        assert self.controller is not None
        summary = self.list.model.summary_at(self.list.model.index_of(conversation_id))
        title = summary.title if summary else self.controller.title(conversation_id)
        text = await self.controller.export(conversation_id, form)
        path = await export_to_file(self.services.window(), title, text, form)
        if path is not None:
            self.services.toast(f"Exported to {path.name}.")

    # the list below 900 pixels
    def toggle_list(self) -> None:
        """Show or hide the list where it lies over the messages."""
        self.show_list(shown=self.list.isHidden())

    def show_list(self, *, shown: bool) -> None:
        """Only does something in a narrow window; in a wide one the list is always there."""
        if self._over:
            self.list.setVisible(shown)
            self._open_list.rename("Hide conversations" if shown else "Show conversations")
            if shown:
                self.list.setGeometry(0, 0, LIST_WIDTH, self.height())
                self.list.raise_()
                self.list.search.setFocus()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        over = self.width() < NARROW
        if over != self._over:
            self._over = over
            self._open_list.setVisible(over)
            if over:
                self._row.removeWidget(self.list)
                self.list.hide()
                self.list.setGeometry(0, 0, LIST_WIDTH, self.height())
            else:
                self._row.insertWidget(0, self.list)
                self.list.show()
        elif over:
            self.list.setGeometry(0, 0, LIST_WIDTH, self.height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            watched is self.pane
            and isinstance(event, QMouseEvent)
            and event.type() == QEvent.Type.MouseButtonPress
        ):
            self.show_list(shown=False)
        return super().eventFilter(watched, event)

    def find_here(self) -> None:
        self.show_list(shown=True)
        self.list.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.list.search.selectAll()

    def escape(self) -> None:
        if self._over and not self.list.isHidden():
            self.show_list(shown=False)
            self.pane.focus()
        elif self.controller is not None:
            self.controller.stop()

    # the palette
    def commands(self) -> list[Action]:
        from slmdesk.gui.chat.commands import ChatCommands

        return ChatCommands(self).all()


async def _warm_up() -> None:
    import asyncio

    await asyncio.to_thread(_load_what_messages_need)


def _load_what_messages_need() -> None:
    from importlib import import_module

    from slmdesk.gui.chat.markdown.parse import parse

    import_module("slmdesk.gui.chat.message_list")
    parse("a **b** `c`\n\n| d |\n|---|\n| e |")
