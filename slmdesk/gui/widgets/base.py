"""The plainest pieces: styled areas, lines, texts and icons."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget

from slmdesk.gui.theme import MEASURE, Theme

Ground = Literal["", "window", "surface", "raised"]
Edge = Literal["", "top", "right", "bottom", "left"]
Role = Literal["label", "small", "body", "strong", "emphasis", "title"]
Tone = Literal["", "secondary", "accent", "good", "caution", "bad"]


def restyle(widget: QWidget, name: str, value: object) -> None:
    """Set a dynamic property and have the style sheet read it."""
    if widget.property(name) == value:
        return
    widget.setProperty(name, value)
    style = widget.style()
    style.unpolish(widget)
    style.polish(widget)
    widget.update()


class Tall:
    """Mixed into controls: as high as the others of their kind, or higher where large text needs it.

    A minimum in the style sheet would not do: it lets a layout squeeze the control to it, whatever its text needs.
    """

    least_height = MEASURE.control

    def sizeHint(self) -> QSize:
        hint: QSize = super().sizeHint()  # type: ignore[misc]
        return QSize(hint.width(), max(hint.height(), self.least_height))

    def minimumSizeHint(self) -> QSize:
        hint: QSize = super().minimumSizeHint()  # type: ignore[misc]
        return QSize(hint.width(), self.sizeHint().height())


class Pane(QFrame):
    """An area with a ground and perhaps a line along one edge."""

    def __init__(
        self,
        theme: Theme,
        *,
        ground: Ground = "",
        edge: Edge = "",
        kind: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        for name, value in (("ground", ground), ("edge", edge), ("kind", kind)):
            if value:
                self.setProperty(name, value)


class Line(QFrame):
    """A one-pixel line; horizontal unless `upright`."""

    def __init__(self, theme: Theme, *, upright: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self.setProperty("kind", "line")
        if upright:
            self.setFixedWidth(MEASURE.line)
        else:
            self.setFixedHeight(MEASURE.line)


class Label(QLabel):
    """Plain text in one of the roles and tones."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        role: Role = "body",
        tone: Tone = "",
        wrap: bool = False,
        selectable: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(text, parent)
        self.theme = theme
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", role)
        self.setProperty("tone", tone)
        self.setWordWrap(wrap)
        if selectable:
            flags = Qt.TextInteractionFlag
            self.setTextInteractionFlags(flags.TextSelectableByMouse | flags.TextSelectableByKeyboard)

    def set_tone(self, tone: Tone) -> None:
        restyle(self, "tone", tone)


class ElidedLabel(Label):
    """One line that ends in "…" where there is no room; the whole text is its tooltip then."""

    def __init__(
        self,
        theme: Theme,
        text: str = "",
        *,
        role: Role = "body",
        tone: Tone = "",
        middle: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, text, role=role, tone=tone, parent=parent)
        self._where = Qt.TextElideMode.ElideMiddle if middle else Qt.TextElideMode.ElideRight
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        # Room for a few letters; a shorter text needs no more than itself.
        hint = super().sizeHint()
        return QSize(min(hint.width(), self.fontMetrics().horizontalAdvance("mmm…")), hint.height())

    def shown_text(self) -> str:
        """What fits into the width now."""
        return self.fontMetrics().elidedText(self.text(), self._where, self.contentsRect().width())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.setToolTip(self.text() if self.shown_text() != self.text() else "")

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.contentsRect(), int(self.alignment()), self.shown_text())


class Icon(QWidget):
    """An icon by itself. Decorative unless `meaning` gives it a name for screen readers."""

    def __init__(
        self,
        theme: Theme,
        name: str,
        *,
        size: int = MEASURE.icon,
        colour: str = "text",
        filled: bool = False,
        meaning: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._name = name
        self._colour = colour
        self._filled = filled
        self.setAccessibleName(meaning)
        self.setFixedSize(size, size)

    def set_icon(self, name: str, colour: str | None = None) -> None:
        self._name = name
        self._colour = colour or self._colour
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        colour = self.theme.colour(self._colour if self.isEnabled() else "disabled")
        painter = QPainter(self)
        self.theme.icons.paint(painter, QRectF(self.rect()), self._name, colour, filled=self._filled)
