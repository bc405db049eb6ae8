"""The middle of the Chat page: the messages, or the first start, above the composer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStackedWidget, QWidget

from slmdesk.gui.chat.composer import Composer
from slmdesk.gui.chat.first_start import FirstStart
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.layouts import hbox, vbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QKeyEvent

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.message_deeds import MessageDeeds
    from slmdesk.gui.chat.message_list import MessageList
    from slmdesk.gui.chat.typesetter import Typesetter
    from slmdesk.gui.theme import Theme


class ConversationPane(QWidget):
    """One readable column.

    The list of messages is made when it is first needed, so that the window stands before it.

    Attributes:
        composer, first_start: its parts.
    """

    def __init__(self, theme: Theme, deeds: MessageDeeds, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._deeds = deeds
        self._messages: MessageList | None = None
        self._typesetter: Typesetter | None = None
        self.first_start = FirstStart(theme)
        self.composer = Composer(theme)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.first_start)
        below = hbox(margins=(SPACE.wide, 0, SPACE.wide, SPACE.small))
        below.addStretch(1)
        # The composer takes all it may have; the stretches only what is left over.
        below.addWidget(self.composer, MEASURE.reading)
        below.addStretch(1)
        layout = vbox(self, margins=0, spacing=SPACE.small)
        layout.addWidget(self._stack, 1)
        layout.addLayout(below)

    @property
    def typesetter(self) -> Typesetter:
        """What the messages are set with."""
        if self._typesetter is None:
            from slmdesk.gui.chat.typesetter import Typesetter

            self._typesetter = Typesetter(self._theme, self)
        return self._typesetter

    @property
    def messages(self) -> MessageList:
        """The list of messages."""
        if self._messages is None:
            from slmdesk.gui.chat.message_list import MessageList

            made = self._messages = MessageList(self.typesetter, self._deeds)
            made.link_clicked.connect(self._open_link)
            made.left.connect(self.composer.field.setFocus)
            self.composer.scrolled.connect(made.page)
            self._stack.addWidget(made)
        return self._messages

    @property
    def items(self) -> list[MessageItem]:
        """The messages shown."""
        return [] if self._messages is None else self._messages.items

    def show_items(self, items: Sequence[MessageItem], *, keep: bool) -> None:
        """Show messages, or the first start when there are none."""
        if items or self._messages is not None:
            self.messages.show_items(items, keep=keep)
        self._stack.setCurrentWidget(self.messages if items else self.first_start)

    def close_up(self) -> None:
        """End what works behind the messages."""
        if self._typesetter is not None:
            self._typesetter.close()

    @property
    def empty(self) -> bool:
        """Whether the first start is shown."""
        return self._stack.currentWidget() is self.first_start

    def edit_last(self) -> None:
        """Edit the last message of the person in place."""
        mine = [item for item in self.items if not item.answer]
        if mine:
            self.messages.edit(mine[-1].id)

    @staticmethod
    def _open_link(href: str) -> None:
        from PySide6.QtCore import QUrl
        from PySide6.QtGui import QDesktopServices

        from slmdesk.gui.chat.markdown.blocks import safe_href

        if safe_href(href):
            QDesktopServices.openUrl(QUrl(href, QUrl.ParsingMode.StrictMode))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """What is typed while a message or one of its buttons has the focus is meant for the composer."""
        keys = Qt.KeyboardModifier
        held = event.modifiers() & (keys.ControlModifier | keys.AltModifier | keys.MetaModifier)
        letters = not held or held == keys.ControlModifier | keys.AltModifier  # both: AltGr on Windows
        if letters and event.text().strip() and event.text().isprintable():
            self.composer.type(event.text())
        else:
            super().keyPressEvent(event)

    def focus(self) -> None:
        """Put the focus where one types."""
        self.composer.field.setFocus(Qt.FocusReason.OtherFocusReason)
