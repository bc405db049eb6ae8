"""Small marks: filter chips, the state of a file, the verdict of a forecast."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QPushButton, QSizePolicy, QWidget

from slmdesk.gui.theme import MEASURE, SPACE, Theme
from slmdesk.gui.theme.tokens import WEIGHT_MEDIUM
from slmdesk.gui.widgets.base import Pressed, Tall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slmdesk.gui.widgets.base import Tone

State = Literal["verified", "unverified", "damaged", "changed", "partial", "built_in", "starter"]
Verdict = Literal["fits", "tight", "too_big"]

STATES: dict[State, tuple[str, str, Tone, str]] = {
    "verified": ("Verified", "verified", "good", "The file is the one its publisher made."),
    "unverified": ("Unverified", "unverified", "secondary", "Nobody has checked this file yet."),
    "damaged": ("Damaged", "damaged", "bad", "The file is not what it should be."),
    "changed": ("Changed upstream", "changed", "caution", "Its publisher has another version now."),
    "partial": ("Partial", "partial", "caution", "Not all of the file is here."),
    "built_in": ("Built in", "built-in", "accent", "It came with the program."),
    "starter": (
        "Starter",
        "built-in",
        "accent",
        "It came with the program, and is the file its publisher made.",
    ),
}
VERDICTS: dict[Verdict, tuple[str, str, Tone]] = {
    "fits": ("Fits", "good", "good"),
    "tight": ("Tight", "attention", "caution"),
    "too_big": ("Too big", "cancel", "bad"),
}


class Badge(QWidget):
    """An icon and a word on a quiet ground of the same hue."""

    def __init__(
        self, theme: Theme, text: str, icon: str, tone: Tone, *, tip: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.theme = theme
        self._text = text
        self._icon = icon
        self._tone = tone
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(text)
        self.setToolTip(tip)
        theme.changed.connect(self._refont)
        self._refont()

    @property
    def text(self) -> str:
        return self._text

    def show_as(self, text: str, icon: str, tone: Tone, tip: str = "") -> None:
        """Another word, icon and hue."""
        self._text, self._icon, self._tone = text, icon, tone
        self.setAccessibleName(text)
        self.setToolTip(tip)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        text = self.fontMetrics().horizontalAdvance(self._text)
        width = SPACE.small + MEASURE.icon_small + SPACE.tiny + text + SPACE.small
        return QSize(width, max(MEASURE.badge, self.fontMetrics().height() + SPACE.tiny))

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        theme = self.theme
        tone = "accent_text" if self._tone == "accent" else self._tone
        ink = theme.colour(tone)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.tint_edge(tone), MEASURE.line))
        painter.setBrush(theme.tint(tone))
        round_ = min(self.height() / 2, MEASURE.badge / 2)
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), round_, round_)
        side = MEASURE.icon_small
        theme.icons.paint(
            painter, QRectF(SPACE.small, (self.height() - side) / 2, side, side), self._icon, ink
        )
        painter.setPen(ink)
        left = SPACE.small + side + SPACE.tiny
        painter.drawText(
            self.rect().adjusted(left, 0, 0, 0),
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft,
            self._text,
        )

    def _refont(self) -> None:
        self.setFont(self.theme.font("small", weight=WEIGHT_MEDIUM, tabular=True))
        self.updateGeometry()


class StateChip(Badge):
    """The state of a file, in DESIGN's words."""

    def __init__(self, theme: Theme, state: State, *, parent: QWidget | None = None) -> None:
        text, icon, tone, tip = STATES[state]
        super().__init__(theme, text, icon, tone, tip=tip, parent=parent)

    def set_state(self, state: State) -> None:
        self.show_as(*STATES[state])


class VerdictPill(Badge):
    """Whether a model runs here, with the number that says why ("Fits · 5.2 GB")."""

    def __init__(
        self, theme: Theme, verdict: Verdict, number: str, *, tip: str = "", parent: QWidget | None = None
    ) -> None:
        word, icon, tone = VERDICTS[verdict]
        super().__init__(theme, f"{word} · {number}", icon, tone, tip=tip, parent=parent)

    def set_verdict(self, verdict: Verdict, number: str, tip: str = "") -> None:
        word, icon, tone = VERDICTS[verdict]
        self.show_as(f"{word} · {number}", icon, tone, tip)


class Chip(Pressed, Tall, QPushButton):
    """A filter that is on or off; a tick shows that it is on."""

    least_height = MEASURE.chip

    def __init__(self, theme: Theme, text: str, *, on: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.theme = theme
        self.setProperty("kind", "chip")
        self.setCheckable(True)
        self.setAutoDefault(False)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setIconSize(QSize(MEASURE.icon_small, MEASURE.icon_small))
        self.toggled.connect(self._mark)
        self.setChecked(on)

    def _mark(self, on: bool) -> None:
        self.setIcon(self.theme.icon("check", colour="accent_text") if on else QIcon())


class MenuChip(Pressed, Tall, QPushButton):
    """A filter with one of several values, or none; it opens a menu and wears its value.

    Signals:
        chosen: the value a person picked.
    """

    least_height = MEASURE.chip
    chosen = Signal(object)

    def __init__(
        self,
        theme: Theme,
        name: str,
        choices: Sequence[tuple[Any, str]],
        *,
        value: Any = None,
        default: Any = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(name, parent)
        self.theme = theme
        self._name = name
        self._choices = list(choices)
        self._default = default
        self.value: Any = value
        self.setProperty("kind", "chip")
        self.setCheckable(True)
        self.setAutoDefault(False)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setIconSize(QSize(MEASURE.icon_small, MEASURE.icon_small))
        self.setIcon(theme.icon("chevron-down", colour="secondary"))
        self.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow behind the words
        self.clicked.connect(self._open)
        self.set_value(value)

    def set_value(self, value: Any) -> None:
        """Wear a value without emitting `chosen`."""
        self.value = value
        words = dict(self._choices).get(value, "")
        plain = value == self._default
        self.setText(self._name if plain else words)
        self.setChecked(not plain)
        self.setAccessibleName(f"{self._name}: {words}")

    def _open(self) -> None:
        from slmdesk.gui.widgets.menu import Menu

        self.setChecked(self.value != self._default)
        menu = Menu(self.theme, parent=self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for value, words in self._choices:
            mark = "check" if value == self.value else ""
            menu.add(words, partial(self._take, value), icon=mark)
        menu.popup(self.mapToGlobal(self.rect().bottomLeft()))

    def _take(self, value: Any) -> None:
        self.set_value(value)
        self.chosen.emit(value)
