"""The plainest pieces: styled areas, lines, texts and icons."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QPen, QResizeEvent
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


class Pressed:
    """Mixed into buttons: Enter presses them as Space does. Left to itself Qt does so only in its dialogs."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in {Qt.Key.Key_Return, Qt.Key.Key_Enter}:
            self.click()  # type: ignore[attr-defined]
        else:
            super().keyPressEvent(event)  # type: ignore[misc]


class Pane(QWidget):
    """An area with a ground, and perhaps a line along one edge or (with a `kind`) all around.

    It paints itself from its properties `ground`, `edge`, `kind` and `tone`: card, panel, toast or segments.
    """

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
        self._ground = ground
        self._edge = edge
        self._kind = kind
        line = MEASURE.line
        if edge:
            # What lies in the area keeps off its line.
            sides = ("left", "top", "right", "bottom")
            self.setContentsMargins(*(line if side == edge else 0 for side in sides))
        elif kind in _FACES:
            self.setContentsMargins(line, line, line, line)

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        if self._kind in _FACES:
            self._paint_face()
            return
        painter = QPainter(self)
        if self._ground:
            painter.fillRect(self.rect(), self.theme.colour(self._ground))
        if self._edge:
            line, width, height = MEASURE.line, self.width(), self.height()
            strip = {
                "top": QRect(0, 0, width, line),
                "bottom": QRect(0, height - line, width, line),
                "left": QRect(0, 0, line, height),
                "right": QRect(width - line, 0, line, height),
            }[self._edge]
            painter.fillRect(strip, self.theme.colour("line"))

    def _paint_face(self) -> None:
        ground, edge, corner = _FACES[self._kind]
        fill, line = self.theme.colour(ground), self.theme.colour(edge)
        tone = self.property("tone")
        if tone:
            fill, line = self.theme.tint(tone), self.theme.colour(tone)
        half = MEASURE.line / 2
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(line, MEASURE.line))
        painter.setBrush(fill)
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(half, half, -half, -half), corner, corner)


_FACES = {
    # kind: its ground, its edge and its corner
    "card": ("surface", "line", MEASURE.corner_card),
    "panel": ("raised", "line_strong", MEASURE.corner_card),
    "toast": ("raised", "line_strong", MEASURE.corner_card),
    "segments": ("track", "track", MEASURE.corner + 2),
}


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
