"""The Recently deleted page: conversations and models that can still be brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QStackedWidget, QWidget

from slmdesk.core import amounts
from slmdesk.gui.deleted.deleted_controller import DeletedController
from slmdesk.gui.page import Page, WindowServices
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.cards import CardRow, GroupCard
from slmdesk.gui.widgets.layouts import vbox
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.panels import EmptyState
from slmdesk.gui.widgets.scrolling import ScrollingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slmdesk.chat.tree import ConversationSummary
    from slmdesk.library.trash import Removed

CHATS_STAY = "Conversations stay here for 30 days."
MODELS_STAY = (
    "After ten minutes, deleted models go to the system's trash, from where its file manager restores them."
)


class DeletedPage(Page):
    """Read anew each time it is shown, and after each thing that was brought back."""

    id = "deleted"
    title = "Recently deleted"
    icon = "delete"
    surface = "window"

    def __init__(self, services: WindowServices) -> None:
        super().__init__(services)
        self._cards: list[QWidget] = []
        self._empty = EmptyState(
            self.theme, "delete", f"Nothing was deleted lately. {CHATS_STAY} {MODELS_STAY}"
        )
        self._area = ScrollingColumn(widest=MEASURE.pages)
        self._column = self._area.column
        self._column.addStretch(1)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._empty)
        self._stack.addWidget(self._area)
        layout = vbox(self, margins=0)
        layout.addWidget(self._stack)
        self.controller = DeletedController(services, self)

    def activated(self) -> None:
        self.controller.refresh()

    def show_deleted(self, chats: Sequence[ConversationSummary], removed: Sequence[Removed]) -> None:
        for card in self._cards:
            self._column.removeWidget(card)
            let_go(card, self)
        self._cards = []
        if chats:
            self._section("Conversations", CHATS_STAY, [self._chat_row(one) for one in chats])
        if removed:
            self._section("Models", MODELS_STAY, [self._model_row(one) for one in removed])
        self._stack.setCurrentWidget(self._area if self._cards else self._empty)

    def _section(self, title: str, note: str, rows: list[CardRow]) -> None:
        heading = Label(self.theme, title, role="emphasis")
        if self._cards:
            heading.setContentsMargins(0, SPACE.large, 0, 0)
        words = Label(self.theme, note, role="small", tone="secondary", wrap=True)
        card = GroupCard(self.theme)
        for row in rows:
            card.add_row(row)
        for part in (heading, words, card):
            self._column.insertWidget(len(self._cards), part)
            self._cards.append(part)

    def _chat_row(self, one: ConversationSummary) -> CardRow:
        messages = amounts.counted(one.messages, "message")
        row = CardRow(
            self.theme,
            one.title or "A conversation without a title",
            f"{messages} · deleted {amounts.moment(one.deleted_at)}",
            icon="chat",
        )
        self._restorer(row, one.title, lambda: self.controller.restore_chat(one.id))
        return row

    def _model_row(self, one: Removed) -> CardRow:
        parts = [amounts.size(one.size_bytes)] if one.size_bytes else []
        row = CardRow(
            self.theme,
            one.title,
            " · ".join([*parts, f"deleted {amounts.moment(one.removed_at)}"]),
            icon="model",
        )
        self._restorer(row, one.title, lambda: self.controller.restore_model(one.key))
        return row

    def _restorer(self, row: CardRow, title: str, restore: Callable[[], None]) -> None:
        button = Button(self.theme, "Restore", icon="undo", small=True)
        button.setAccessibleName(f"Restore {title}".rstrip())
        button.clicked.connect(restore)
        row.trailing.addWidget(button)
