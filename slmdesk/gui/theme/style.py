"""Qt's palette and the one style sheet, both made from the tokens.

Controls and labels say what they are through dynamic properties (`role`, `tone`, `kind`); the rules below turn
that into looks. A focused control gets a two-pixel edge in place of its one-pixel edge, so nothing shifts.

No rule may speak of anything that holds other widgets: the style sheet would set its palette, which Qt passes
on to everything in it, level by level. Such areas paint themselves (`widgets.base.Pane`).
"""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette

from slmdesk.gui.theme.tokens import (
    MEASURE,
    SPACE,
    WEIGHT_MEDIUM,
    WEIGHT_STRONG,
    Colours,
    Type,
)


def palette_of(colours: Colours) -> QPalette:
    """The palette for Fusion and for everything that paints itself from the palette."""
    role = QPalette.ColorRole
    palette = QPalette()
    for group in (QPalette.ColorGroup.Active, QPalette.ColorGroup.Inactive, QPalette.ColorGroup.Disabled):
        text = colours.disabled if group == QPalette.ColorGroup.Disabled else colours.text
        for which, value in (
            (role.Window, colours.window),
            (role.Base, colours.surface),
            (role.AlternateBase, colours.window),
            (role.ToolTipBase, colours.raised),
            (role.ToolTipText, colours.text),
            (role.Button, colours.surface),
            (role.WindowText, text),
            (role.Text, text),
            (role.ButtonText, text),
            (role.PlaceholderText, colours.secondary),
            (role.BrightText, colours.bad),
            (role.Highlight, colours.selection),
            (role.HighlightedText, colours.text),
            (role.Link, colours.accent_text),
            (role.LinkVisited, colours.accent_text),
            (role.Accent, colours.accent),
            (role.Light, colours.raised),
            (role.Midlight, colours.line),
            (role.Mid, colours.line_strong),
            (role.Dark, colours.line_strong),
            (role.Shadow, colours.shade),
        ):
            palette.setColor(group, which, QColor(value))
    return palette


def style_sheet(colours: Colours, sizes: Type) -> str:
    """The style sheet of the application (Qt's dialect of CSS)."""
    parts = (_lines, _labels, _buttons, _fields, _lists, _scrolling, _floating)
    return "\n".join(part(colours, sizes) for part in parts)


def _lines(c: Colours, _: Type) -> str:
    return f"""
    Line {{ background: {c.line}; border: 0; }}
    QSplitter::handle {{ background: {c.line}; }}
    """


def _labels(c: Colours, t: Type) -> str:
    roles = f"""
    QLabel {{ background: transparent; border: 0; }}
    QLabel[role="label"] {{ font-size: {t.label:g}px; }}
    QLabel[role="small"] {{ font-size: {t.small:g}px; }}
    QLabel[role="emphasis"] {{ font-size: {t.emphasis:g}px; font-weight: {WEIGHT_STRONG}; }}
    QLabel[role="strong"] {{ font-weight: {WEIGHT_STRONG}; }}
    QLabel[role="title"] {{ font-size: {t.title:g}px; font-weight: {WEIGHT_STRONG}; }}
    """
    tones = "".join(
        f'QLabel[tone="{tone}"] {{ color: {colour}; }}\n'
        for tone, colour in (
            ("secondary", c.secondary),
            ("accent", c.accent_text),
            ("good", c.good),
            ("caution", c.caution),
            ("bad", c.bad),
        )
    )
    return roles + tones + f"QLabel:disabled {{ color: {c.disabled}; }}"


def _edged(edge: int, across: int, down: int) -> str:
    """A border whose padding gives back what a thicker border takes; its colour is set apart."""
    return f"border-style: solid; border-width: {edge}px; padding: {down - edge}px {across - edge}px;"


def _buttons(c: Colours, t: Type) -> str:
    s, m = SPACE, MEASURE

    def sizes(edge: int, state: str) -> str:
        """Borders and paddings of every size of button; all states of one size are equally large."""
        return f"""
    QPushButton{state} {{ {_edged(edge, s.medium, s.tiny)} }}
    QPushButton[small="true"]{state} {{ {_edged(edge, s.small, m.focus)} }}
    QPushButton[iconOnly="true"]{state} {{ {_edged(edge, m.focus, m.focus)} }}
    QPushButton[kind="segment"]{state} {{ {_edged(edge, s.medium, m.focus)} }}
    QPushButton[kind="chip"]{state} {{ {_edged(edge, s.medium, m.focus)} }}
    QPushButton[kind="link"]{state} {{ {_edged(edge, s.tiny, m.focus)} }}
    """

    kinds = f"""
    QPushButton {{ border-color: {c.line_strong}; border-radius: {m.corner}px; background: {c.surface};
        color: {c.text}; font-weight: {WEIGHT_MEDIUM}; outline: 0; }}
    QPushButton[small="true"], QPushButton[kind="chip"] {{ font-size: {t.small:g}px; }}
    QPushButton:hover {{ background: {c.hover}; }}
    QPushButton:pressed, QPushButton:checked {{ background: {c.pressed}; }}
    QPushButton:disabled {{ color: {c.disabled}; border-color: {c.line}; background: transparent; }}
    QPushButton[kind="primary"] {{ background: {c.accent}; color: {c.on_accent}; border-color: {c.accent};
        font-weight: {WEIGHT_STRONG}; }}
    QPushButton[kind="primary"]:hover {{ background: {c.accent_hover}; border-color: {c.accent_hover}; }}
    QPushButton[kind="primary"]:pressed {{ background: {c.accent_pressed};
        border-color: {c.accent_pressed}; }}
    QPushButton[kind="primary"]:disabled {{ background: {c.track}; color: {c.disabled};
        border-color: {c.track}; }}
    QPushButton[kind="quiet"] {{ background: transparent; border-color: transparent; }}
    QPushButton[kind="quiet"]:hover {{ background: {c.hover}; }}
    QPushButton[kind="quiet"]:pressed, QPushButton[kind="quiet"]:checked {{ background: {c.pressed}; }}
    QPushButton[kind="danger"] {{ color: {c.bad}; }}
    QPushButton[kind="segment"] {{ border-color: transparent; background: transparent;
        color: {c.secondary}; }}
    QPushButton[kind="segment"]:hover {{ color: {c.text}; }}
    QPushButton[kind="segment"]:checked {{ background: {c.raised}; color: {c.text};
        border-color: {c.line_strong}; }}
    QPushButton[kind="segment"]:disabled {{ color: {c.disabled}; }}
    QPushButton[kind="chip"] {{ border-radius: {m.chip // 2}px; }}
    QPushButton[kind="chip"]:checked {{ background: {c.selected}; border-color: {c.accent}; }}
    QPushButton[kind="link"] {{ border-color: transparent; background: transparent; color: {c.accent_text}; }}
    QPushButton[kind="link"]:hover {{ background: {c.selected}; }}
    """
    kinded = ("quiet", "segment", "chip", "link", "danger")
    rings = ", ".join(f'QPushButton[kind="{kind}"]:focus' for kind in kinded)
    return f"""
    {sizes(m.line, "")}
    {kinds}
    {sizes(m.focus, ":focus")}
    QPushButton:focus, {rings} {{ border-color: {c.accent}; }}
    QPushButton[kind="primary"]:focus {{ border-color: {c.text}; }}
    """


def _fields(c: Colours, t: Type) -> str:
    s, m = SPACE, MEASURE
    names = ("QLineEdit", "QComboBox", "QAbstractSpinBox", "QPlainTextEdit", "QTextEdit")

    def each(suffix: str = "") -> str:
        return ", ".join(name + suffix for name in names)

    return f"""
    {each()} {{ {_edged(m.line, s.small, s.tiny)} border-color: {c.control}; border-radius: {m.corner}px;
        background: {c.surface}; color: {c.text};
        selection-background-color: {c.selection}; selection-color: {c.text}; }}
    {each(":focus")} {{ {_edged(m.focus, s.small, s.tiny)} border-color: {c.accent}; }}
    {each('[invalid="true"]')} {{ border-color: {c.bad}; }}
    {each(":disabled")} {{ color: {c.secondary}; background: {c.window}; border-color: {c.line_strong}; }}
    QLineEdit[kind="bare"], QLineEdit[kind="bare"]:focus, QPlainTextEdit[kind="bare"],
    QPlainTextEdit[kind="bare"]:focus {{ border: 0; background: transparent; padding: 0;
        border-radius: 0; }}
    QComboBox {{ padding-right: {s.wide + s.tiny}px; combobox-popup: 0; }}
    QComboBox:hover, QAbstractSpinBox:hover {{ background: {c.hover}; }}
    QComboBox::drop-down {{ border: 0; width: {s.wide + s.tiny}px; }}
    QComboBox::down-arrow {{ image: none; }}
    QComboBox QAbstractItemView {{ border: {m.line}px solid {c.line_strong}; border-radius: {m.corner}px;
        background: {c.raised}; padding: {s.tiny}px; outline: 0; }}
    QComboBox QAbstractItemView::item {{ min-height: {m.control - s.tiny}px; padding: 0 {s.small}px;
        border-radius: {m.corner - 2}px; color: {c.text}; }}
    QComboBox QAbstractItemView::item:hover, QComboBox QAbstractItemView::item:selected {{
        background: {c.hover}; color: {c.text}; }}
    QAbstractSpinBox QLineEdit, QAbstractSpinBox QLineEdit:focus {{ border: 0; padding: 0; background: transparent;
        border-radius: 0; }}
    QAbstractSpinBox, QAbstractSpinBox:focus {{ padding: 0 {s.wide}px 0 0; }}
    QAbstractSpinBox::up-button, QAbstractSpinBox::down-button {{ subcontrol-origin: border;
        width: {s.wide}px; border: 0; background: transparent; }}
    QAbstractSpinBox::up-button {{ subcontrol-position: top right; }}
    QAbstractSpinBox::down-button {{ subcontrol-position: bottom right; }}
    QAbstractSpinBox::up-arrow, QAbstractSpinBox::down-arrow {{ image: none; }}
    QPlainTextEdit[kind="code"], QTextEdit[kind="code"] {{ background: {c.code_ground};
        border-color: {c.line}; }}
    QCheckBox {{ spacing: {s.small}px; color: {c.text}; font-size: {t.body:g}px; }}
    QCheckBox:disabled {{ color: {c.disabled}; }}
    """


def _lists(c: Colours, t: Type) -> str:
    s, m = SPACE, MEASURE
    return f"""
    QTableView, QListView, QTreeView {{ background: {c.surface}; border: {m.line}px solid {c.line};
        border-radius: {m.corner}px; outline: 0; gridline-color: {c.line}; selection-color: {c.text};
        selection-background-color: {c.selected}; }}
    QListView[kind="bare"], QTreeView[kind="bare"] {{ border: 0; background: transparent; border-radius: 0; }}
    QTableView:focus, QListView:focus {{ border: {m.line}px solid {c.accent}; }}
    QListView[kind="bare"]:focus, QTreeView[kind="bare"]:focus {{ border: 0; }}
    QHeaderView {{ background: {c.surface}; border: 0; }}
    QHeaderView::section {{ background: {c.surface}; color: {c.secondary}; border: 0;
        font-size: {t.small:g}px; border-bottom: {m.line}px solid {c.line}; padding: 0 {s.medium}px;
        font-weight: {WEIGHT_MEDIUM}; }}
    QHeaderView::section:hover {{ color: {c.text}; }}
    QTableCornerButton::section {{ background: {c.surface}; border: 0; }}
    """


def _scrolling(c: Colours, _: Type) -> str:
    m = MEASURE
    half = (m.scroll - 4) // 2
    return f"""
    QScrollBar:vertical {{ background: transparent; width: {m.scroll}px; margin: 0; border: 0; }}
    QScrollBar:horizontal {{ background: transparent; height: {m.scroll}px; margin: 0; border: 0; }}
    QScrollBar::handle {{ background: {c.line_strong}; border-radius: {half}px; margin: 2px; }}
    QScrollBar::handle:vertical {{ min-height: {SPACE.huge}px; }}
    QScrollBar::handle:horizontal {{ min-width: {SPACE.huge}px; }}
    QScrollBar::handle:hover, QScrollBar::handle:pressed {{ background: {c.control}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QAbstractScrollArea::corner {{ background: transparent; border: 0; }}
    """


def _floating(c: Colours, t: Type) -> str:
    s, m = SPACE, MEASURE
    return f"""
    QToolTip {{ background: {c.raised}; color: {c.text}; border: {m.line}px solid {c.line_strong};
        padding: {s.tiny}px {s.small}px; font-size: {t.small:g}px; }}
    QMenu {{ background: {c.raised}; color: {c.text}; border: {m.line}px solid {c.line_strong};
        border-radius: {m.corner}px; padding: {s.tiny}px; }}
    QMenu::item {{ padding: {s.tiny}px {s.wide}px {s.tiny}px {s.small}px; border-radius: {m.corner - 2}px;
        min-height: {m.control_small - s.tiny}px; }}
    QMenu::item:selected {{ background: {c.hover}; }}
    QMenu::item:disabled {{ color: {c.disabled}; }}
    QMenu::icon {{ padding-left: {s.small}px; }}
    QMenu::separator {{ height: {m.line}px; background: {c.line}; margin: {s.tiny}px 0; }}
    """
