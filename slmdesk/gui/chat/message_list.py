"""The messages of a conversation in one readable column.

Only the messages in and near the view have widgets; of the others the height is remembered or guessed. So a
conversation of five hundred messages opens as fast as one of five.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Qt, QTimer, Signal
from PySide6.QtWidgets import QScrollArea, QWidget

from slmdesk.gui.chat.follow import Follow
from slmdesk.gui.chat.message_view import INSET, MessageView, folded
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.letting_go import holds_focus, let_go

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtGui import QKeyEvent, QResizeEvent

    from slmdesk.gui.chat.items import MessageItem
    from slmdesk.gui.chat.message_deeds import MessageDeeds
    from slmdesk.gui.chat.typesetter import Typesetter

MARGIN = SPACE.wide
AHEAD = 600
"""Messages this far (pixels) outside the view have their widgets ready."""


class _Row:
    """One message: its place, and its widget while it is near the view."""

    def __init__(self, item: MessageItem) -> None:
        self.item = item
        self.top = 0
        self.height = 0
        self.known = False  # whether the height was measured at the present width
        self.view: MessageView | None = None

    @property
    def bottom(self) -> int:
        return self.top + self.height


class MessageList(QScrollArea):
    """Follows the end while an answer streams in, unless the reader has scrolled up.

    Attributes:
        follow: whether it follows.

    Signals:
        link_clicked(str): an address was clicked.
        left: the focus wants to leave below the last message, or its message goes.
    """

    link_clicked = Signal(str)
    left = Signal()

    def __init__(
        self,
        typesetter: Typesetter,
        deeds: MessageDeeds,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._typesetter = typesetter
        self._deeds = deeds
        self._rows: list[_Row] = []
        self.follow = Follow()
        self._moving = False
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName("Messages")
        # A viewport of our own: to wrap one made by Qt, PySide first makes every class it might be, in 25 ms.
        self._port = QWidget()
        self.setViewport(self._port)
        self._canvas = QWidget()
        self._canvas.setObjectName("canvas")
        self.setWidget(self._canvas)
        self._port.setAutoFillBackground(False)
        self._canvas.setAutoFillBackground(False)
        bar = self.verticalScrollBar()
        bar.setSingleStep(SPACE.huge)
        bar.valueChanged.connect(self._scrolled)
        self._latest = Button(typesetter.theme, "Latest", icon="arrow-down", small=True, parent=self)
        self._latest.setToolTip("Go to the end")
        self._latest.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the word
        self._latest.clicked.connect(self.to_end)
        self._latest.hide()
        typesetter.changed.connect(self._restyle)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(0)
        self._settle.timeout.connect(self._settled)
        self._dirty_from: int | None = None

    # content
    def show_items(self, items: Sequence[MessageItem], *, keep: bool = False) -> None:
        """Show these messages; with `keep` the same conversation in another state, else from its end."""
        old = {row.item.id: row for row in self._rows} if keep else {}
        anchor = self._anchor()
        rows: list[_Row] = []
        for item in items:
            row = old.pop(item.id, None)
            if row is None:
                row = _Row(item)
                row.height = self._guess(item)
            elif row.item != item:
                row.item = item
                if row.view is not None:
                    row.view.update_item(item)
                else:
                    row.known = False
            rows.append(row)
        # The list forgets them before they go: what goes may scroll it, and it makes widgets for what it knows.
        kept = set(map(id, rows))
        gone = [row for row in self._rows if id(row) not in kept]
        self._rows = rows
        for row in gone:
            self._release(row)
        if not keep:
            self.follow.jump()
        self._reflow(0, anchor if keep else None)

    def update_item(self, item: MessageItem) -> None:
        """Show one message as it is now."""
        for number, row in enumerate(self._rows):
            if row.item.id == item.id:
                row.item = item
                row.known = False
                if row.view is not None:
                    row.view.update_item(item)
                self._changed(number)
                return

    def show_more(self, message_id: int) -> None:
        """An answer being written has grown."""
        for row in reversed(self._rows):
            if row.item.id == message_id:
                if row.view is not None:
                    row.view.show_more()
                return

    @property
    def items(self) -> list[MessageItem]:
        return [row.item for row in self._rows]

    def view_of(self, message_id: int) -> MessageView | None:
        """The widget of a message, if it has one now."""
        for row in self._rows:
            if row.item.id == message_id:
                return row.view
        return None

    @property
    def widgets(self) -> int:
        """How many messages have widgets now."""
        return sum(row.view is not None for row in self._rows)

    def edit(self, message_id: int) -> None:
        """Let the person change one of their messages."""
        for row in self._rows:
            if row.item.id == message_id:
                self._reveal(row)
                view = self._realised(row)
                view.edit()
                return

    # layout
    @property
    def _column(self) -> tuple[int, int]:
        """Left edge and width of the column, in pixels."""
        room = self.width()  # with or without a scroll bar, so that the text stands still when one comes
        width = max(min(MEASURE.reading, room - 2 * MARGIN), 1)
        return (room - width) // 2, width

    def _guess(self, item: MessageItem) -> int:
        """About how high a message will be."""
        style = self._typesetter.style
        text = item.text if item.answer else folded(item.text)
        letters = max(self._column[1] / (style.body.pixelSize() * 0.52), 20)
        lines = len(text) / letters + 0.6 * text.count("\n") + 1
        return round(lines * style.line) + style.line + MEASURE.control_small + 2 * SPACE.tiny

    def _anchor(self) -> tuple[_Row, int] | None:
        """The first message in the view and how far it reaches above it."""
        value = self.verticalScrollBar().value()
        for row in self._rows:
            if row.bottom > value:
                return row, value - row.top
        return None

    def _changed(self, number: int) -> None:
        """The height of a row may be another one; many changes in a row cost one layout."""
        self._dirty_from = number if self._dirty_from is None else min(self._dirty_from, number)
        if not self._settle.isActive():
            self._settle.start()

    def _settled(self) -> None:
        first, self._dirty_from = self._dirty_from, None
        if first is not None and first < len(self._rows):
            self._reflow(first, self._anchor())

    def _reflow(self, first: int, anchor: tuple[_Row, int] | None) -> None:
        """Place the rows from `first` on, and keep what the reader sees where it is."""
        left, width = self._column
        y = self._rows[first - 1].bottom if first else MARGIN
        for row in self._rows[first:]:
            row.top = y
            if row.view is not None:
                height = row.view.lay(width)
                # A message that is still being read in does not shrink what was guessed.
                row.height = height if row.view.complete or row.item.live else max(height, row.height)
                row.known = row.view.complete
                row.view.setGeometry(left - INSET, y, width + 2 * INSET, row.height)
            y += row.height
        self._resize_canvas(y + MARGIN)
        bar = self.verticalScrollBar()
        if self.follow.following:
            self._move(bar.maximum())
        elif anchor is not None and any(row is anchor[0] for row in self._rows):
            self._move(anchor[0].top + anchor[1])
        self._realise()
        self._show_latest()

    def _resize_canvas(self, height: int) -> None:
        self._moving = True
        try:
            self._canvas.resize(self.viewport().width(), max(height, self.viewport().height()))
        finally:
            self._moving = False

    def _move(self, value: int) -> None:
        self._moving = True
        try:
            self.verticalScrollBar().setValue(value)
        finally:
            self._moving = False

    def _realise(self) -> None:
        """Give widgets to the messages near the view and take them from the others."""
        value, height = self.verticalScrollBar().value(), self.viewport().height()
        first, last = value - AHEAD, value + height + AHEAD
        changed: int | None = None
        ahead = False  # one message outside the view at a time, so that scrolling stays smooth
        for number, row in enumerate(self._rows):
            near = row.top < last and row.bottom > first
            if near and row.view is None:
                seen = row.top < value + height and row.bottom > value
                if seen or not ahead:
                    self._realised(row)
                ahead = ahead or not seen
                changed = number if changed is None else changed
            elif not near and row.view is not None and self._dirty_from is None and not self._pinned(row):
                self._release(row)  # only once all rows stand where they belong
        if changed is not None:
            self._changed(changed)

    @staticmethod
    def _pinned(row: _Row) -> bool:
        """Whether a message keeps its widget however far away it is."""
        view = row.view
        if view is None:
            return False
        return row.item.live or view.editing or holds_focus(view)

    def _realised(self, row: _Row) -> MessageView:
        if row.view is not None:
            return row.view
        # What shows messages is imported with the first of them: an empty conversation is painted without it.

        left, width = self._column
        view = row.view = MessageView(self._typesetter, row.item, self._deeds, parent=self._canvas)
        view.changed.connect(lambda: self._changed(self._rows.index(row)) if row in self._rows else None)
        view.link_clicked.connect(self.link_clicked)
        view.selecting.connect(lambda: self._end_selections(row))
        view.reached.connect(lambda: self._reveal(row))
        view.body.dragged.connect(self._dragged)
        view.step.connect(lambda by: self._step(row, by))
        view.edit_left.connect(self.left)
        height = view.lay(width)
        if not row.known:
            row.height = height if view.complete else max(height, row.height)
        view.setGeometry(left - INSET, row.top, width + 2 * INSET, row.height)
        self._tab_order(row)
        view.show()
        return view

    def _tab_order(self, row: _Row) -> None:
        """Tab goes through messages from top to bottom, in whichever order they got their widgets."""
        before: QWidget | None = None
        for other in self._rows:
            if other is row:
                break
            before = other.view or before
        if before is not None and row.view is not None:
            QWidget.setTabOrder(before, row.view)

    def _release(self, row: _Row) -> None:
        view, row.view = row.view, None
        if view is not None:
            view.release()
            if holds_focus(view):
                self.left.emit()
            let_go(view)

    def _restyle(self) -> None:
        for row in self._rows:
            row.known = False
            if row.view is not None:
                row.view.restyle()
        self._reflow(0, self._anchor())

    def _end_selections(self, row: _Row) -> None:
        for other in self._rows:
            if other is not row and other.view is not None:
                other.view.clear_selection()

    # scrolling
    def to_end(self) -> None:
        """Show the end and follow it."""
        self.follow.jump()
        self._move(self.verticalScrollBar().maximum())
        self._realise()
        self._show_latest()

    def page(self, pages: float) -> None:
        """Scroll by a share of the view; what keys in the composer do."""
        bar = self.verticalScrollBar()
        bar.setValue(bar.value() + round(pages * (self.viewport().height() - SPACE.huge)))

    @property
    def latest_offered(self) -> bool:
        """Whether the way back to the end is shown."""
        return not self._latest.isHidden()

    def _scrolled(self, value: int) -> None:
        if not self._moving:
            self.follow.read(value, self.verticalScrollBar().maximum())
        self._realise()
        self._show_latest()

    def _show_latest(self) -> None:
        bar = self.verticalScrollBar()
        self._latest.setVisible(self.follow.away(bar.value(), bar.maximum()))
        size = self._latest.sizeHint()
        x = (self.width() - size.width()) // 2
        self._latest.setGeometry(x, self.height() - size.height() - SPACE.small, size.width(), size.height())
        self._latest.raise_()

    def _dragged(self, where: QPoint) -> None:
        """A selection is being drawn: scroll when the pointer leaves the view."""
        y = self.viewport().mapFromGlobal(where).y()
        beyond = min(y, 0) or max(y - self.viewport().height(), 0)
        if beyond:
            bar = self.verticalScrollBar()
            bar.setValue(bar.value() + max(-SPACE.huge, min(beyond, SPACE.huge)))

    def _step(self, row: _Row, by: int) -> None:
        at = self._rows.index(row) + by
        if at >= len(self._rows):
            self.left.emit()
        elif at >= 0:
            target = self._rows[at]
            self._reveal(target)
            self._realised(target).setFocus(Qt.FocusReason.OtherFocusReason)

    def focus_last(self) -> None:
        """Put the focus on the last message."""
        if self._rows:
            row = self._rows[-1]
            self._reveal(row)
            self._realised(row).setFocus(Qt.FocusReason.OtherFocusReason)

    def _reveal(self, row: _Row) -> None:
        """Scroll as little as brings a message into view, its beginning before its end."""
        bar, height = self.verticalScrollBar(), self.viewport().height()
        if row.top < bar.value() or row.height > height - 2 * MARGIN:
            bar.setValue(row.top - MARGIN)
        elif row.bottom > bar.value() + height:
            bar.setValue(row.bottom + MARGIN - height)

    # events
    def resizeEvent(self, event: QResizeEvent) -> None:
        anchor = self._anchor()
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            for row in self._rows:
                row.known = False
        self._reflow(0, anchor)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_End:
            self.to_end()
        elif event.key() == Qt.Key.Key_Home:
            self.verticalScrollBar().setValue(0)
        else:
            super().keyPressEvent(event)

    def focusNextPrevChild(self, forward: bool) -> bool:
        return QWidget.focusNextPrevChild(self, forward)
