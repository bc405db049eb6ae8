"""The list of models and the buttons that open it: room for their words, in large text too."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QListView, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from slmdesk.gui.chat.model_button import ModelButton, where_words
from slmdesk.gui.chat.model_entries import PickerEntry
from slmdesk.gui.chat.model_picker import ModelPicker
from slmdesk.gui.theme import MEASURE, Theme
from slmdesk.serving.entries import LoadedModel


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
        PickerEntry("slmdesk/desk-guide:F16", "Desk Guide", "F16", 10_000_000, 5_000_000, built_in=True),
        PickerEntry("p/a:Q4_1", "SmolLM2-135M-Instruct", "Q4_1", 98_000_000, 135_000_000, loaded="ready"),
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


def test_the_list_opens_below_a_button_at_the_top_and_leads_to_more_models(
    theme: Theme, qtbot: QtBot
) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(700, 500)
    button = QPushButton("The model", window)
    button.setGeometry(500, 8, 180, 32)
    window.show()
    picker = ModelPicker(theme, window)
    entries = [
        PickerEntry("slmdesk/desk-guide:F16", "Desk Guide", "F16", 10_000_000, 5_000_000, built_in=True)
    ]
    picker.open_over(button, entries, entries[0].id)
    lower = button.mapToGlobal(button.rect().bottomRight())
    assert picker.geometry().top() > lower.y()
    assert abs(picker.geometry().right() - lower.x()) <= 1, "its right edge stands below the button's"
    more = next(one for one in picker.findChildren(QPushButton) if one.text() == "Get more models")
    with qtbot.waitSignal(picker.more_wanted):
        more.click()
    assert not picker.isVisible()


def test_where_a_model_runs_is_said_in_words() -> None:
    assert where_words(None) == "not loaded"
    assert where_words(LoadedModel("p/a", state="loading", progress=0.4)) == "loading, 40 %"
    assert where_words(LoadedModel("p/a", state="ready")) == "on the processor"
    assert where_words(LoadedModel("p/a", state="ready", gpu_layers=24)) == "GPU, 24 layers"


def test_a_long_name_is_cut_and_the_button_shrinks(theme: Theme, qtbot: QtBot) -> None:
    button = ModelButton(theme)
    qtbot.addWidget(button)
    name = "A-Model-With-A-Very-Long-Name-That-No-Narrow-Window-Has-Room-For Q4_K_M"
    button.show_model(name, "on the processor")
    assert button.sizeHint().width() > 500
    assert button.minimumSizeHint().width() < 320
    assert button.sizeHint().height() >= MEASURE.control
    assert name in button.accessibleName()
