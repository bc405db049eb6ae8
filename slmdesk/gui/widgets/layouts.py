"""Layouts made in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QVBoxLayout

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

L = TypeVar("L", bound=QBoxLayout)
Margins = int | tuple[int, int, int, int]


def hbox(
    owner: QWidget | None = None, *, margins: Margins | None = None, spacing: int | None = None
) -> QHBoxLayout:
    """Side by side, laid out in `owner` or part of another layout.

    `margins`: pixels on all sides, or left, top, right, bottom; `spacing`: between the widgets. None leaves
    either to the style.
    """
    return _arranged(QHBoxLayout() if owner is None else QHBoxLayout(owner), margins, spacing)


def vbox(
    owner: QWidget | None = None, *, margins: Margins | None = None, spacing: int | None = None
) -> QVBoxLayout:
    """One below the other; otherwise as `hbox`."""
    return _arranged(QVBoxLayout() if owner is None else QVBoxLayout(owner), margins, spacing)


def _arranged(layout: L, margins: Margins | None, spacing: int | None) -> L:
    if margins is not None:
        layout.setContentsMargins(*((margins,) * 4 if isinstance(margins, int) else margins))
    if spacing is not None:
        layout.setSpacing(spacing)
    return layout
