"""What stands below a message: the way between its versions, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.chat.body.body import COPIED_MS
from slmdesk.gui.chat.figures import figures_line, figures_table
from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import IconButton
from slmdesk.gui.widgets.layouts import hbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.theme import Theme


class BranchSwitch(QWidget):
    """Which of several versions is shown ("2/3"), between two arrows.

    Signals:
        chosen(int): another one is wanted; counted from 0.
    """

    chosen = Signal(int)

    def __init__(self, theme: Theme, item: MessageItem, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        at, count = item.branch, item.branches
        back = IconButton(theme, "chevron-left", "Earlier version", small=True)
        on = IconButton(theme, "chevron-right", "Later version", small=True)
        self._words = Label(theme, f"{at + 1}/{count}", role="small", tone="secondary")
        self._words.setFont(theme.font("small", tabular=True))
        self._words.setAccessibleName(f"Version {at + 1} of {count}")
        back.setEnabled(at > 0 and not item.live)
        on.setEnabled(at < count - 1 and not item.live)
        back.clicked.connect(lambda: self.chosen.emit(at - 1))
        on.clicked.connect(lambda: self.chosen.emit(at + 1))
        _row(self, back, self._words, on)

    @property
    def words(self) -> str:
        return self._words.text()


class _Figures(ElidedLabel):
    """What was measured of an answer; all of it as its tooltip and for screen readers."""

    def __init__(self, theme: Theme, words: str, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__(theme, words, role="small", tone="secondary")
        self.setFont(theme.font("small", tabular=True))
        self._whole = "\n".join(f"{name}: {value}" for name, value in rows)
        self.setAccessibleName(words)
        self.setAccessibleDescription(self._whole)
        self.setToolTip(self._whole)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.setToolTip(self._whole)


class MessageActions(QWidget):
    """Copy; for an answer Regenerate, by another model too, and Fork; Edit for what the person wrote.

    Signals:
        copy_wanted, again_wanted, edit_wanted, fork_wanted: one was pressed.
        other_wanted(QWidget): another model is to answer; it is chosen at this button.
    """

    copy_wanted = Signal()
    again_wanted = Signal()
    other_wanted = Signal(QWidget)
    edit_wanted = Signal()
    fork_wanted = Signal()

    def __init__(self, theme: Theme, item: MessageItem, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._copy = IconButton(theme, "copy", "Copy", small=True)
        self._copy.clicked.connect(self._copied)
        widgets: list[QWidget] = [self._copy]
        if item.answer:
            again = IconButton(theme, "refresh", "Regenerate", small=True)
            again.clicked.connect(self.again_wanted)
            other = IconButton(theme, "switch", "Regenerate with another model", small=True)
            other.clicked.connect(lambda: self.other_wanted.emit(other))
            fork = IconButton(theme, "fork", "New conversation from here", small=True)
            fork.clicked.connect(self.fork_wanted)
            widgets += [again, other, fork]
            if words := figures_line(item.message):
                widgets.append(_Figures(theme, words, figures_table(item.message, item.name)))
        else:
            edit = IconButton(theme, "edit", "Edit", small=True)
            edit.clicked.connect(self.edit_wanted)
            widgets.append(edit)
        _row(self, *widgets)

    def _copied(self) -> None:
        self.copy_wanted.emit()
        self._copy.set_icon("check")
        self._copy.rename("Copied")
        QTimer.singleShot(COPIED_MS, self._copy, self._copied_long_ago)

    def _copied_long_ago(self) -> None:
        self._copy.set_icon("copy")
        self._copy.rename("Copy")


def _row(group: QWidget, *widgets: QWidget) -> None:
    layout = hbox(group, margins=0, spacing=SPACE.tiny)
    for widget in widgets:
        layout.addWidget(widget)
