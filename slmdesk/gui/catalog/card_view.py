"""A model's card as text: a stranger's Markdown, without scripts, without pictures, with its HTML taken out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

    from slmdesk.gui.theme import Theme

LONGEST = 60_000
"""Characters of a card that are shown; the page on the hub has the rest."""
_FENCE = re.compile(r"^(\s{0,3})(```|~~~)", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SILENT = re.compile(
    r"<(script|style|svg|iframe|video|audio|details\s+hidden)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
_LINKED = re.compile(r"<a\s[^>]*?href\s*=\s*[\"']([^\"']*)[\"'][^>]*>(.*?)</a\s*>", re.DOTALL | re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>|</(p|div|li|tr|h[1-6])\s*>", re.IGNORECASE)
_HEADING = re.compile(r"<h([1-6])[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9-]*(\s[^<>]*)?/?>")
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_EMPTY_LINK = re.compile(r"\[\s*\]\([^)]*\)")


def readable(text: str) -> str:
    """A card's Markdown without HTML and pictures; code stays as it is."""
    text = text[:LONGEST]
    pieces: list[str] = []
    inside = False
    at = 0
    for fence in _FENCE.finditer(text):
        piece = text[at : fence.start()]
        pieces.append(piece if inside else _plain(piece))
        at, inside = fence.start(), not inside
    pieces.append(text[at:] if inside else _plain(text[at:]))
    return re.sub(r"\n{3,}", "\n\n", "".join(pieces)).strip()


def _plain(text: str) -> str:
    text = _SILENT.sub("", _COMMENT.sub("", text))
    text = _LINKED.sub(lambda found: f"[{_TAG.sub('', found[2]).strip()}]({found[1]})", text)
    text = _HEADING.sub(lambda found: f"\n\n{'#' * int(found[1])} ", text)
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = _PICTURE.sub("", text)
    return _EMPTY_LINK.sub("", text)


class CardView(QWidget):
    """The card, broken to the width it is given."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from slmdesk.gui.chat.body.body import MessageBody
        from slmdesk.gui.chat.typesetter import Typesetter

        self._typesetter = Typesetter(theme, self)
        self._body = MessageBody(theme, self._typesetter.style, self._typesetter.highlighter, parent=self)
        self._body.changed.connect(self._fit)
        self._body.link_clicked.connect(_open)
        self._feed = self._typesetter.renderer.feed(self._body)
        self._typesetter.changed.connect(lambda: self._body.restyle(self._typesetter.style))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Model card")

    @property
    def words(self) -> str:
        """What is shown, as plain text."""
        return self._body.words()

    def show_text(self, text: str) -> None:
        """Show another card; it comes in slices, the window stays live meanwhile."""
        self._feed.restart()
        self._body.show_blocks([])
        self._feed.append(readable(text))
        self._feed.finish()

    def close_up(self) -> None:
        """End the thread that loads lexers."""
        self._body.release()
        self._typesetter.close()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def _fit(self) -> None:
        height = self._body.lay(self.width())
        self._body.setGeometry(0, 0, self.width(), height)
        if self.height() != height:
            self.setFixedHeight(height)


def _open(address: str) -> None:
    from PySide6.QtGui import QDesktopServices

    QDesktopServices.openUrl(QUrl(address))
