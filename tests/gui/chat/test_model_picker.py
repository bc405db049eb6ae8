"""The list of models above the composer: its rows have room for their words, in large text too."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QListView, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from slmdesk.gui.chat.model_entries import ModelEntry
from slmdesk.gui.chat.model_picker import ModelPicker
from slmdesk.gui.theme import Theme


@pytest.mark.parametrize("size", [13, 20])
def test_a_row_has_room_for_both_of_its_lines(theme: Theme, qtbot: QtBot, size: int) -> None:
    theme.set_text_size(size)
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(1100, 700)
    button = QPushButton(window)
    layout = QVBoxLayout(window)
    layout.addStretch(1)
    layout.addWidget(button)
    window.show()
    entries = [
        ModelEntry("slmdesk/desk-guide:F16", "Desk Guide", "F16", 10_000_000, 5_000_000, built_in=True),
        ModelEntry("p/a:Q4_1", "SmolLM2-135M-Instruct", "Q4_1", 98_000_000, 135_000_000, loaded="ready"),
    ]
    picker = ModelPicker(theme, window)
    picker.open_over(button, entries, entries[0].id)
    view = picker.findChild(QListView)
    assert view is not None
    index = view.model().index(0, 0)
    title, small = QFontMetrics(theme.font("body")), QFontMetrics(theme.font("small"))
    assert view.visualRect(index).height() >= title.height() + small.height()
    assert view.visualRect(index).width() > small.horizontalAdvance(entries[0].details), "the words are cut"
    assert picker.width() <= window.width()
    picker.close()
    theme.set_text_size(13)
