"""The icons: glyphs of Material Design Icons, taken from the font file that QtAwesome ships.

Only that one file is read, and only outlines are taken from it: no font is registered with the system, and
an icon is filled as a path at the exact size and pixel ratio it is shown at. QtAwesome's own loader would
read all its fonts and character maps for the same result.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QIcon,
    QIconEngine,
    QPainter,
    QPainterPath,
    QPixmap,
    QRawFont,
    QTransform,
)

from slmdesk.core.errors import SlmDeskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slmdesk.gui.theme.theme import Theme

FONT_FILE = "materialdesignicons6-webfont-6.9.96.ttf"
CHARMAP_FILE = "materialdesignicons6-webfont-charmap-6.9.96.json"

_EM = 512.0
"""Units per em of the font; outlines are taken at that size, so they are exact."""
_ASCENT = 448.0

GLYPHS: dict[str, str] = {
    # our word: the family's name for it
    "about": "information-outline",
    "add": "plus",
    "archive": "archive-outline",
    "arrow-down": "arrow-down",
    "arrow-right": "arrow-right",
    "arrow-up": "arrow-up",
    "attention": "alert-outline",
    "best": "star",
    "built-in": "package-variant-closed",
    "busy": "loading",
    "cancel": "close-circle-outline",
    "catalog": "compass-outline",
    "changed": "update",
    "chat": "message-text-outline",
    "check": "check",
    "chevron-down": "chevron-down",
    "chevron-left": "chevron-left",
    "chevron-right": "chevron-right",
    "chevron-up": "chevron-up",
    "clear": "close-circle",
    "close": "close",
    "code": "code-tags",
    "compare": "scale-balance",
    "copy": "content-copy",
    "damaged": "alert-octagon-outline",
    "dark": "weather-night",
    "delete": "trash-can-outline",
    "disk": "harddisk",
    "dot": "circle",
    "download": "download-outline",
    "edit": "pencil-outline",
    "eject": "eject-outline",
    "error": "alert-circle-outline",
    "export": "export-variant",
    "file": "file-outline",
    "folder": "folder-outline",
    "folder-add": "folder-plus-outline",
    "fork": "source-fork",
    "good": "check-circle-outline",
    "help": "help-circle-outline",
    "history": "history",
    "idea": "lightbulb-outline",
    "import": "import",
    "key": "key-outline",
    "keyboard": "keyboard-outline",
    "library": "database-outline",
    "light": "white-balance-sunny",
    "link": "open-in-new",
    "list": "format-list-bulleted",
    "lock": "lock-outline",
    "memory": "memory",
    "merge": "merge",
    "menu": "dots-horizontal",
    "minus": "minus",
    "model": "cube-outline",
    "offline": "cloud-off-outline",
    "online": "cloud-outline",
    "partial": "progress-download",
    "pause": "pause",
    "pin": "pin-outline",
    "play": "play",
    "quantize": "arrow-collapse-vertical",
    "refresh": "refresh",
    "reset": "backup-restore",
    "ring": "circle-outline",
    "search": "magnify",
    "send": "arrow-up",
    "server": "server-outline",
    "settings": "cog-outline",
    "sort-down": "menu-down",
    "sort-up": "menu-up",
    "speed": "speedometer",
    "stop": "stop",
    "switch": "swap-horizontal",
    "text": "format-size",
    "ticked": "checkbox-marked",
    "tools": "wrench-outline",
    "tune": "tune-variant",
    "undo": "undo",
    "unticked": "checkbox-blank-outline",
    "unverified": "shield-outline",
    "user": "account-outline",
    "verified": "shield-check-outline",
    "window": "dock-window",
}

FILLED: dict[str, str] = {
    "about": "information",
    "catalog": "compass",
    "chat": "message-text",
    "delete": "trash-can",
    "download": "download",
    "folder": "folder",
    "library": "database",
    "model": "cube",
    "server": "server",
    "settings": "cog",
    "user": "account",
}
"""The filled variant of an icon, shown in its "on" state."""

CODE_POINTS: dict[str, int] = {
    "wrench-outline": 0xF0BE0,
    "format-size": 0xF027F,
    "white-balance-sunny": 0xF05A8,
    "weather-night": 0xF0594,
    "account": 0xF0004,
    "account-outline": 0xF0013,
    "alert-circle-outline": 0xF05D6,
    "alert-octagon-outline": 0xF0CE6,
    "alert-outline": 0xF002A,
    "archive-outline": 0xF120E,
    "arrow-collapse-vertical": 0xF084D,
    "arrow-down": 0xF0045,
    "arrow-right": 0xF0054,
    "arrow-up": 0xF005D,
    "backup-restore": 0xF006F,
    "check": 0xF012C,
    "checkbox-blank-outline": 0xF0131,
    "checkbox-marked": 0xF0132,
    "check-circle-outline": 0xF05E1,
    "chevron-down": 0xF0140,
    "chevron-left": 0xF0141,
    "chevron-right": 0xF0142,
    "chevron-up": 0xF0143,
    "circle": 0xF0765,
    "circle-outline": 0xF0766,
    "close": 0xF0156,
    "close-circle": 0xF0159,
    "close-circle-outline": 0xF015A,
    "cloud-off-outline": 0xF0164,
    "cloud-outline": 0xF0163,
    "code-tags": 0xF0174,
    "cog": 0xF0493,
    "cog-outline": 0xF08BB,
    "compass": 0xF018B,
    "compass-outline": 0xF018C,
    "content-copy": 0xF018F,
    "cube": 0xF01A6,
    "cube-outline": 0xF01A7,
    "database": 0xF01BC,
    "database-outline": 0xF1632,
    "dock-window": 0xF10AC,
    "dots-horizontal": 0xF01D8,
    "download": 0xF01DA,
    "download-outline": 0xF0B8F,
    "eject-outline": 0xF0B91,
    "export-variant": 0xF0B93,
    "file-outline": 0xF0224,
    "folder": 0xF024B,
    "folder-outline": 0xF0256,
    "folder-plus-outline": 0xF0B9D,
    "format-list-bulleted": 0xF0279,
    "harddisk": 0xF02CA,
    "help-circle-outline": 0xF0625,
    "history": 0xF02DA,
    "import": 0xF02FA,
    "information": 0xF02FC,
    "information-outline": 0xF02FD,
    "key-outline": 0xF0DD6,
    "keyboard-outline": 0xF097B,
    "lightbulb-outline": 0xF0336,
    "loading": 0xF0772,
    "lock-outline": 0xF0341,
    "magnify": 0xF0349,
    "memory": 0xF035B,
    "menu-down": 0xF035D,
    "menu-up": 0xF0360,
    "merge": 0xF0F5C,
    "message-text": 0xF0369,
    "message-text-outline": 0xF036A,
    "minus": 0xF0374,
    "open-in-new": 0xF03CC,
    "package-variant-closed": 0xF03D7,
    "pause": 0xF03E4,
    "pencil-outline": 0xF0CB6,
    "play": 0xF040A,
    "plus": 0xF0415,
    "progress-download": 0xF0997,
    "refresh": 0xF0450,
    "scale-balance": 0xF05D1,
    "server": 0xF048B,
    "server-outline": 0xF1C9A,
    "shield-check-outline": 0xF0CC8,
    "shield-outline": 0xF0499,
    "speedometer": 0xF04C5,
    "star": 0xF04CE,
    "stop": 0xF04DB,
    "swap-horizontal": 0xF04E1,
    "trash-can": 0xF0A79,
    "trash-can-outline": 0xF0A7A,
    "tune-variant": 0xF1542,
    "undo": 0xF054C,
    "update": 0xF06B0,
    "pin-outline": 0xF0931,
    "source-fork": 0xF04C1,
}
"""Where the font keeps each glyph; a test holds this against the character map beside the font."""


def font_folder() -> Path:
    """QtAwesome's folder of fonts, found without importing the package.

    Raises `SlmDeskError("icons_missing")` when QtAwesome is not installed.
    """
    spec = find_spec("qtawesome")
    if spec is None or spec.origin is None:
        raise SlmDeskError("icons_missing", "The icons are missing.", "Install SLM Desk again.")
    return Path(spec.origin).parent / "fonts"


class IconFont:
    """Outlines of the icon font, read on first use and kept as paths in a unit square."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self._font: QRawFont | None = None
        self._paths: dict[str, QPainterPath] = {}
        self._icons: dict[tuple[str, str, str], QIcon] = {}
        # Python's collector may free an engine before its icon, which then frees it again and ends the process.
        theme.destroyed.connect(lambda _theme, icons=self._icons: icons.clear())

    def path(self, glyph: str) -> QPainterPath:
        """The outline of a glyph of the family (its own name), in a square from (0, 0) to (1, 1).

        Raises KeyError for a name that `CODE_POINTS` does not hold.
        """
        found = self._paths.get(glyph)
        if found is None:
            if self._font is None:
                no_hinting = QFont.HintingPreference.PreferNoHinting
                self._font = QRawFont(str(font_folder() / FONT_FILE), _EM, no_hinting)
            index = self._font.glyphIndexesForString(chr(CODE_POINTS[glyph]))[0]
            outline = self._font.pathForGlyph(index)
            found = QTransform().scale(1 / _EM, 1 / _EM).translate(0, _ASCENT).map(outline)
            self._paths[glyph] = found
        return found

    def icon(self, name: str, colour: str, checked: str) -> QIcon:
        """A shared QIcon; see `Theme.icon`."""
        key = (name, colour, checked)
        found = self._icons.get(key)
        if found is None:
            found = self._icons[key] = QIcon(GlyphEngine(self._theme, name, colour, checked))
        return found

    def turning(self, name: str, colour: str, angle: Callable[[], float]) -> QIcon:
        """An icon of its own that is drawn at `angle()` degrees each time it is painted."""
        return QIcon(GlyphEngine(self._theme, name, colour, colour, angle))

    def paint(
        self,
        painter: QPainter,
        rect: QRectF,
        name: str,
        colour: QColor,
        *,
        filled: bool = False,
        angle: float = 0.0,
    ) -> None:
        """Fill the icon `name` into the largest square centred in `rect`; `angle` turns it, in degrees."""
        glyph = FILLED.get(name, GLYPHS[name]) if filled else GLYPHS[name]
        side = min(rect.width(), rect.height())
        centre = rect.center()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(centre)
        if angle:
            painter.rotate(angle)
        painter.scale(side, side)
        painter.translate(QPointF(-0.5, -0.5))
        painter.fillPath(self.path(glyph), colour)
        painter.restore()


class GlyphEngine(QIconEngine):
    """Paints one icon in the colours the theme has at that moment."""

    def __init__(
        self, theme: Theme, name: str, colour: str, checked: str, angle: Callable[[], float] | None = None
    ) -> None:
        super().__init__()
        self._angle = angle
        self._theme = theme
        self._name = name
        self._colour = colour
        self._checked = checked

    def clone(self) -> QIconEngine:
        return GlyphEngine(self._theme, self._name, self._colour, self._checked, self._angle)

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        on = state == QIcon.State.On
        colour = self._checked if on else self._colour
        if mode == QIcon.Mode.Disabled:
            colour = "disabled"
        angle = self._angle() if self._angle else 0.0
        ink = self._theme.colour(colour)
        self._theme.icons.paint(painter, QRectF(rect), self._name, ink, filled=on, angle=angle)

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        return self.scaledPixmap(size, mode, state, 1.0)

    def scaledPixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State, scale: float) -> QPixmap:
        pixmap = QPixmap(size * scale)
        pixmap.setDevicePixelRatio(scale)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return pixmap

    def actualSize(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QSize:
        del mode, state
        return size
