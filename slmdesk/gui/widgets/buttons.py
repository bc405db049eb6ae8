"""Buttons. A view has at most one primary button; everything else is secondary or quiet."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QElapsedTimer, QObject, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QHideEvent, QIcon, QPainter, QPaintEvent, QShowEvent
from PySide6.QtWidgets import QPushButton, QWidget

from slmdesk.gui.theme import MEASURE, MOTION, SPACE, Theme
from slmdesk.gui.widgets.base import Pressed, Tall, restyle

Kind = Literal["primary", "secondary", "quiet", "danger", "link"]


class TurningAngle(QObject):
    """The angle of something that turns while work goes on; it stands still where motion is reduced."""

    def __init__(self, theme: Theme, widget: QWidget) -> None:
        super().__init__(widget)
        self._theme = theme
        self._widget = widget
        self._since = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setInterval(MOTION.spin_step)
        self._timer.timeout.connect(widget.update)

    def angle(self) -> float:
        """Degrees, clockwise."""
        if not self._timer.isActive():
            return 0.0
        return self._since.elapsed() % MOTION.spin * 360 / MOTION.spin

    def start(self) -> None:
        if self._theme.animated:
            self._since.start()
            self._timer.start()

    def stop(self) -> None:
        self._timer.stop()


class Spinner(QWidget):
    """Says that something is going on. Turns only while it is visible."""

    def __init__(
        self,
        theme: Theme,
        meaning: str = "Working",
        *,
        size: int = MEASURE.icon,
        colour: str = "secondary",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._colour = colour
        self._turn = TurningAngle(theme, self)
        self.setFixedSize(size, size)
        self.setAccessibleName(meaning)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._turn.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._turn.stop()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        colour = self.theme.colour(self._colour)
        self.theme.icons.paint(painter, QRectF(self.rect()), "busy", colour, angle=self._turn.angle())


class Button(Pressed, Tall, QPushButton):
    """A button with a verb on it. Tab reaches it; a click leaves no focus ring behind."""

    def __init__(
        self,
        theme: Theme,
        text: str,
        *,
        kind: Kind = "secondary",
        icon: str = "",
        small: bool = False,
        tip: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(text, parent)
        self.theme = theme
        self._kind = kind
        self._icon_name = icon
        self._turn: TurningAngle | None = None
        self._was_enabled = True
        self.setProperty("kind", kind)
        self.setProperty("small", small)
        self.least_height = MEASURE.control_small if small else MEASURE.control
        if kind == "link":
            self.least_height = 0
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAutoDefault(False)
        side = MEASURE.icon_small if small else MEASURE.icon
        # An icon stands in the middle of its room: what is wider than high keeps it off the words.
        self.setIconSize(QSize(side + (SPACE.tiny if text else 0), side))
        if tip:
            self.setToolTip(tip)
        if icon:
            self.set_icon(icon)

    @property
    def busy(self) -> bool:
        return self._turn is not None

    def set_kind(self, kind: Kind) -> None:
        self._kind = kind
        restyle(self, "kind", kind)
        if self._icon_name:
            self.set_icon(self._icon_name)

    def set_icon(self, name: str) -> None:
        """Show another icon; "" for none."""
        self._icon_name = name
        if not self.busy:
            self.setIcon(self.theme.icon(name, colour=self._ink()) if name else QIcon())

    def set_busy(self, busy: bool) -> None:
        """Show that what the button began is going on; it cannot be pressed meanwhile."""
        if busy == self.busy:
            return
        if busy:
            self._was_enabled = self.isEnabled()
            self._turn = TurningAngle(self.theme, self)
            self._turn.start()
            self.setIcon(self.theme.icons.turning("busy", self._ink(), self._turn.angle))
            self.setEnabled(False)
        elif self._turn is not None:
            self._turn.stop()
            self._turn.deleteLater()
            self._turn = None
            self.set_icon(self._icon_name)
            self.setEnabled(self._was_enabled)

    def _ink(self) -> str:
        return {"primary": "on_accent", "danger": "bad", "link": "accent_text"}.get(self._kind, "text")


class IconButton(Button):
    """A button that shows only an icon; its name is its tooltip and what screen readers say."""

    def __init__(
        self,
        theme: Theme,
        icon: str,
        name: str,
        *,
        kind: Kind = "quiet",
        small: bool = False,
        tip: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(theme, "", kind=kind, icon=icon, small=small, tip=tip or name, parent=parent)
        self.setProperty("iconOnly", True)
        self.setAccessibleName(name)

    def sizeHint(self) -> QSize:
        return QSize(self.least_height, self.least_height)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def rename(self, name: str) -> None:
        """Another name for the same button (Pause becomes Resume)."""
        self.setToolTip(name)
        self.setAccessibleName(name)
