"""The Chat page: conversations at the left, one of them in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QMouseEvent

from slmdesk.gui.chat.chat_controller import ChatController
from slmdesk.gui.chat.conversation_list import ConversationList
from slmdesk.gui.chat.conversation_pane import ConversationPane
from slmdesk.gui.chat.model_button import ModelButton, where_words
from slmdesk.gui.chat.names import BUILT_IN
from slmdesk.gui.chat.tool_choosing import ToolChoosing
from slmdesk.gui.page import Page
from slmdesk.gui.tasks import in_thread
from slmdesk.gui.theme import MEASURE
from slmdesk.gui.widgets.buttons import IconButton
from slmdesk.gui.widgets.layouts import hbox
from slmdesk.gui.widgets.letting_go import holds_focus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QResizeEvent
    from PySide6.QtWidgets import QWidget

    from slmdesk.chat.export import ExportFormat
    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.gui.actions import Action
    from slmdesk.gui.chat.control_panel import ControlPanel
    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.model_picker import ModelPicker
    from slmdesk.gui.page import WindowServices
    from slmdesk.tools.selection import ToolSelection

LIST_WIDTH = 272
LEAST_READING = 420
"""Messages are never narrower than this beside a panel; it lies over them then."""
SHOW_PANEL, HIDE_PANEL = "Show instructions and sampling", "Hide instructions and sampling"
NARROW = MEASURE.narrow - MEASURE.rail
"""Below this width the list of conversations lies over the messages and hides."""


class ChatPage(Page):
    """Translates between widgets and `ChatController`; holds no state of its own.

    Attributes:
        list: the conversations.
        pane: messages and composer.
        tools: which tools the conversation shown may use.
    """

    id: ClassVar[str] = "chat"
    title: ClassVar[str] = "Chat"
    icon: ClassVar[str] = "chat"
    can_find: ClassVar[bool] = True

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        self.controller = ChatController(services, self)
        self.list = ConversationList(self.theme)
        self.list.setFixedWidth(LIST_WIDTH)
        self.pane = ConversationPane(self.theme, self.controller)
        self._picker: ModelPicker | None = None  # made when it is first opened
        self._model_chosen: Callable[[str], None] = self.controller.choose_model  # what a choice in it is for
        self.tools = ToolChoosing(services, self.controller, self.pane.composer)
        self.model_button = ModelButton(self.theme)
        self.model_button.clicked.connect(lambda: self.choose_model(self.model_button))
        self._open_list = IconButton(self.theme, "list", "Show conversations")
        self._open_list.clicked.connect(self.toggle_list)
        self._open_list.hide()
        self._menu_button = IconButton(self.theme, "menu", "What to do with this conversation")
        self._menu_button.clicked.connect(self._show_menu)
        self._menu_button.setEnabled(False)
        self._panel: ControlPanel | None = None  # made when it is first opened
        self._panel_button = IconButton(self.theme, "tune", SHOW_PANEL)
        self._panel_button.clicked.connect(self.toggle_panel)
        self._over = False
        self._row = hbox(self, margins=0, spacing=0)
        self._row.addWidget(self.list)
        self._row.addWidget(self.pane, 1)
        self.pane.installEventFilter(self)
        self._connect()

    def header_widgets(self) -> list[QWidget]:
        return [self.model_button, self._open_list, self._panel_button, self._menu_button]

    def foot_height(self) -> int:
        return self.pane.composer.height()

    def begin(self) -> None:
        self.controller.start()
        # What Markdown needs is read in a thread now, so that the first answer does not wait for it.
        self.services.run(in_thread(_load_what_messages_need), "chat: warm up")

    def activated(self) -> None:
        self.controller.refresh_models()
        self.pane.focus()

    def _connect(self) -> None:
        controller, composer, first = self.controller, self.pane.composer, self.pane.first_start
        composer.sent.connect(controller.send)
        composer.stop.connect(controller.stop)
        composer.edit_last.connect(self.pane.edit_last)
        composer.draft.connect(lambda text: controller.save_draft(controller.current, text))
        composer.model_wanted.connect(self.choose_model)
        composer.context_wanted.connect(self._choose_overflow)
        first.question.connect(self._send_example)
        first.guide_question.connect(self.ask_guide)
        self.list.opened.connect(self.open)
        self.list.new_wanted.connect(self.new_chat)
        self.list.searched.connect(controller.search)
        self.list.renamed.connect(controller.rename)
        self.list.deleted.connect(self.delete)
        self.list.pinned.connect(controller.order.pin)
        self.list.duplicated.connect(controller.order.duplicate)
        self.list.moved.connect(controller.order.move)
        self.list.import_wanted.connect(controller.order.bring_in)
        self.list.export_wanted.connect(self.export)
        self.list.more_wanted.connect(controller.more)
        self.list.deleted_wanted.connect(lambda: self.services.go_to("deleted"))
        self.services.loaded.changed.connect(self._show_where)

    def _make_picker(self) -> ModelPicker:
        from slmdesk.gui.chat.model_picker import ModelPicker

        picker = ModelPicker(self.theme, self)
        picker.chosen.connect(self._take_model)
        picker.closed.connect(self.pane.focus)
        picker.more_wanted.connect(lambda: self.services.go_to("catalog"))
        picker.settings_wanted.connect(self.services.visit.kept_values)
        return picker

    async def shut_down(self) -> None:
        self._keep_draft()
        await self.controller.close()
        self.pane.close_up()

    # What the controller shows

    @property
    def typed(self) -> str:
        return self.pane.composer.text

    @property
    def tools_wanted(self) -> ToolSelection:
        return self.tools.selection

    def show_opened(self, draft: str | None) -> None:
        self._show(keep=False)
        self._look_at_panel()
        if draft is not None:
            self.pane.composer.put(draft)
        self.list.set_current(self.controller.current)
        self.tools.begun()

    def show_changed(self) -> None:
        self._show(keep=True)

    def _show(self, *, keep: bool) -> None:
        items = self.controller.items()
        grown = len(items) > len(self.pane.items)
        self.pane.show_items(items, keep=keep)
        if keep and grown and items[-1].live:
            self.pane.messages.to_end()
        self.pane.composer.set_stats(self.controller.last_stats)
        self.list.set_current(self.controller.current)
        self._menu_button.setEnabled(self.controller.current != 0)

    def show_more(self, message_id: int) -> None:
        self.pane.messages.show_more(message_id)

    def show_item(self, item: MessageItem) -> None:
        self.pane.messages.update_item(item)
        self.pane.composer.set_stats(self.controller.last_stats)

    def show_running(self) -> None:
        running = self.controller.running
        self.list.model.set_running(running)
        self.pane.composer.set_streaming(streaming=self.controller.current in running)

    def show_model(self) -> None:
        name = self.controller.model_name
        self.pane.composer.set_model(name)
        self._look_at_panel()
        self._show_where()
        guide = any(entry.built_in and not entry.problem for entry in self.controller.entries)
        self.pane.first_start.show_model(self.controller.model_entry, name, guide=guide)

    def _show_where(self) -> None:
        entry = self.controller.model_entry
        loaded = self.services.loaded.get(entry.id if entry else self.controller.model)
        self.model_button.show_model(self.controller.model_name, where_words(loaded))

    def show_models(self) -> None:
        if self._picker is not None and self._picker.isVisible():
            self._picker.refresh(self.controller.entries)

    def show_accepted(self) -> None:
        self.pane.composer.accepted()
        self.tools.begun()

    def show_refused(self) -> None:
        self.pane.composer.refused()

    def show_conversations(self, found: Sequence[ConversationSummary], searched: str, *, more: bool) -> None:
        self.list.show_summaries(found, searched=searched, more=more)

    def focus_composer(self) -> None:
        self.pane.focus()

    # What the person does

    def _send_example(self, text: str) -> None:
        self.controller.send(text)
        self.pane.focus()

    def open(self, conversation_id: int) -> None:
        """Show a conversation."""
        self._keep_draft()
        self.show_list(shown=False)
        if conversation_id != self.controller.current:
            self.controller.open(conversation_id)
        self.pane.focus()

    def new_chat(self, model_id: str = "") -> None:
        """Show a chat that has not begun, with the focus in the composer; with this model, or the usual one."""
        self._keep_draft()
        self.show_list(shown=False)
        if model_id:
            self.controller.new_chat_with(model_id)
        else:
            self.controller.new_chat()
        self.pane.focus()

    def ask_guide(self, text: str = "") -> None:
        """Show a chat with Desk Guide, which knows this program, and ask it `text`."""
        self._keep_draft()
        self.show_list(shown=False)
        self.controller.ask(BUILT_IN, text)
        self.pane.focus()

    def _keep_draft(self) -> None:
        draft = self.pane.composer.take_draft()
        if draft is not None:
            self.controller.save_draft(self.controller.current, draft)

    def delete(self, conversation_id: int) -> None:
        """Delete a conversation; the toast can undo it."""
        self.controller.delete(conversation_id, self._title_of(conversation_id))

    def export(self, conversation_id: int, form: ExportFormat) -> None:
        """Write a conversation to a file the person chooses."""
        self.controller.export(conversation_id, form, self._title_of(conversation_id))

    def _title_of(self, conversation_id: int) -> str:
        summary = self.list.model.summary_at(self.list.model.index_of(conversation_id))
        return summary.title if summary else ""

    def choose_model(self, button: QWidget | None = None) -> None:
        """Open the list of models at `button`; without one, above the composer."""
        self._choose_model(button or self.pane.composer.model_button, self.controller.choose_model)

    def choose_other_model(self, button: QWidget, chosen: Callable[[str], None]) -> None:
        self._choose_model(button, chosen)

    def _choose_model(self, button: QWidget, chosen: Callable[[str], None]) -> None:
        controller = self.controller
        if self._picker is None:
            self._picker = self._make_picker()
        self._model_chosen = chosen
        controller.refresh_models()
        entry = controller.model_entry
        current = entry.id if entry else controller.model
        self._picker.open_over(button, controller.entries, current)

    def _take_model(self, model: str) -> None:
        self._model_chosen(model)

    def _show_menu(self) -> None:
        if self.controller.current:
            self.list.menu_for(self.controller.current).open_below(self._menu_button)

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

    # the panel
    @property
    def panel(self) -> ControlPanel | None:
        """Instructions and sampling, while they are shown."""
        return self._panel if self._panel is not None and not self._panel.isHidden() else None

    def toggle_panel(self) -> None:
        """Show or hide instructions and sampling."""
        if self._panel is None:
            from slmdesk.gui.chat.control_panel import ControlPanel

            self._panel = ControlPanel(self.services, self.controller)
            self._panel.setParent(self)
            self._panel.hide()
        shown = self._panel.isHidden()
        self._panel.setVisible(shown)
        self._panel_button.rename(HIDE_PANEL if shown else SHOW_PANEL)
        self._place_panel()
        if shown:
            self._panel.look()
            self._panel.focus()
        else:
            self.pane.focus()

    def _choose_overflow(self) -> None:
        if self.panel is None:
            self.toggle_panel()
        if self.panel is not None:
            self.panel.overflow.setFocus(Qt.FocusReason.OtherFocusReason)

    def _look_at_panel(self) -> None:
        if self.panel is not None:
            self.panel.look()

    def _place_panel(self) -> None:
        """Beside the messages, or over them where they would become too narrow."""
        panel = self._panel
        if panel is None:
            return
        beside = self.width() - panel.width() - (0 if self._over else LIST_WIDTH) >= LEAST_READING
        if beside and self._row.indexOf(panel) < 0:
            self._row.addWidget(panel)
        elif not beside:
            self._row.removeWidget(panel)
            panel.setGeometry(self.width() - panel.width(), 0, panel.width(), self.height())
            panel.raise_()

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
        self._place_panel()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            watched is self.pane
            and isinstance(event, QMouseEvent)
            and event.type() == QEvent.Type.MouseButtonPress
        ):
            self.show_list(shown=False)
            if self.panel is not None and self._row.indexOf(self.panel) < 0:
                self.toggle_panel()  # it lies over the messages
        return super().eventFilter(watched, event)

    def find_here(self) -> None:
        self.show_list(shown=True)
        self.list.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.list.search.selectAll()

    def escape(self) -> None:
        if self.panel is not None and holds_focus(self.panel):
            self.toggle_panel()
        elif self._over and not self.list.isHidden():
            self.show_list(shown=False)
            self.pane.focus()
        else:
            self.controller.stop()

    # the palette
    def commands(self) -> list[Action]:
        from slmdesk.gui.chat.commands import ChatCommands

        return ChatCommands(self).all()


def _load_what_messages_need() -> None:
    from importlib import import_module

    from slmdesk.gui.chat.markdown.parse import parse

    import_module("slmdesk.gui.chat.message_list")
    parse("a **b** `c`\n\n| d |\n|---|\n| e |")
