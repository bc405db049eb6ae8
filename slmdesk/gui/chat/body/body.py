"""The widget that shows the blocks of one message."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QGuiApplication,
    QHelpEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QScrollBar, QToolTip, QWidget

from slmdesk.gui.chat.body.code import LaidCode
from slmdesk.gui.chat.body.frames import LaidFrame
from slmdesk.gui.chat.body.prose import LaidText
from slmdesk.gui.chat.body.selection import Selection, Spot, selected_text, word_around
from slmdesk.gui.chat.body.table import LaidTable
from slmdesk.gui.chat.body.units import units
from slmdesk.gui.chat.markdown.blocks import Block, CodeBlock, TableBlock, TextBlock, plain_text
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.letting_go import let_go
from slmdesk.gui.widgets.menu import Menu

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

    from slmdesk.gui.chat.body.laid import Laid
    from slmdesk.gui.chat.body.style import BodyStyle
    from slmdesk.gui.chat.highlight import Highlighter
    from slmdesk.gui.theme import Theme

COPIED_MS = 1600
"""How long a copy button says that it has copied."""


class MessageBody(QWidget):
    """Blocks under one another, selectable across, with a copy button on each block of code.

    The owner asks `lay(width)` for the height and places the widget.

    Signals:
        changed: the height for the present width is another one.
        link_clicked(str): the person clicked an address.
        selecting: a selection begins here; those elsewhere should end.
        dragged(QPoint): the selection is being drawn, the pointer is here (global).
    """

    changed = Signal()
    link_clicked = Signal(str)
    selecting = Signal()
    dragged = Signal(QPoint)

    def __init__(
        self,
        theme: Theme,
        style: BodyStyle,
        highlighter: Highlighter | None = None,
        *,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._style = style
        self._highlighter = highlighter
        self._laid: list[Laid] = []
        self._tops: list[float] = []
        self._width = 0.0
        self._height = 0
        self._selection: Selection | None = None
        self._controls: dict[int, tuple[Button | None, QScrollBar | None]] = {}
        self._pressed_href = ""
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.IBeamCursor)

    @property
    def blocks(self) -> list[Block]:
        """What is shown."""
        return [one.block for one in self._laid]

    @property
    def laid(self) -> tuple[Laid, ...]:
        return tuple(self._laid)

    # content
    def show_blocks(self, blocks: list[Block], kept: int = 0) -> None:
        """Show `blocks`, of which the first `kept` are shown already."""
        kept = min(kept, len(self._laid))
        while kept < min(len(blocks), len(self._laid)) and self._laid[kept].block == blocks[kept]:
            kept += 1
        made: list[Laid] = []
        for number in range(kept, len(blocks)):
            old = self._laid[number] if number < len(self._laid) else None
            made.append(self._grown(old, blocks[number]) or self._made(blocks[number]))
        if not made and len(blocks) == len(self._laid):
            return
        staying = {id(one) for one in made}
        for one in self._laid[kept:]:
            if id(one) not in staying:
                self._drop_controls(one)
        self._laid[kept:] = made
        if self._selection and self._selection.last.block >= len(self._laid):
            self._selection = None
        self._place(kept)

    def restyle(self, style: BodyStyle) -> None:
        """Show the same blocks in another style."""
        self._style = style
        blocks = self.blocks
        for one in self._laid:
            self._drop_controls(one)
        self._laid = []
        self.show_blocks(blocks)

    def _made(self, block: Block) -> Laid:
        if isinstance(block, CodeBlock):
            code = LaidCode(block, self._style)
            self._colour(code)
            return code
        if isinstance(block, TableBlock):
            return LaidTable(block, self._style)
        return LaidText(block, self._style)

    def _grown(self, old: Laid | None, block: Block) -> Laid | None:
        if isinstance(old, LaidCode) and isinstance(block, CodeBlock) and old.grow(block):
            self._colour(old)
            return old
        if isinstance(old, LaidTable) and isinstance(block, TableBlock) and old.grow(block):
            return old
        return None

    def _colour(self, code: LaidCode) -> None:
        if self._highlighter is not None:
            self._highlighter.colour(code, self)

    # layout
    def lay(self, width: int) -> int:
        """Break lines for `width` pixels; returns the height. Cheap when the width is the same."""
        if width != self._width:
            self._width = width
            self._place(0)
        return self._height

    def _place(self, first: int) -> None:
        """Stack the blocks from `first` on."""
        if self._width <= 0:
            return
        del self._tops[first:]
        y = self._tops[first - 1] + self._laid[first - 1].height if first else 0.0
        for number in range(first, len(self._laid)):
            one = self._laid[number]
            if number:
                y += gap(self._laid[number - 1].block, one.block, self._style)
            one.lay(self._width)
            one.top = round(y)
            self._tops.append(one.top)
            y = one.top + one.height
            if isinstance(one, LaidFrame):
                self._place_controls(one)
        height = round(y)
        if height != self._height:
            self._height = height
            self.changed.emit()
        from_top = round(self._tops[first - 1]) if first else 0
        self.update(0, from_top, self.width(), max(self.height(), height) - from_top)

    def _place_controls(self, frame: LaidFrame) -> None:
        copy, bar = self._controls.get(id(frame), (None, None))
        if copy is None and isinstance(frame, LaidCode):
            copy = Button(self.theme, "Copy", kind="quiet", icon="copy", small=True, parent=self)
            copy.setAccessibleName("Copy code")
            copy.setCursor(Qt.CursorShape.ArrowCursor)
            copy.clicked.connect(lambda: self._copy_code(frame, copy))
            copy.show()
        if bar is None and frame.overflow:
            bar = QScrollBar(Qt.Orientation.Horizontal, self)
            bar.setCursor(Qt.CursorShape.ArrowCursor)
            bar.setAccessibleName("Scroll sideways")
            bar.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            bar.valueChanged.connect(lambda value: self._scroll(frame, value))
            bar.show()
        self._controls[id(frame)] = (copy, bar)
        if copy is not None:
            inset = (frame.header - MEASURE.control_small) // 2
            wide = copy.sizeHint().width()
            right = round(frame.left + frame.view)
            copy.setGeometry(right - wide - inset, round(frame.top) + inset, wide, MEASURE.control_small)
        if bar is not None:
            bar.setVisible(frame.overflow > 0)
            bar.setGeometry(frame.bar().translated(0, frame.top).toRect())
            bar.setPageStep(round(frame.view))
            bar.setSingleStep(SPACE.wide)
            bar.setMaximum(frame.overflow)
            bar.setValue(round(frame.shift))  # a table read from the right begins at its right end

    def release(self) -> None:
        """The widget is about to go: nothing is coloured for it any more."""
        for one in self._laid:
            self._drop_controls(one)

    def _drop_controls(self, one: Laid) -> None:
        if self._highlighter is not None and isinstance(one, LaidCode):
            self._highlighter.forget(one)
        for control in self._controls.pop(id(one), (None, None)):
            if control is not None:
                let_go(control)

    def _scroll(self, frame: LaidFrame, value: int) -> None:
        frame.scroll_to(value)
        self.update(QRect(0, round(frame.top), self.width(), round(frame.height)))

    def _copy_code(self, code: LaidFrame, button: Button | None) -> None:
        QGuiApplication.clipboard().setText(code.text)
        if button is not None:
            button.setText("Copied")
            button.set_icon("check")
            self._place_controls(code)
            # The button may be gone by then: a message is let go when it is out of sight.
            QTimer.singleShot(COPIED_MS, button, lambda: self._copied_long_ago(code, button))

    def _copied_long_ago(self, code: LaidFrame, button: Button) -> None:
        button.setText("Copy")
        button.set_icon("copy")
        if id(code) in self._controls:
            self._place_controls(code)

    # painting
    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._tops:
            return  # shown before it was laid out
        painter = QPainter(self)
        clip = QRectF(event.rect())
        number = max(bisect_right(self._tops, clip.top()) - 1, 0)
        while number < len(self._laid) and self._tops[number] <= clip.bottom():
            one = self._laid[number]
            at = QPointF(0, one.top)
            self._paint_quotes(painter, number)
            selected = self._selection.within(number, units(one.text)) if self._selection else None
            one.paint(painter, at, clip, selected)
            number += 1

    def _paint_quotes(self, painter: QPainter, number: int) -> None:
        block = self._laid[number].block
        if not block.quote:
            return
        top = self._laid[number].top
        bottom = top + self._laid[number].height
        if number + 1 < len(self._laid) and self._laid[number + 1].block.quote:
            bottom = self._tops[number + 1]
        for depth in range(block.quote):
            x = depth * self._style.quote
            painter.fillRect(QRectF(x, top, SPACE.tiny / 2, bottom - top), self._style.frame_strong)

    # pointer and keys
    def spot_at(self, point: QPointF) -> Spot:
        """The place in the text nearest to a point of the widget."""
        if not self._laid:
            return Spot(0, 0)
        number = max(bisect_right(self._tops, point.y()) - 1, 0)
        one = self._laid[number]
        if point.y() >= one.top + one.height:
            return Spot(number, units(one.text))
        return Spot(number, one.position_at(point - QPointF(0, one.top)))

    def href_at(self, point: QPointF) -> str:
        """The address under a point of the widget, or ""."""
        number = bisect_right(self._tops, point.y()) - 1
        if number < 0 or point.y() >= self._laid[number].top + self._laid[number].height:
            return ""
        return self._laid[number].href_at(point - QPointF(0, self._laid[number].top))

    @property
    def selection(self) -> str:
        """The words selected."""
        return selected_text(self._selection, self._laid) if self._selection else ""

    def clear_selection(self) -> None:
        if self._selection is not None:
            self._selection = None
            self.update()

    def select_all(self) -> None:
        if self._laid:
            last = len(self._laid) - 1
            self._select(Spot(0, 0), Spot(last, units(self._laid[last].text)))

    def _select(self, anchor: Spot, head: Spot) -> None:
        self._selection = Selection(anchor, head)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            event.ignore()
            return
        self.selecting.emit()
        self._pressed_href = self.href_at(event.position())
        spot = self.spot_at(event.position())
        extend = self._selection and event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        self._select(self._selection.anchor if extend and self._selection else spot, spot)
        event.ignore()  # the message around it takes the focus

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton and self._selection:
            self._select(self._selection.anchor, self.spot_at(event.position()))
            self.dragged.emit(event.globalPosition().toPoint())
            return
        over = self.href_at(event.position())
        shape = Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.IBeamCursor
        if self.cursor().shape() != shape:
            self.setCursor(shape)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        href, self._pressed_href = self._pressed_href, ""
        moved = self._selection is not None and not self._selection.empty
        if href and not moved and href == self.href_at(event.position()):
            self.link_clicked.emit(href)
        if not moved:
            self.clear_selection()
        clipboard = QGuiApplication.clipboard()
        if moved and clipboard.supportsSelection():
            clipboard.setText(self.selection, clipboard.Mode.Selection)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        spot = self.spot_at(event.position())
        if spot.block < len(self._laid):
            start, end = word_around(self._laid[spot.block].text, spot.position)
            self._select(Spot(spot.block, start), Spot(spot.block, end))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy) and self.selection:
            self.copy_selection()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.select_all()
        else:
            event.ignore()

    def copy_selection(self) -> None:
        QGuiApplication.clipboard().setText(self.selection)

    def wheelEvent(self, event: QWheelEvent) -> None:
        sideways = event.angleDelta().x()
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            sideways = sideways or event.angleDelta().y()
        number = bisect_right(self._tops, event.position().y()) - 1
        frame = self._laid[number] if number >= 0 else None
        if sideways and isinstance(frame, LaidFrame) and frame.overflow:
            _, bar = self._controls.get(id(frame), (None, None))
            if bar is not None:
                bar.setValue(bar.value() - sideways // 2)
                return
        event.ignore()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        href = self.href_at(QPointF(event.pos()))
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if self.selection:
            menu.add("Copy", self.copy_selection, icon="copy")
        if href:
            menu.add("Copy address", lambda: QGuiApplication.clipboard().setText(href), icon="link")
        menu.add("Select all", self.select_all)
        menu.popup(event.globalPos())

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == event.Type.ToolTip:
            href = self.href_at(QPointF(event.pos()))
            if href:
                QToolTip.showText(event.globalPos(), href, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def words(self) -> str:
        """All words, for screen readers."""
        return plain_text(self.blocks)


def gap(before: Block, after: Block, style: BodyStyle) -> int:
    """Pixels between two blocks that follow each other."""
    if not isinstance(before, TextBlock) or not isinstance(after, TextBlock):
        return style.frame_gap
    if after.kind == "line" and before.kind == "line":
        return 0
    if after.kind == "heading":
        return style.heading_gap
    if before.kind == "heading":
        return style.item_gap
    in_list = bool(after.marker) and bool(before.indent)
    return style.item_gap if in_list else style.paragraph_gap
