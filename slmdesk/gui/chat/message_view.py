"""One message: who said it, what was said, how it ended, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QPainter, QPen
from PySide6.QtWidgets import QWidget

from slmdesk.gui.chat.body.body import MessageBody
from slmdesk.gui.chat.call_stack import CallStack
from slmdesk.gui.chat.edit_box import EditBox
from slmdesk.gui.chat.markdown.blocks import verbatim
from slmdesk.gui.chat.message_actions import BranchSwitch, MessageActions
from slmdesk.gui.chat.notes import Waiting, note_for
from slmdesk.gui.chat.speaker import Speaker
from slmdesk.gui.chat.thought import Thought
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from PySide6.QtGui import QEnterEvent, QFocusEvent, QKeyEvent, QMouseEvent, QPaintEvent

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.message_deeds import MessageDeeds
    from slmdesk.gui.chat.typesetter import Typesetter

LONG_LINES = 40
"""Of a longer message of the person only this many lines are shown at first."""
LONG_CHARACTERS = 6000

INSET = SPACE.small
"""Room around the text for the focus ring: the widget is wider than its column by this on either side."""

_BY_KEY = {
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
    Qt.FocusReason.OtherFocusReason,
}


class MessageView(QWidget):
    """Laid out by hand: the list asks `lay(width)` for its height.

    Attributes:
        item: what is shown.
        body: the text.
        calls: the cards of the tools it calls.

    Signals:
        changed: the height is another one.
        selecting: a selection begins in this message.
        link_clicked(str): an address was clicked.
        reached: the focus came here by a key.
        step(int): the focus should move to the message before (-1) or after (1).
        edit_left: editing was given up; the focus may go where one types.
    """

    changed = Signal()
    selecting = Signal()
    link_clicked = Signal(str)
    reached = Signal()
    step = Signal(int)
    edit_left = Signal()

    def __init__(
        self,
        typesetter: Typesetter,
        item: MessageItem,
        deeds: MessageDeeds,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._typesetter = typesetter
        theme = self.theme = typesetter.theme
        self.item = item
        self._deeds = deeds
        self._width = 0
        self._hovered = False
        self._by_keyboard = False
        self._whole = False
        self._actions: MessageActions | None = None
        self._branches: BranchSwitch | None = None
        self._note: QWidget | None = None
        self._changed: Label | None = None
        self._more: Button | None = None
        self._editor: EditBox | None = None
        self._speaker = Speaker(theme, item.name, model=item.answer, parent=self)
        self.body = MessageBody(theme, typesetter.style, typesetter.highlighter, parent=self)
        self.body.changed.connect(self._body_changed)
        self.body.selecting.connect(self.selecting)
        self.body.link_clicked.connect(self.link_clicked)
        self.feed = typesetter.renderer.feed(self.body)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._fed = 0  # characters of the answer that the feed was given
        self._thought: Thought | None = None
        self.calls = CallStack(typesetter, deeds, self)
        self.calls.changed.connect(self._resized)
        self.calls.selecting.connect(self.selecting)
        self.calls.link_clicked.connect(self.link_clicked)
        self._text_came = False
        self._show_text()
        self.calls.show_calls(self.item.calls)
        self._show_state()

    # content
    def update_item(self, item: MessageItem) -> None:
        """Show the message as it is now. Text that only grew is streamed; other text is shown anew."""
        before, self.item = self.item, item
        self._speaker.set_name(item.name)
        goes_on = item.live and before.grown is item.grown
        if item.answer and not goes_on and not _begins_as(item.text, before.text, self._fed):
            self.feed.restart()
            self._fed = 0
        self._show_text()
        self.calls.show_calls(self.item.calls)
        self._show_state()
        self._resized()

    def show_more(self) -> None:
        """The answer being written has grown."""
        self._text_came = True
        self._show_answer()

    @property
    def complete(self) -> bool:
        """Whether all text is shown."""
        return not self.feed.waiting and (self._thought is None or self._thought.complete)

    @property
    def editing(self) -> bool:
        return self._editor is not None

    @property
    def speaker(self) -> Speaker:
        """The line over the text."""
        return self._speaker

    @property
    def note(self) -> QWidget | None:
        """What stands below the text, if anything."""
        return self._note

    @property
    def changed_words(self) -> str:
        """The quiet line about an engine that was changed in this answer, or ""."""
        return self._changed.text() if self._changed is not None else ""

    @property
    def thought(self) -> Thought | None:
        """The card with the reasoning, if there is any."""
        return self._thought

    def _show_text(self) -> None:
        if not self.item.answer:
            self._show_verbatim(self.item.text)
            return
        self._show_answer()
        if not self.item.live:
            self.feed.finish()

    def _show_answer(self) -> None:
        """What came since the last time: into the body, and what was thought into its card."""
        item = self.item
        if len(item.text) > self._fed:
            self.feed.append(item.text[self._fed :])
            self._fed = len(item.text)
        if item.thinking or item.reasoning:
            if self._thought is None:
                self._make_thought()
            assert self._thought is not None
            seconds = 0.0 if item.live else float(item.message.stats.get("reasoning_s", 0.0))
            self._thought.show_thought(item.reasoning, thinking=item.thinking, seconds=seconds)
        elif self._thought is not None:
            self._drop_thought()

    def _make_thought(self) -> None:
        opened = self._typesetter.unfolded
        thought = Thought(self._typesetter, opened=self.item.id in opened, parent=self)
        thought.changed.connect(self._resized)
        thought.selecting.connect(self.selecting)
        thought.link_clicked.connect(self.link_clicked)
        thought.unfolded.connect(lambda on: opened.add(self.item.id) if on else opened.discard(self.item.id))
        self._thought = thought
        thought.show()
        if isinstance(self._note, Waiting):
            self._set_note(None)
        self._resized()

    def _drop_thought(self) -> None:
        thought, self._thought = self._thought, None
        if thought is not None:
            thought.release()
            let_go(thought, self)
            self._resized()

    def _show_verbatim(self, text: str) -> None:
        shown = text if self._whole else folded(text)
        self.body.show_blocks(verbatim(shown))
        hidden = text.count("\n") - shown.count("\n")
        if len(shown) < len(text) and self._more is None:
            words = f"Show {hidden + 1:,} more lines" if hidden else "Show all of it"
            self._more = Button(self.theme, words, kind="link", small=True, parent=self)
            self._more.clicked.connect(self._show_whole)
            self._more.show()

    def _show_whole(self) -> None:
        self._whole = True
        if self._more is not None:
            more, self._more = self._more, None
            let_go(more, self)
        self._show_verbatim(self.item.text)
        self._resized()

    def _show_state(self) -> None:
        self._show_branches()
        if self.item.live:
            self._text_came = not self.item.status
            if self._text_came:
                pass  # a note goes when the first words are on the screen, so that there is no gap between
            elif isinstance(self._note, Waiting):
                self._note.set_words(self.item.status)
            else:
                self._set_note(Waiting(self.theme, self.item.status, parent=self))
        else:
            self._set_note(
                note_for(
                    self.theme,
                    self.item,
                    go_on=lambda: self._deeds.continue_from(self.item.id),
                    again=self._regenerate,
                    mend=self._deeds.mend,
                )
            )
        self._show_change()
        if self._actions is not None:
            actions, self._actions = self._actions, None
            let_go(actions, self)
        self._show_actions()
        self.setAccessibleName(
            f"{self.item.name}: {self.item.text}" if not self.item.live else self.item.name
        )

    def _show_change(self) -> None:
        words = self.item.engine_change if not self.item.live else ""
        if words and self._changed is None:
            self._changed = Label(self.theme, words, role="small", tone="secondary", wrap=True, parent=self)
            self._changed.setAccessibleName(words)
            self._changed.show()

    def _set_note(self, note: QWidget | None) -> None:
        before, self._note = self._note, note
        if before is not None:
            let_go(before, self)
        if note is not None:
            note.setParent(self)
            note.show()

    def restyle(self) -> None:
        """The typesetter has another style."""
        self.body.restyle(self._typesetter.style)
        if self._thought is not None:
            self._thought.restyle()
        self.calls.restyle()
        self._width = 0

    def release(self) -> None:
        """Show nothing more."""
        self.feed.close()
        self.body.release()
        if self._thought is not None:
            self._thought.release()
        self.calls.release()

    def clear_selection(self) -> None:
        """A selection began elsewhere."""
        self.body.clear_selection()
        if self._thought is not None:
            self._thought.clear_selection()
        self.calls.clear_selection()

    # layout
    def lay(self, width: int) -> int:
        """Place everything for `width` pixels; returns the height."""
        self._width = width
        x, y = INSET, SPACE.tiny
        self._speaker.setVisible(not self.item.goes_on)
        if not self.item.goes_on:
            name_height = self._speaker.sizeHint().height()
            self._speaker.setGeometry(x, y, width, name_height)
            y += name_height + SPACE.tiny
        if self._editor is not None:
            height = self._editor.sizeHint().height()
            self._editor.setGeometry(x, y, width, height)
            y += height
        else:
            if self._thought is not None:
                size = self._thought.lay(width)
                self._thought.setGeometry(x, y, size.width(), size.height())
                y += size.height() + (SPACE.small if self.body.blocks else 0)
            height = self.body.lay(width)
            self.body.setGeometry(x, y, width, height)
            y += height
            above = bool(self.body.blocks) or self._thought is not None
            y = self.calls.lay(x, y, width, below=above)
            above = above or bool(self.calls.cards)
            for extra in (self._more, self._changed, self._note):
                if extra is not None:
                    height = _height(extra, width)
                    y += SPACE.small if above else 0
                    narrow = extra is self._more
                    extra.setGeometry(x, y, extra.sizeHint().width() if narrow else width, height)
                    y += height
        y += SPACE.tiny
        self._place_actions(y)
        return y + MEASURE.control_small + SPACE.tiny

    def _place_actions(self, y: int) -> None:
        x = INSET - SPACE.tiny  # so that the icons, not their buttons, stand in line with the text
        for group in (self._branches, self._actions):
            if group is not None:
                width = min(group.sizeHint().width(), self.width() - x)
                group.setGeometry(x, y, width, MEASURE.control_small)
                x += width + SPACE.small

    def _body_changed(self) -> None:
        if isinstance(self._note, Waiting) and self._text_came:
            self._set_note(None)
        self._resized()

    def _resized(self) -> None:
        if self._width:
            self.changed.emit()

    # actions
    def _show_branches(self) -> None:
        if self._branches is not None:
            branches, self._branches = self._branches, None
            let_go(branches, self)
        if self.item.branches < 2:
            return
        self._branches = BranchSwitch(self.theme, self.item, parent=self)
        self._branches.chosen.connect(lambda branch: self._deeds.select_branch(self.item.id, branch))
        self._branches.show()

    @property
    def branch_words(self) -> str:
        """What the branch switcher says ("2/3"), or ""."""
        return self._branches.words if self._branches is not None else ""

    def _show_actions(self) -> None:
        focused = self.hasFocus() or (self.focusWidget() is not None and self.focusWidget().hasFocus())
        lasting = self.item.answer and self.item.last  # to be done next, so in sight
        wanted = (self._hovered or focused or lasting) and self.item.settled and not self.editing
        if wanted and self._actions is None:
            self._actions = self._make_actions()
            if self._width:
                self._place_actions(self.height() - MEASURE.control_small - SPACE.tiny)
        if self._actions is not None:
            self._actions.setVisible(wanted)

    def _make_actions(self) -> MessageActions:
        actions = MessageActions(self.theme, self.item, parent=self)
        actions.other_wanted.connect(lambda button: self._deeds.regenerate_with(self.item.id, button))
        actions.copy_wanted.connect(self.copy)
        actions.again_wanted.connect(self._regenerate)
        actions.edit_wanted.connect(self.edit)
        actions.fork_wanted.connect(lambda: self._deeds.fork(self.item.id))
        return actions

    def _regenerate(self) -> None:
        self._deeds.regenerate(self.item.id)

    def copy(self) -> None:
        """Copy the selection, or else the whole message as it was written, without the reasoning."""
        thought = self._thought.selection if self._thought is not None else ""
        selected = self.body.selection or thought or self.calls.selection
        QGuiApplication.clipboard().setText(selected or self.item.text)

    def edit(self) -> None:
        """Let the person change their message in place."""
        if self.editing or self.item.answer:
            return
        self._editor = EditBox(self.theme, self.item.text, parent=self)
        self._editor.sent.connect(self._edited)
        self._editor.cancelled.connect(self._cancelled)
        self._editor.changed.connect(self._resized)
        self.body.hide()
        self._show_actions()
        self._editor.show()
        self._editor.begin()
        self._resized()

    def _edited(self, text: str) -> None:
        self._close_editor()
        self._deeds.edit(self.item.id, text)

    def _cancelled(self) -> None:
        self._close_editor()
        self.edit_left.emit()

    def _close_editor(self) -> None:
        if self._editor is not None:
            editor, self._editor = self._editor, None
            let_go(editor, self)
            self.body.show()
            self._show_actions()
            self._resized()

    # pointer, focus, keys
    def enterEvent(self, event: QEnterEvent) -> None:
        super().enterEvent(event)
        self._hovered = True
        self._show_actions()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._hovered = False
        self._show_actions()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self._by_keyboard = event.reason() in _BY_KEY
        if self._by_keyboard:
            self.reached.emit()
        self._show_actions()
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        # The focus may go to one of the actions, which must then stay.
        QTimer.singleShot(0, self, self._show_actions)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.selecting.emit()
            self.body.select_all()
        elif event.key() in {Qt.Key.Key_Up, Qt.Key.Key_Down}:
            self.step.emit(-1 if event.key() == Qt.Key.Key_Up else 1)
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.hasFocus() and self._by_keyboard:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(self.theme.colour("accent"), MEASURE.focus))
            inset = MEASURE.focus / 2
            frame = QRectF(self.rect()).adjusted(inset, inset, -inset, -inset)
            painter.drawRoundedRect(frame, MEASURE.corner, MEASURE.corner)


def _begins_as(text: str, before: str, length: int) -> bool:
    """Whether so much of two texts is the same."""
    return len(text) >= length and text[:length] == before[:length]


def folded(text: str) -> str:
    """What is shown at first of a message of the person."""
    return "\n".join(text[:LONG_CHARACTERS].split("\n")[:LONG_LINES])


def _height(widget: QWidget, width: int) -> int:
    layout = widget.layout()
    if layout is not None and layout.hasHeightForWidth():
        return layout.totalHeightForWidth(width)
    if widget.hasHeightForWidth():
        return widget.heightForWidth(width)
    return widget.sizeHint().height()
