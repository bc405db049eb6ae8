"""The live theme: which scheme and text size hold now, and the fonts and icons that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon
from PySide6.QtWidgets import QWidget

from slmdesk.gui.theme.icons import IconFont
from slmdesk.gui.theme.style import palette_of, style_sheet
from slmdesk.gui.theme.tokens import DARK, LIGHT, TYPE, WEIGHT_NORMAL, Colours, Type

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

Choice = Literal["system", "light", "dark"]
Role = Literal["small", "body", "emphasis", "title", "label"]

_SCHEMES = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}


class Theme(QObject):
    """What the window looks like now. Made once, after the QApplication, and handed to every widget.

    The application is to run Qt's Fusion style, which looks the same everywhere (`-style fusion`).

    Attributes:
        colours: the colours in force.
        type: the type sizes in force, in pixels.
        dark: whether the dark scheme is in force.
        animated: whether anything may move.

    Signals:
        changed: colours, sizes or motion changed; what is shown wears the new style already.
    """

    changed = Signal()

    def __init__(
        self,
        app: QApplication,
        *,
        choice: Choice = "system",
        text_size: int = int(TYPE.body),
        reduced_motion: bool = False,
    ) -> None:
        super().__init__(app)
        self._app = app
        self._choice: Choice = choice
        self._text_size = text_size
        self._reduced = reduced_motion
        self._icons = IconFont(self)
        self._sheet = ""
        self._dressed: dict[QWidget, str] = {}  # each root, and the sheet it wears now
        self.colours: Colours = LIGHT
        self.type: Type = TYPE
        self.dark = False
        hints = app.styleHints()
        if choice != "system":
            hints.setColorScheme(_SCHEMES[choice])
        hints.colorSchemeChanged.connect(self._system_changed)
        self._apply()

    @property
    def choice(self) -> Choice:
        """What the person chose; "system" follows the system."""
        return self._choice

    def set_choice(self, choice: Choice) -> None:
        """Follow the system, or hold one scheme whatever the system says."""
        if choice == self._choice:
            return
        self._choice = choice
        hints = self._app.styleHints()
        if choice == "system":
            hints.unsetColorScheme()
        else:
            hints.setColorScheme(_SCHEMES[choice])
        self._refresh()

    def set_text_size(self, body: int) -> None:
        """The body size in pixels; every other size follows in proportion."""
        if body != self._text_size:
            self._text_size = body
            self._refresh()

    def set_reduced_motion(self, reduced: bool) -> None:
        """Hold everything still, also where the system does not ask for it."""
        if reduced != self._reduced:
            self._reduced = reduced
            self.changed.emit()

    @property
    def animated(self) -> bool:
        """Whether anything may move: neither the setting nor the system asks for reduced motion."""
        if self._reduced:
            return False
        wishes = getattr(self._app.styleHints(), "accessibility", None)
        # The object must be held while its method is called: its Python side dies with the expression.
        hints = wishes() if wishes else None
        # Qt tells the system's wish from 6.12 on.
        preference = getattr(hints, "motionPreference", None)
        return preference is None or "Reduced" not in preference().name

    def colour(self, name: str) -> QColor:
        """A colour of the table by its name, e.g. "accent" or "line_strong"."""
        return QColor(getattr(self.colours, name))

    def tint(self, name: str) -> QColor:
        """The quiet ground in the hue of a colour of the table."""
        return QColor(self.colours.tint(getattr(self.colours, name)))

    def tint_edge(self, name: str) -> QColor:
        """The edge of such a ground."""
        return QColor(self.colours.tint_edge(getattr(self.colours, name)))

    def font(self, role: Role = "body", *, weight: int = WEIGHT_NORMAL, tabular: bool = False) -> QFont:
        """The system's interface font in one of the sizes; `tabular` gives all digits one width."""
        font = QFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont))
        font.setPixelSize(round(getattr(self.type, role)))
        font.setWeight(QFont.Weight(weight))
        if tabular:
            font.setFeature(QFont.Tag("tnum"), 1)
        return font

    def code_font(self) -> QFont:
        """The system's monospace font. Its size has half pixels, so it is set in points."""
        font = QFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        font.setPointSizeF(self.type.code * 72 / self._app.primaryScreen().logicalDotsPerInch())
        return font

    def icon(self, name: str, *, colour: str = "text", checked: str | None = None) -> QIcon:
        """An icon of the family that follows the theme.

        `name` is one of `icons.GLYPHS`; `colour` a colour of the table. Disabled icons take the disabled
        colour; `checked` names the colour (by default the same) of the icon's "on" state, which uses the
        filled variant where there is one.
        """
        return self._icons.icon(name, colour, checked or colour)

    @property
    def icons(self) -> IconFont:
        """The icon font itself, for widgets that paint glyphs."""
        return self._icons

    def dress(self, root: QWidget) -> None:
        """Style a widget and all in it, now and after each change: at once while it is shown, else when it is.

        The application itself has no style sheet. With one, Qt styles every widget there is anew at each change, those
        of pages nobody looks at too; with all pages built that held the window up for more than a second.
        """
        self._dressed[root] = self._sheet
        root.setStyleSheet(self._sheet)
        root.installEventFilter(self)
        root.destroyed.connect(lambda: self._dressed.pop(root, None))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """A root that was hidden at the last change catches up before it is seen."""
        if event.type() == QEvent.Type.Show and isinstance(watched, QWidget):
            self._catch_up(watched)
        return False

    def _catch_up(self, root: QWidget) -> None:
        if self._dressed.get(root, self._sheet) != self._sheet:
            self._dressed[root] = self._sheet
            root.setStyleSheet(self._sheet)

    def _system_changed(self) -> None:
        if self._choice == "system":
            self._refresh()

    def _refresh(self) -> None:
        self._apply()
        self.changed.emit()

    def _apply(self) -> None:
        self.dark = (
            self._choice == "dark"
            if self._choice != "system"
            else self._app.styleHints().colorScheme() == Qt.ColorScheme.Dark
        )
        self.colours = DARK if self.dark else LIGHT
        self.type = TYPE.scaled(self._text_size)
        self._app.setFont(self.font())
        self._app.setPalette(palette_of(self.colours))
        self._sheet = style_sheet(self.colours, self.type)
        for root in list(self._dressed):
            if root.isVisible():
                self._catch_up(root)
