"""The one table of colours, distances and type sizes. No other module holds such a literal.

Lengths are in device-independent pixels. Colours are "#rrggbb".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


def mix(base: str, over: str, share: float) -> str:
    """`over` laid on `base` with opacity `share` (0 to 1), as "#rrggbb"."""
    return "#" + "".join(
        f"{round(int(base[i : i + 2], 16) * (1 - share) + int(over[i : i + 2], 16) * share):02x}"
        for i in (1, 3, 5)
    )


def _channel(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def luminance(colour: str) -> float:
    """Relative luminance, 0 (black) to 1 (white), as WCAG 2.2 defines it."""
    red, green, blue = (_channel(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2.2 defines it."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@dataclass(frozen=True)
class Colours:
    """The colours of one scheme. The properties are derived, so that the table stays small."""

    window: str
    surface: str
    raised: str
    line: str
    line_strong: str
    control: str
    """The edge of what can be operated (fields, ticks, switches): 3:1 against every ground."""
    text: str
    secondary: str
    disabled: str
    accent: str
    on_accent: str
    accent_text: str
    """The accent where it is text (links, names): 4.5:1 against every ground."""
    good: str
    caution: str
    bad: str
    shade: str
    """What lies over the window behind the palette; drawn with `shade_opacity`."""
    shade_opacity: float

    @property
    def hover(self) -> str:
        """The ground of something the pointer is over."""
        return mix(self.surface, self.text, 0.05)

    @property
    def pressed(self) -> str:
        return mix(self.surface, self.text, 0.10)

    @property
    def selected(self) -> str:
        """The ground of a chosen row, of selected chips and of the current page."""
        return mix(self.surface, self.accent, 0.12)

    @property
    def accent_hover(self) -> str:
        return mix(self.accent, self.text, 0.10)

    @property
    def accent_pressed(self) -> str:
        return mix(self.accent, self.text, 0.20)

    @property
    def selection(self) -> str:
        """The ground of selected text in a field."""
        return mix(self.surface, self.accent, 0.28)

    @property
    def track(self) -> str:
        """The empty part of bars and meters."""
        return mix(self.surface, self.text, 0.10)

    @property
    def code_ground(self) -> str:
        return mix(self.surface, self.text, 0.04)

    def tint(self, colour: str) -> str:
        """A quiet ground in the hue of `colour`, for chips, pills and panels."""
        return mix(self.surface, colour, 0.05)

    def tint_edge(self, colour: str) -> str:
        """The edge of such a ground."""
        return mix(self.surface, colour, 0.30)


LIGHT = Colours(
    window="#f6f7f9",
    surface="#ffffff",
    raised="#ffffff",
    line="#e3e6eb",
    line_strong="#c8cdd6",
    control="#7f8693",
    text="#16181d",
    secondary="#5a6270",
    disabled="#9aa1ad",
    accent="#2f6feb",
    on_accent="#ffffff",
    accent_text="#1f5bd0",
    good="#1a7f4b",
    caution="#9a6700",
    bad="#c3352b",
    shade="#16181d",
    shade_opacity=0.24,
)

DARK = Colours(
    window="#14161a",
    surface="#1b1e24",
    raised="#23272f",
    line="#2c313a",
    line_strong="#3d4450",
    control="#727b8a",
    text="#e8eaee",
    secondary="#a3abb8",
    disabled="#667080",
    accent="#6ea0ff",
    on_accent="#0e1116",
    accent_text="#8ab2ff",
    good="#5cc98b",
    caution="#e3b341",
    bad="#ff7b72",
    shade="#000000",
    shade_opacity=0.45,
)


class Spacing:
    """Distances, and nothing between them."""

    tiny: Final = 4
    small: Final = 8
    medium: Final = 12
    large: Final = 16
    wide: Final = 24
    huge: Final = 32


class Measure:
    """Fixed sizes of the frame and the controls."""

    rail: Final = 72
    rail_narrow: Final = 56
    rail_item: Final = 56
    rail_bar: Final = 3
    header: Final = 48
    strip: Final = 28
    control: Final = 32
    control_small: Final = 24
    chip: Final = 26
    badge: Final = 22
    row: Final = 36
    icon: Final = 20
    icon_small: Final = 16
    icon_large: Final = 40
    line: Final = 1
    focus: Final = 2
    bar: Final = 6
    meter: Final = 4
    scroll: Final = 10
    switch_width: Final = 36
    switch_height: Final = 20
    knob_inset: Final = 3
    corner: Final = 6
    corner_card: Final = 10
    window_width: Final = 1180
    window_height: Final = 760
    minimum_width: Final = 720
    minimum_height: Final = 480
    narrow: Final = 900
    """Below this width the rail shows icons only and detail opens over the list."""
    wide: Final = 1100
    """From this width on a third column may appear."""
    reading: Final = 760
    field: Final = 280
    field_small: Final = 112
    field_number: Final = 152
    palette_width: Final = 600
    palette_rows: Final = 9
    dialog: Final = 440
    toast: Final = 520
    pages: Final = 720
    list_page: Final = 860
    list_least: Final = 340
    stack: Final = 14
    catalog_row: Final = 76
    library_row: Final = 56
    quantize_page: Final = 1160
    chart: Final = 300


@dataclass(frozen=True)
class Type:
    """Type sizes at a body of 13; `scaled` gives those for another body size."""

    small: float = 12
    body: float = 13
    emphasis: float = 15
    title: float = 20
    code: float = 12.5
    label: float = 11

    def scaled(self, body: int) -> Type:
        """The same steps around another body size (pixels); the label of the rail keeps its size."""
        factor = body / self.body
        return Type(
            small=round(self.small * factor),
            body=body,
            emphasis=round(self.emphasis * factor),
            title=round(self.title * factor),
            code=round(self.code * factor * 2) / 2,
            label=self.label,
        )


class Motion:
    """Durations in milliseconds. Nothing moves when reduced motion is asked for."""

    fade: Final = 140
    spin: Final = 900
    spin_step: Final = 40
    toast: Final = 6000


SPACE = Spacing
MEASURE = Measure
TYPE = Type()
MOTION = Motion
WEIGHT_NORMAL = 400
WEIGHT_MEDIUM = 500
WEIGHT_STRONG = 600
