"""A call of a tool in the conversation: what is called with what, whether it may be, and what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QWidget

from slmdesk.gui.chat.body.body import MessageBody
from slmdesk.gui.chat.markdown.blocks import CodeBlock, Span, TextBlock
from slmdesk.gui.theme import MEASURE, SPACE
from slmdesk.gui.widgets.base import Pane
from slmdesk.gui.widgets.buttons import Button, Spinner
from slmdesk.gui.widgets.layouts import hbox
from slmdesk.gui.widgets.letting_go import let_go

if TYPE_CHECKING:
    from slmdesk.chat.calling import Decision
    from slmdesk.gui.chat.items import CallItem
    from slmdesk.gui.chat.markdown.blocks import Block
    from slmdesk.gui.chat.typesetter import Typesetter

LONGEST = 20_000
"""Characters of arguments, or of a result, that are set in type."""
_SUMMARY = 60


class CallDeeds(Protocol):
    """What can be said to a call."""

    def decide(self, call_id: str, decision: Decision) -> None: ...


class CallCard(Pane):
    """Unfolded while a person is asked, folded afterwards. Laid out by hand: `lay(width)` gives the size.

    Signals:
        changed: the size is another one.
        selecting: a selection begins in it.
        link_clicked(str): an address was clicked.
    """

    changed = Signal()
    selecting = Signal()
    link_clicked = Signal(str)

    def __init__(
        self, typesetter: Typesetter, item: CallItem, deeds: CallDeeds, *, parent: QWidget | None = None
    ) -> None:
        super().__init__(typesetter.theme, kind="card", parent=parent)
        self._typesetter = typesetter
        self._deeds = deeds
        self.item = item
        self._opened = False
        self._asking: QWidget | None = None
        self._spinner: Spinner | None = None
        self.body: MessageBody | None = None
        self._head = Button(self.theme, "", kind="quiet", icon="chevron-right", small=True, parent=self)
        self._head.clicked.connect(self.toggle)
        self.show_call(item)

    # content
    def show_call(self, item: CallItem) -> None:
        """Show the call as it is now."""
        self.item = item
        if item.state == "asked" and self._asking is None:
            self._asking = self._make_asking()
            self._asking.show()
            self._open(True)
        elif item.state != "asked" and self._asking is not None:
            gone, self._asking = self._asking, None
            let_go(gone, self)
            self._open(False)
        if item.state == "running" and self._spinner is None:
            self._spinner = Spinner(self.theme, "The tool works", size=MEASURE.icon_small, parent=self)
            self._spinner.show()
        elif item.state != "running" and self._spinner is not None:
            turning, self._spinner = self._spinner, None
            let_go(turning, self)
        self._name()
        self._show_body()
        self.changed.emit()

    @property
    def words(self) -> str:
        """What the head says."""
        return self._head.text()

    @property
    def opened(self) -> bool:
        return self._opened

    @property
    def buttons(self) -> list[Button]:
        """What may be said to a call that is asked about."""
        return self._asking.findChildren(Button) if self._asking is not None else []

    @property
    def selection(self) -> str:
        return self.body.selection if self.body is not None else ""

    def clear_selection(self) -> None:
        if self.body is not None:
            self.body.clear_selection()

    def toggle(self) -> None:
        """Unfold it, or fold it again."""
        self._open(not self._opened)
        self._show_body()
        self.changed.emit()

    def _open(self, on: bool) -> None:
        self._opened = on
        self._head.set_icon("chevron-down" if on else "chevron-right")
        if on and self.body is None:
            self.body = MessageBody(
                self.theme, self._typesetter.quiet_style, self._typesetter.highlighter, parent=self
            )
            self.body.changed.connect(self.changed)
            self.body.selecting.connect(self.selecting)
            self.body.link_clicked.connect(self.link_clicked)
        if self.body is not None:
            self.body.setVisible(on)
        self._name()

    def _make_asking(self) -> QWidget:
        asking = QWidget(self)
        row = hbox(asking, margins=0, spacing=SPACE.small)
        name = self.item.name
        for text, decision, meaning in (
            ("Call it", "once", f"Call {name} this once"),
            ("Always", "always", f"Call {name} now, and from now on without asking"),
            ("Refuse", "refuse", f"Do not call {name}; the model is told so"),
        ):
            button = Button(self.theme, text, small=True, tip=meaning)
            button.setAccessibleName(meaning)
            button.clicked.connect(
                lambda _checked, decision=decision: self._deeds.decide(self.item.id, decision)
            )
            row.addWidget(button)
        row.addStretch(1)
        return asking

    def _name(self) -> None:
        words = _head_words(self.item)
        self._head.setText(words)
        state = "unfolded" if self._opened else "folded"
        self._head.setAccessibleName(f"{words}, {state}")
        self._head.setToolTip(
            "Hide the details" if self._opened else "Show what was asked and what came back"
        )

    def _show_body(self) -> None:
        if self._opened and self.body is not None:
            self.body.show_blocks(_blocks(self.item))

    # layout
    def lay(self, width: int) -> QSize:
        """Place everything within `width` pixels; returns the size taken."""
        line = MEASURE.line
        head = self._head.sizeHint()
        turning = MEASURE.icon_small + SPACE.small if self._spinner is not None else 0
        head_width = min(head.width(), width - 2 * line - turning)
        self._head.setGeometry(line, line, head_width, head.height())
        if self._spinner is not None:
            self._spinner.move(line + head_width, line + (head.height() - MEASURE.icon_small) // 2)
        y = head.height() + 2 * line
        if not self._opened or self.body is None:
            return QSize(min(head_width + turning + 2 * line, width), y)
        inner = width - 2 * SPACE.medium
        y += SPACE.tiny
        height = self.body.lay(inner)
        self.body.setGeometry(SPACE.medium, y, inner, height)
        y += height + SPACE.small
        if self._asking is not None:
            height = self._asking.sizeHint().height()
            self._asking.setGeometry(SPACE.medium, y, inner, height)
            y += height + SPACE.small
        return QSize(width, y)

    def restyle(self) -> None:
        """The typesetter has another style."""
        if self.body is not None:
            self.body.restyle(self._typesetter.quiet_style)

    def release(self) -> None:
        """Show nothing more."""
        if self.body is not None:
            self.body.release()


def _head_words(item: CallItem) -> str:
    name = f"{item.name} of {item.server}" if item.server else item.name
    summary = _summary(item.arguments)
    called = f"{name}: {summary}" if summary else name
    took = f", {item.seconds:.1f} s" if item.seconds >= 0.1 else ""
    match item.state:
        case "asked":
            return f"May the model call {name}?"
        case "running":
            return f"Calling {called}"
        case "failed":
            return f"Failed: {called}{took}"
        case "refused":
            return f"You refused {called}"
        case "stopped":
            return f"Stopped: {called}"
        case "done":
            return f"Called {called}{took}"
    return f"Wants to call {called}"


def _summary(arguments: str) -> str:
    """The values of the arguments on one short line."""
    try:
        found = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return ""
    values = found.values() if isinstance(found, dict) else [found]
    texts = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values)
    text = " ".join(", ".join(texts).split())
    return text if len(text) <= _SUMMARY else f"{text[: _SUMMARY - 1]}…"


def _blocks(item: CallItem) -> list[Block]:
    blocks: list[Block] = [CodeBlock(_laid_out(item.arguments), "json")]
    if item.result:
        left_out = f" ({item.left_out:,} characters left out)" if item.left_out else ""
        told = "It said" if item.state == "failed" else "The model was told" if item.ended_early else "Result"
        blocks.append(TextBlock("paragraph", (Span(f"{told}{left_out}:"),)))
        blocks.append(CodeBlock(_shortened(item.result), "text"))
    return blocks


def _laid_out(arguments: str) -> str:
    """Arguments as a person reads them."""
    try:
        text = json.dumps(json.loads(arguments), ensure_ascii=False, indent=2) if arguments.strip() else "{}"
    except (ValueError, RecursionError):
        text = arguments
    return _shortened(text)


def _shortened(text: str) -> str:
    text = text.rstrip()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters"
