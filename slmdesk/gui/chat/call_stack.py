"""The calls of one answer, a card each, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from slmdesk.gui.chat.call_card import CallCard
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtWidgets import QWidget

    from slmdesk.gui.chat.call_card import CallDeeds
    from slmdesk.gui.chat.items import CallItem
    from slmdesk.gui.chat.typesetter import Typesetter


class CallStack(QObject):
    """Cards in the widget `home`, which lays them out.

    Attributes:
        cards: from top to bottom.

    Signals: as `CallCard` has them.
    """

    changed = Signal()
    selecting = Signal()
    link_clicked = Signal(str)

    def __init__(self, typesetter: Typesetter, deeds: CallDeeds, home: QWidget) -> None:
        super().__init__(home)
        self._typesetter = typesetter
        self._deeds = deeds
        self._home = home
        self.cards: list[CallCard] = []

    def show_calls(self, calls: Sequence[CallItem]) -> None:
        """Show these calls as they are now."""
        for card, call in zip(self.cards, calls, strict=False):
            if card.item != call:
                card.show_call(call)
        for call in calls[len(self.cards) :]:
            card = CallCard(self._typesetter, call, self._deeds, parent=self._home)
            card.changed.connect(self.changed)
            card.selecting.connect(self.selecting)
            card.link_clicked.connect(self.link_clicked)
            self.cards.append(card)
            card.show()
        while len(self.cards) > len(calls):
            gone = self.cards.pop()
            gone.release()
            let_go(gone, self._home)

    def lay(self, x: int, y: int, width: int, *, below: bool) -> int:
        """Place them from `y` on; returns where they end. `below`: something stands above them."""
        for card in self.cards:
            y += SPACE.small if below else 0
            size = card.lay(width)
            card.setGeometry(x, y, size.width(), size.height())
            y += size.height()
            below = True
        return y

    @property
    def selection(self) -> str:
        """What is selected in one of them."""
        return next((card.selection for card in self.cards if card.selection), "")

    def clear_selection(self) -> None:
        for card in self.cards:
            card.clear_selection()

    def restyle(self) -> None:
        """The typesetter has another style."""
        for card in self.cards:
            card.restyle()

    def release(self) -> None:
        """Show nothing more."""
        for card in self.cards:
            card.release()
