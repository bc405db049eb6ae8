"""What every message needs to be set in type: the style, the timer that renders, the colours of code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from slmdesk.gui.chat.body.style import BodyStyle
from slmdesk.gui.chat.highlight import Highlighter, Lexers
from slmdesk.gui.chat.rendering import MessageRenderer

if TYPE_CHECKING:
    from slmdesk.gui.theme import Theme


class Typesetter(QObject):
    """One for the Chat page.

    Attributes:
        style: how text looks now; `quiet_style` for text that stands back.
        unfolded: the messages whose reasoning the person opened.
        renderer: the timer on which Markdown becomes blocks.
        highlighter: colours code.

    Signals:
        changed: there is a new style; everything must be set anew.
    """

    changed = Signal()

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.style = BodyStyle(theme)
        self.quiet_style = BodyStyle(theme, quiet=True)
        self.unfolded: set[int] = set()
        self.renderer = MessageRenderer(self)
        self._lexers = Lexers(self)
        self.highlighter = Highlighter(self._lexers, self)
        theme.changed.connect(self._theme_changed)

    @property
    def idle(self) -> bool:
        """Whether all text is shown and all code is coloured."""
        return self.renderer.idle and self.highlighter.idle

    def close(self) -> None:
        """End the thread that loads lexers."""
        self._lexers.close()

    def _theme_changed(self) -> None:
        self.style = BodyStyle(self.theme)
        self.quiet_style = BodyStyle(self.theme, quiet=True)
        self.changed.emit()
