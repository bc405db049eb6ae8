"""What the text of a message looks like, worked out from the theme once."""

from __future__ import annotations

from typing import Literal

from PySide6.QtGui import QColor, QFont, QFontMetricsF, QTextCharFormat, QTextOption

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.theme.tokens import WEIGHT_STRONG

Category = Literal["plain", "keyword", "text", "number", "comment", "name", "bad"]

LINE_SHARE = 1.55
"""Height of a line of prose, in natural line heights of its font size."""
CODE_LINE_SHARE = 1.3


class BodyStyle:
    """Fonts, colours and distances of message bodies under one theme state; made anew when the theme changes.

    `quiet`: for text that stands back from the rest.
    """

    indent = SPACE.wide
    quote = SPACE.large
    paragraph_gap = SPACE.medium
    item_gap = SPACE.tiny
    heading_gap = SPACE.wide - SPACE.tiny
    frame_gap = SPACE.medium
    frame_padding = SPACE.medium
    code_header = SPACE.huge
    corner = MEASURE.corner
    scroll = MEASURE.scroll

    def __init__(self, theme: Theme, *, quiet: bool = False) -> None:
        self.body = theme.font("body")
        self.small = theme.font("small")
        self.code = theme.code_font()
        self.headings = (
            theme.font("title", weight=WEIGHT_STRONG),
            theme.font("emphasis", weight=WEIGHT_STRONG),
            theme.font("body", weight=WEIGHT_STRONG),
        )
        self.line = round(self.body.pixelSize() * LINE_SHARE)
        metrics = QFontMetricsF(self.code)
        self.code_line = round(metrics.ascent() * CODE_LINE_SHARE + metrics.descent())
        self.code_space = metrics.horizontalAdvance(" ")
        self.code_metrics = metrics
        self.text = theme.colour("secondary" if quiet else "text")
        self.secondary = theme.colour("secondary")
        self.link = theme.colour("accent_text")
        self.frame = theme.colour("line")
        self.frame_strong = theme.colour("line_strong")
        self.ground = theme.colour("code_ground")
        self.inline_ground = theme.colour("pressed")
        self.selection = QTextCharFormat()
        self.selection.setBackground(theme.colour("selection"))
        self.categories: dict[Category, QTextCharFormat] = {
            "plain": coloured(theme.colour("text")),
            "keyword": coloured(theme.colour("accent_text")),
            "text": coloured(theme.colour("good")),
            "number": coloured(theme.colour("caution")),
            "comment": coloured(theme.colour("secondary"), italic=True),
            "name": coloured(theme.colour("text"), strong=True),
            "bad": coloured(theme.colour("bad")),
        }
        self.wrap = QTextOption()
        self.wrap.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.unwrapped = QTextOption()
        self.unwrapped.setWrapMode(QTextOption.WrapMode.NoWrap)
        self.unwrapped.setTabStopDistance(self.code_space * 4)

    def heading(self, level: int) -> QFont:
        """The font of a heading, level 1 to 6."""
        return self.headings[min(level, len(self.headings)) - 1]


def coloured(colour: QColor, *, italic: bool = False, strong: bool = False) -> QTextCharFormat:
    """A format that only sets the colour and the slant or weight of text."""
    made = QTextCharFormat()
    made.setForeground(colour)
    if italic:
        made.setFontItalic(True)
    if strong:
        made.setFontWeight(WEIGHT_STRONG)
    return made
