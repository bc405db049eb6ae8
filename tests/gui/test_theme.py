"""The token table holds what it promises, and the icons are where the font has them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QIcon, QImage
from PySide6.QtWidgets import QApplication

from slmdesk.gui.theme import Theme
from slmdesk.gui.theme.icons import CHARMAP_FILE, CODE_POINTS, FILLED, GLYPHS, font_folder
from slmdesk.gui.theme.tokens import DARK, LIGHT, TYPE, Colours, contrast

SCHEMES = pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])


def test_contrast_is_counted_as_wcag_counts_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@SCHEMES
def test_text_can_be_read_on_every_ground(colours: Colours) -> None:
    grounds = ("window", "surface", "raised", "hover", "pressed", "selected", "code_ground")
    for ink in ("text", "secondary", "accent_text"):
        for ground in grounds:
            ratio = contrast(getattr(colours, ink), getattr(colours, ground))
            assert ratio >= 4.5, f"{ink} on {ground}: {ratio:.2f}"
    assert contrast(colours.text, colours.selection) >= 4.5
    for ground in ("accent", "accent_hover", "accent_pressed"):
        assert contrast(colours.on_accent, getattr(colours, ground)) >= 4.5, ground


@SCHEMES
def test_words_in_colour_can_be_read(colours: Colours) -> None:
    for ink in ("good", "caution", "bad", "accent_text", "secondary"):
        colour = getattr(colours, ink)
        for ground in (colours.window, colours.surface, colours.raised, colours.tint(colour)):
            assert contrast(colour, ground) >= 4.5, f"{ink} on {ground}"


@SCHEMES
def test_controls_stand_out(colours: Colours) -> None:
    for edge in ("control", "accent", "good", "caution", "bad"):
        for ground in ("window", "surface", "raised", "hover"):
            ratio = contrast(getattr(colours, edge), getattr(colours, ground))
            assert ratio >= 3, f"{edge} on {ground}: {ratio:.2f}"


def test_no_colour_is_named_outside_the_table() -> None:
    gui = Path(__file__).parents[2] / "slmdesk" / "gui"
    named = re.compile(r"[\"']#[0-9a-fA-F]{3,8}[\"']|QColor\(\s*\d|[Gg]lobalColor\.(?!transparent)")
    found = [
        f"{path.relative_to(gui)}: {line.strip()}"
        for path in gui.rglob("*.py")
        if path.name != "tokens.py"
        for line in path.read_text("utf-8").splitlines()
        if named.search(line)
    ]
    assert found == []


def test_type_keeps_its_steps_at_every_size() -> None:
    assert TYPE.scaled(13) == TYPE
    for body in range(12, 21):
        scaled = TYPE.scaled(body)
        assert scaled.small < scaled.body == body < scaled.emphasis < scaled.title


def test_icons_are_where_the_font_has_them() -> None:
    charmap = json.loads((font_folder() / CHARMAP_FILE).read_text("utf-8"))
    for name in {*GLYPHS.values(), *FILLED.values()}:
        assert int(charmap[name], 16) == CODE_POINTS[name], name
    assert set(CODE_POINTS) == {*GLYPHS.values(), *FILLED.values()}, "a code point that no icon uses"
    assert set(FILLED) <= set(GLYPHS)


def ink_of(image: QImage) -> tuple[str, int]:
    """The colour of the fully covered pixels, and how many pixels are covered at all."""
    solid, covered = "", 0
    for x in range(image.width()):
        for y in range(image.height()):
            pixel = image.pixelColor(x, y)
            covered += pixel.alpha() > 0
            if pixel.alpha() == 255:
                solid = pixel.name()
    return solid, covered


def test_an_icon_follows_scheme_and_state(fresh_theme: Theme, qapp: QApplication) -> None:
    icon = fresh_theme.icon("settings", checked="accent")
    size = QSize(64, 64)

    def drawn(mode: QIcon.Mode, state: QIcon.State) -> tuple[str, int]:
        return ink_of(icon.pixmap(size, 1.0, mode, state).toImage())

    normal, off, on = QIcon.Mode.Normal, QIcon.State.Off, QIcon.State.On
    outlined = drawn(normal, off)
    assert outlined[0] == LIGHT.text
    filled = drawn(normal, on)
    assert filled[0] == LIGHT.accent
    assert filled[1] > outlined[1], "the filled variant covers more"
    assert drawn(QIcon.Mode.Disabled, off)[0] == LIGHT.disabled
    fresh_theme.set_choice("dark")
    assert drawn(normal, off)[0] == DARK.text
    assert qapp.palette().window().color().name() == DARK.window
    fine = icon.pixmap(size, 2.0, normal, off)
    assert (fine.width(), fine.devicePixelRatio()) == (128, 2.0), "crisp where pixels are small"
    assert ink_of(fine.toImage())[1] > 3 * outlined[1]


def test_every_icon_has_ink(fresh_theme: Theme) -> None:
    for name in GLYPHS:
        image = fresh_theme.icon(name).pixmap(QSize(24, 24)).toImage()
        assert ink_of(image)[1] > 8, name


def test_a_text_size_reaches_the_fonts(fresh_theme: Theme, qapp: QApplication) -> None:
    told: list[int] = []
    fresh_theme.changed.connect(lambda: told.append(qapp.font().pixelSize()))
    fresh_theme.set_text_size(18)
    fresh_theme.set_text_size(18)
    assert told == [18], "told once, after the change"
    assert fresh_theme.font("title").pixelSize() == TYPE.scaled(18).title
    fresh_theme.set_text_size(13)
