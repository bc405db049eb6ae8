"""When the text of messages becomes blocks: in slices, on one timer, never longer than a few milliseconds at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from shiboken6 import isValid

from slmdesk.gui.chat.markdown.stream import StreamingMarkdown

if TYPE_CHECKING:
    from slmdesk.gui.chat.body.body import MessageBody

FRAME_MS = 33
"""Streamed text is shown at most this often."""
BACKLOG_MS = 8
"""The pause between slices while a message that is already there is being shown."""
SLICE_S = 0.004
PIECE = 1200
"""Characters read at once of a text that is already there."""
DEAR_S = 0.004
REST = 10
"""A step that took longer than `DEAR_S` is followed by a rest of that many times its length."""


class Feed:
    """The way of one message's text into its body.

    Attributes:
        stream: the Markdown read so far.
    """

    def __init__(self, body: MessageBody, renderer: MessageRenderer) -> None:
        self._body = body
        self._renderer = renderer
        self._waiting: list[str] = []
        self._ending = False
        self._next_at = 0.0
        self.stream = StreamingMarkdown()
        self.done = False

    def append(self, text: str) -> None:
        """More text at the end."""
        self._waiting.append(text)
        self.done = False
        self._renderer.wake(self)

    def finish(self) -> None:
        """No more text comes."""
        self._ending = True
        self._renderer.wake(self)

    def restart(self) -> None:
        """Forget everything; other text follows."""
        self.stream = StreamingMarkdown()
        self._waiting = []
        self._ending = self.done = False

    @property
    def behind(self) -> bool:
        """Whether more waits than streaming brings in a frame."""
        return len(self._waiting) > 1 or (bool(self._waiting) and len(self._waiting[0]) > PIECE)

    @property
    def waiting(self) -> bool:
        return bool(self._waiting) or (self._ending and not self.done)

    @property
    def alive(self) -> bool:
        """Whether there is still a widget to show it in."""
        return isValid(self._body)

    def due(self, now: float) -> bool:
        return self.waiting and now >= self._next_at

    def step(self) -> None:
        """Read one piece and show it."""
        began = time.perf_counter()
        text = "".join(self._waiting)
        piece = text if len(text) <= PIECE else text[: _cut(text)]
        rest = text[len(piece) :]
        self._waiting = [rest] if rest else []
        if piece:
            self.stream.append(piece)
        if self._ending and not rest:
            self.stream.finish()
            self.done = True
        else:
            self.stream.update()
        self._body.show_blocks(self.stream.blocks, self.stream.kept)
        spent = time.perf_counter() - began
        self._next_at = began + spent * REST if spent > DEAR_S and not rest else 0.0

    def close(self) -> None:
        """Show nothing more."""
        self._renderer.forget(self)


def _cut(text: str) -> int:
    """Where the next piece ends: behind a line, if one ends soon."""
    line_end = text.find("\n", PIECE)
    return line_end + 1 if 0 <= line_end < 2 * PIECE else PIECE


class MessageRenderer(QObject):
    """The one timer of all feeds."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._feeds: list[Feed] = []
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._work)
        self.longest_s = 0.0
        """The longest slice so far, for measurements."""

    def feed(self, body: MessageBody) -> Feed:
        """A way for text into `body`."""
        return Feed(body, self)

    def wake(self, feed: Feed) -> None:
        if feed not in self._feeds:
            self._feeds.append(feed)
        interval = BACKLOG_MS if any(one.behind for one in self._feeds) else FRAME_MS
        if not self._timer.isActive() or self._timer.interval() > interval:
            self._timer.start(interval)

    def forget(self, feed: Feed) -> None:
        if feed in self._feeds:
            self._feeds.remove(feed)

    @property
    def idle(self) -> bool:
        """Whether everything is shown."""
        return not any(feed.waiting for feed in self._feeds)

    def _work(self) -> None:
        began = time.perf_counter()
        for feed in list(self._feeds):
            if not feed.alive:
                self._feeds.remove(feed)
                continue
            while feed.due(time.perf_counter()) and time.perf_counter() - began < SLICE_S:
                feed.step()
                if not feed.behind:
                    break
            if not feed.waiting:
                self._feeds.remove(feed)
        self.longest_s = max(self.longest_s, time.perf_counter() - began)
        if not self._feeds:
            self._timer.stop()
            return
        interval = BACKLOG_MS if any(feed.behind for feed in self._feeds) else FRAME_MS
        if self._timer.interval() != interval:
            self._timer.start(interval)
