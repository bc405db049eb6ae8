"""Bars: how far something is, and how full something is."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Icon, Label, Tone
from slmdesk.gui.widgets.buttons import IconButton
from slmdesk.gui.widgets.layouts import hbox, vbox

JobState = Literal["queued", "running", "paused", "failed", "done"]

CAUTION_SHARE = 0.85
"""From this share on a meter warns that little is left."""


class ShareBar(QWidget):
    """A thin bar, filled from the left by a share of 0 to 1."""

    def __init__(
        self,
        theme: Theme,
        name: str,
        *,
        height: int = MEASURE.meter,
        colour: str = "accent",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self.colour = colour
        self._share = 0.0
        self.setFixedHeight(height)
        self.setMinimumWidth(SPACE.huge)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)

    @property
    def share(self) -> float:
        return self._share

    def set_share(self, share: float, colour: str | None = None) -> None:
        """Fill `share` (0 to 1) of the bar."""
        share = min(max(share, 0.0), 1.0)
        self.colour = colour or self.colour
        if round(share * 100) != round(self._share * 100):
            from PySide6.QtGui import QAccessible, QAccessibleValueChangeEvent

            self.setAccessibleDescription(f"{share:.0%}")
            QAccessible.updateAccessibility(QAccessibleValueChangeEvent(self, round(share * 100)))
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        round_ = self.height() / 2
        painter.setBrush(self.theme.colour("track"))
        painter.drawRoundedRect(QRectF(self.rect()), round_, round_)
        if self._share > 0:
            width = max(self.height(), self.width() * self._share)
            painter.setBrush(self.theme.colour(self.colour))
            painter.drawRoundedRect(QRectF(0, 0, width, self.height()), round_, round_)


class TokenMeter(QWidget):
    """How much of a model's context is used, in tokens: a thin bar and the numbers."""

    def __init__(self, theme: Theme, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme = theme
        self._meter = ShareBar(theme, "Context used")
        self._meter.setFixedWidth(MEASURE.rail)
        self._words = Label(theme, role="small", tone="secondary")
        self.nearly_full = False
        layout = hbox(self, margins=0, spacing=SPACE.small)
        layout.addWidget(self._meter)
        layout.addWidget(self._words)
        self.set_tokens(0, 0)

    @property
    def words(self) -> str:
        return self._words.text()

    def set_tokens(self, used: int, total: int) -> None:
        """`used` of `total` tokens; a total of 0 means that it is not known yet, and hides the meter."""
        self.setVisible(total > 0)
        self.nearly_full = full = total > 0 and used / total >= CAUTION_SHARE
        if total <= 0:
            return
        share = used / total
        self._meter.set_share(share, "caution" if full else "accent")
        words = f"{used:,} of {total:,} tokens"
        self._words.setText(f"{words}, nearly full" if full else words)
        self._words.set_tone("caution" if full else "secondary")


class ProgressRow(QWidget):
    """One job: its name, a bar, what happens now in words, and what can be done about it.

    `icon` stands beside the words while it runs.

    Attributes:
        body: the layout below the words, for what needs the row's width.
        buttons: the layout at the right.

    Signals:
        pause, resume, cancel: the person asked for it.
    """

    pause = Signal()
    resume = Signal()
    cancel = Signal()

    def __init__(
        self, theme: Theme, name: str, *, icon: str = "download", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._icon = icon
        self._state: JobState = "queued"
        self._name = ElidedLabel(theme, name, role="strong")
        self._rest = Label(theme, role="small", tone="secondary")
        self._rest.setFont(theme.font("small", tabular=True))
        self._bar = ShareBar(theme, f"Progress of {name}", height=MEASURE.bar)
        self._mark = Icon(theme, icon, size=MEASURE.icon_small, colour="secondary")
        self._words = ElidedLabel(theme, role="small", tone="secondary")
        self._hold = IconButton(theme, "pause", f"Pause {name}")
        self._stop = IconButton(theme, "close", f"Cancel {name}")
        self._title = name
        self._hold.clicked.connect(self._toggle)
        self._stop.clicked.connect(self.cancel)

        top = hbox(spacing=SPACE.medium)
        top.addWidget(self._name, 1)
        top.addWidget(self._rest)
        below = hbox(spacing=SPACE.tiny)
        below.addWidget(self._mark)
        below.addWidget(self._words, 1)
        lines = vbox(spacing=SPACE.small)
        lines.addLayout(top)
        lines.addWidget(self._bar)
        lines.addLayout(below)
        self.body = lines
        layout = hbox(
            self, margins=(SPACE.large, SPACE.medium, SPACE.medium, SPACE.medium), spacing=SPACE.large
        )
        layout.addLayout(lines, 1)
        buttons = hbox(spacing=SPACE.tiny)
        buttons.addWidget(self._hold)
        buttons.addWidget(self._stop)
        self.buttons = buttons
        layout.addLayout(buttons)

    def set_progress(self, share: float, words: str, *, rate: str = "", remaining: str = "") -> None:
        """`share` of 0 to 1; `words` say what happens now ("Checking 2.1 of 4.7 GB")."""
        self._bar.set_share(share)
        self._words.setText(words)
        self._rest.setText(" · ".join(part for part in (f"{share:.0%}", rate, remaining) if part))

    def rename(self, name: str) -> None:
        """The job is called otherwise from now on."""
        if name != self._title:
            self._title = name
            self._name.setText(name)
            self._bar.setAccessibleName(f"Progress of {name}")
            self._stop.rename(f"Cancel {name}")
            self.set_state(self._state)

    def set_ending(self, ending: bool) -> None:
        """Its end was asked for: nothing more can be done."""
        self._hold.setEnabled(not ending)
        self._stop.setEnabled(not ending)

    def set_state(self, state: JobState) -> None:
        """Queued, running, paused, failed or done: which decides the icon, its hue and the buttons."""
        self._state = state
        icon, tone = {
            "queued": ("history", "secondary"),
            "running": (self._icon, "secondary"),
            "paused": ("pause", "caution"),
            "failed": ("error", "bad"),
            "done": ("good", "good"),
        }[state]
        self._mark.set_icon(icon, tone)
        words: Tone = "bad" if state == "failed" else "secondary"
        self._words.set_tone(words)
        self._bar.set_share(self._bar.share, {"failed": "bad", "done": "good"}.get(state, "accent"))
        again = state in {"paused", "failed"}
        self._hold.set_icon("play" if again else "pause")
        self._hold.rename(f"{'Resume' if again else 'Pause'} {self._title}")
        self._hold.setVisible(state != "done")
        self._stop.setVisible(state != "done")

    def _toggle(self) -> None:
        (self.resume if self._state in {"paused", "failed"} else self.pause).emit()
