"""How everything looks: tokens, the live theme, the style sheet made from them, and the icons."""

from slmdesk.gui.theme.theme import Theme
from slmdesk.gui.theme.tokens import MEASURE, MOTION, SPACE, TYPE

__all__ = ["MEASURE", "MOTION", "SPACE", "TYPE", "Theme"]
