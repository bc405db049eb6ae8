"""A column that may be higher than its window."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollArea, QWidget

from slmdesk.gui.theme import SPACE
from slmdesk.gui.widgets.layouts import hbox, vbox


class ScrollingColumn(QScrollArea):
    """Widgets below one another that scroll up and down, never sideways, on the ground that they lie on.

    The column takes all the width there is, `widest` pixels at most (0: no limit), and stands in the middle of
    what is left over. `top`, `bottom` and `spacing` are pixels above, below and between the widgets.

    Attributes:
        column: where the widgets go.
    """

    def __init__(
        self,
        *,
        widest: int = 0,
        top: int = SPACE.wide,
        bottom: int = SPACE.huge,
        spacing: int = SPACE.small,
        focus: Qt.FocusPolicy = Qt.FocusPolicy.NoFocus,
    ) -> None:
        super().__init__()
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(focus)
        holder = QWidget()
        self.column = vbox(holder, margins=0, spacing=spacing)
        ground = QWidget()
        across = hbox(ground, margins=(SPACE.wide, top, SPACE.wide, bottom))
        if widest:
            holder.setMaximumWidth(widest)
            across.addStretch(1)
            across.addWidget(holder, 1000)
            across.addStretch(1)
        else:
            across.addWidget(holder)
        self.setWidget(ground)
        ground.setAutoFillBackground(False)
        self.viewport().setAutoFillBackground(False)
