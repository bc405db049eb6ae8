"""Round corners of what pops up as a window of its own: menus and lists.

Translucent corners need somebody to compose the screen. On X11 without a compositor they are black; there the
window is cut to its shape instead.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from functools import cache
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QRectF, Qt
from PySide6.QtGui import QGuiApplication, QPainterPath, QRegion

from slmdesk.gui.theme import MEASURE

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget


def round_corners(popup: QWidget) -> None:
    """Give a popup that paints a round rectangle corners through which one sees what lies below."""
    if composed():
        popup.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
    else:
        popup.installEventFilter(_Cutter(popup))


@cache
def composed() -> bool:
    """Whether windows may be translucent. Everywhere but on X11 they may."""
    if QGuiApplication.platformName() != "xcb":
        return True
    return _x11_composed()


def _x11_composed() -> bool:
    """Whether somebody owns the selection that a compositor takes (_NET_WM_CM_S, of the first screen)."""
    name = ctypes.util.find_library("X11")
    if sys.platform == "win32" or name is None:
        return True
    try:
        x11 = ctypes.CDLL(name)
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
        x11.XInternAtom.restype = ctypes.c_ulong
        x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        x11.XGetSelectionOwner.restype = ctypes.c_ulong
        x11.XGetSelectionOwner.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
        x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError):
        return True
    display = x11.XOpenDisplay(None)
    if not display:
        return True
    try:
        atom = x11.XInternAtom(display, b"_NET_WM_CM_S0", 0)
        return bool(x11.XGetSelectionOwner(display, atom))
    finally:
        x11.XCloseDisplay(display)


class _Cutter(QObject):
    """Cuts a window to a round rectangle at each of its sizes."""

    def __init__(self, popup: QWidget) -> None:
        super().__init__(popup)
        self._popup = popup

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._popup and event.type() in {QEvent.Type.Resize, QEvent.Type.Show}:
            shape = QPainterPath()
            shape.addRoundedRect(QRectF(self._popup.rect()), MEASURE.corner, MEASURE.corner)
            self._popup.setMask(QRegion(shape.toFillPolygon().toPolygon()))
        return False
