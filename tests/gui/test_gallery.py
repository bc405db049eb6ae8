"""Every piece is drawn whole, in both schemes and with large text, and can be named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from slmdesk.gui.theme import MEASURE, Theme
from slmdesk.gui.widgets.base import ElidedLabel, Label
from slmdesk.gui.widgets.buttons import Button
from slmdesk.gui.widgets.chips import Badge
from slmdesk.gui.widgets.fields import LabelledField, SearchField, TextArea, TextField
from slmdesk.gui.widgets.memory_bar import MemoryBar, Part
from slmdesk.gui.widgets.panels import ErrorPanel
from slmdesk.gui.widgets.progress import ProgressRow, TokenMeter
from slmdesk.gui.widgets.switches import SegmentedSwitch, Switch
from slmdesk.gui.widgets.table import Table, TableModel
from slmdesk.gui.widgets.toast import Toast
from tests.gui.gallery import QUANTS, Gallery


@pytest.fixture
def gallery(fresh_theme: Theme, qapp: QApplication) -> Iterator[Gallery]:
    page = Gallery(fresh_theme)
    page.resize(MEASURE.minimum_width, MEASURE.window_height)
    page.show()
    qapp.processEvents()
    yield page
    page.deleteLater()
    qapp.processEvents()


def clipped(page: QWidget) -> list[str]:
    """The visible texts that have less room than they need."""
    found = []
    for widget in page.findChildren(QWidget):
        if not widget.isVisible() or isinstance(widget, ElidedLabel):
            continue
        metrics = widget.fontMetrics()
        room = widget.contentsRect()
        if isinstance(widget, QLabel) and widget.text():
            flags = Qt.TextFlag.TextWordWrap if widget.wordWrap() else Qt.TextFlag.TextSingleLine
            space = QRect(0, 0, room.width(), 10_000)
            need = metrics.boundingRect(space, flags, widget.text())
            if need.width() > room.width() + 1 or need.height() > room.height() + 1:
                found.append(f"label {widget.text()!r}: {need.size()} in {room.size()}")
        elif isinstance(widget, QPushButton | Badge | QComboBox | QAbstractSpinBox | Switch):
            hint = widget.sizeHint()
            if widget.width() < hint.width() or widget.height() < hint.height():
                found.append(f"{type(widget).__name__} {widget.accessibleName()!r}: {widget.size()} < {hint}")
        elif isinstance(widget, QLineEdit) and room.height() < metrics.height():
            found.append(f"field {widget.accessibleName()!r}: {room.height()} < {metrics.height()}")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("body", [13, 20])
def test_everything_is_drawn_whole(
    gallery: Gallery, qapp: QApplication, tmp_path: Path, scheme: str, body: int
) -> None:
    fresh_theme = gallery.theme
    fresh_theme.set_choice("dark" if scheme == "dark" else "light")
    fresh_theme.set_text_size(body)
    gallery.resize(MEASURE.minimum_width if body == 13 else MEASURE.window_width, MEASURE.window_height)
    for _ in range(3):
        # One round a level of nesting: a layout asks the one around it.
        qapp.processEvents()
    page = gallery.widget()
    assert clipped(page) == []
    assert page.width() <= gallery.width(), "the page needs horizontal scrolling"
    picture = tmp_path / f"gallery-{scheme}-{body}.png"
    assert page.grab().save(str(picture))
    image = page.grab().toImage()
    ground = image.pixelColor(2, 2).name()
    assert ground == fresh_theme.colours.window
    fresh_theme.set_text_size(13)


def test_everything_operable_has_a_name_and_is_reached_by_tab(gallery: Gallery) -> None:
    nameless = [
        type(widget).__name__
        for widget in gallery.findChildren(QWidget)
        if isinstance(widget, QAbstractButton | Switch | QTableView) and widget.isVisible()
        if not (widget.accessibleName() or getattr(widget, "text", str)())
    ]
    assert nameless == []
    # The icons inside a field are no stops: Esc and Ctrl+A do the same.
    buttons = [
        each
        for each in gallery.findChildren(QAbstractButton)
        if each.isVisible() and not isinstance(each, QToolButton)
    ]
    assert len(buttons) > 30
    assert all(each.focusPolicy() & Qt.FocusPolicy.TabFocus for each in buttons)


def test_focus_can_be_seen_and_moves_nothing(gallery: Gallery, qapp: QApplication) -> None:
    gallery.activateWindow()
    kinds = set()
    for button in gallery.findChildren(Button):
        kind = (button.property("kind"), button.property("small"), button.property("iconOnly"))
        if not button.isVisible() or not button.isEnabled() or kind in kinds:
            continue
        kinds.add(kind)
        gallery.setFocus()
        qapp.processEvents()
        before, size = button.grab().toImage(), button.sizeHint()
        button.setFocus(Qt.FocusReason.TabFocusReason)
        qapp.processEvents()
        assert button.grab().toImage() != before, f"{kind} shows no focus"
        assert button.sizeHint() == size, f"{kind} jumps when it gets the focus"
    assert len(kinds) >= 7


def test_a_table_sorts_by_number_and_keeps_the_chosen_row(gallery: Gallery) -> None:
    table = gallery.findChild(Table)
    assert isinstance(table, Table)
    model = table.model()
    assert isinstance(model, TableModel)
    chosen = table.chosen()
    table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    sizes = [model.row(page).gigabytes for page in range(model.rowCount())]
    assert sizes == sorted((quant.gigabytes for quant in QUANTS), reverse=True)
    assert table.chosen() is chosen, "the choice follows its row"
    right = model.index(0, 1).data(Qt.ItemDataRole.TextAlignmentRole)
    assert right & Qt.AlignmentFlag.AlignRight
    assert model.index(0, 1).data(Qt.ItemDataRole.AccessibleTextRole) == "Size: 8.05 GB"


def test_an_error_panel_says_what_and_folds_the_rest(gallery: Gallery) -> None:
    expected, defect = gallery.findChildren(ErrorPanel)
    details = expected.findChild(QPlainTextEdit)
    assert isinstance(details, QPlainTextEdit)
    assert not details.isVisible()
    buttons = {each.text(): each for each in expected.findChildren(Button)}
    QTest.mouseClick(buttons["Show details"], Qt.MouseButton.LeftButton)
    assert details.isVisible()
    assert "failed to allocate" in details.toPlainText()
    assert "out_of_memory" in expected.report
    assert "ValueError: unexpected value" in defect.report
    assert str(Path.home()) not in defect.report
    copy = {each.text(): each for each in defect.findChildren(Button)}["Copy report"]
    QTest.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QApplication.clipboard().text() == defect.report
    assert copy.text() == "Copied"


def test_a_segmented_switch_tells_only_what_a_person_picks(gallery: Gallery) -> None:
    switch = gallery.findChild(SegmentedSwitch)
    assert isinstance(switch, SegmentedSwitch)
    picked: list[object] = []
    switch.changed.connect(picked.append)
    switch.set_value("dark")
    assert switch.value == "dark"
    assert picked == []
    light = switch.findChildren(QPushButton)[1]
    QTest.mouseClick(light, Qt.MouseButton.LeftButton)
    assert picked == ["light"]
    light.setFocus()
    QTest.keyClick(light, Qt.Key.Key_Left)
    assert picked == ["light", "system"], "arrow keys move the choice"


def test_a_busy_button_cannot_be_pressed_twice(fresh_theme: Theme, qapp: QApplication) -> None:
    button = Button(fresh_theme, "Load", icon="play")
    presses: list[bool] = []
    button.clicked.connect(lambda: presses.append(True))
    button.show()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    button.set_busy(True)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    button.set_busy(False)
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert len(presses) == 2


def test_a_field_says_what_is_wrong_in_place_of_its_help(fresh_theme: Theme) -> None:
    control = TextField(fresh_theme)
    field = LabelledField(fresh_theme, "Port", control, help_text="0 takes any.")
    words = [label.text() for label in field.findChildren(Label)]
    assert words == ["Port", "0 takes any."]
    field.set_error("Must be below 65536.")
    assert [label.text() for label in field.findChildren(Label)][1] == "Must be below 65536."
    assert control.accessibleDescription() == "Must be below 65536."
    field.set_error("")
    assert control.accessibleDescription() == "0 takes any."


def test_search_is_emptied_by_escape_and_left_by_down(fresh_theme: Theme) -> None:
    field = SearchField(fresh_theme)
    left: list[bool] = []
    field.left.connect(lambda: left.append(True))
    QTest.keyClicks(field, "abc")
    QTest.keyClick(field, Qt.Key.Key_Down)
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert field.text() == ""
    assert left == [True]


def test_a_text_area_grows_to_its_most_lines(fresh_theme: Theme, qapp: QApplication) -> None:
    area = TextArea(fresh_theme, lines=2, most=4)
    area.resize(MEASURE.field, area.height())
    area.show()
    heights = []
    for lines in (1, 3, 4, 9):
        area.setPlainText("\n".join("line" for _ in range(lines)))
        qapp.processEvents()
        heights.append(area.height())
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_a_token_meter_warns_in_words_when_little_is_left(fresh_theme: Theme) -> None:
    meter = TokenMeter(fresh_theme)
    meter.set_tokens(1204, 4096)
    assert meter.words == "1,204 of 4,096 tokens"
    meter.set_tokens(4000, 4096)
    assert meter.words.endswith("nearly full")
    meter.set_tokens(5, 0)
    assert meter.isHidden()


def test_a_progress_row_offers_what_its_state_allows(fresh_theme: Theme) -> None:
    row = ProgressRow(fresh_theme, "model")
    asked: list[str] = []
    row.pause.connect(lambda: asked.append("pause"))
    row.resume.connect(lambda: asked.append("resume"))
    row.cancel.connect(lambda: asked.append("cancel"))
    row.show()
    for state in ("running", "paused", "failed"):
        row.set_state(state)
        hold, stop = row.findChildren(Button)
        QTest.mouseClick(hold, Qt.MouseButton.LeftButton)
    QTest.mouseClick(stop, Qt.MouseButton.LeftButton)
    assert asked == ["pause", "resume", "resume", "cancel"]
    row.set_state("done")
    assert all(button.isHidden() for button in row.findChildren(Button))


def test_a_toast_is_undone_once(fresh_theme: Theme) -> None:
    host = QWidget()
    host.resize(600, 300)
    host.show()
    toast = Toast(fresh_theme, host)
    undone: list[str] = []
    toast.tell("One changed.", lambda: undone.append("one"))
    toast.tell("Two changed.", lambda: undone.append("two"))
    assert host.rect().contains(toast.geometry()), "it lies inside the window"
    assert toast.undo()
    assert not toast.undo()
    assert undone == ["two"]
    assert toast.isHidden()
    host.resize(400, 200)
    toast.tell("Three changed.")
    assert host.rect().contains(toast.geometry())
    assert toast.mapTo(host, QPoint(0, 0)).x() > 0


def stands(bar: MemoryBar, count: int) -> bool:
    """Whether so many entries stand in the legend, all of them inside it and none over another."""
    here = Qt.FindChildOption.FindDirectChildrenOnly
    pages = [each.geometry() for each in bar._legend.findChildren(QWidget, options=here) if each.isVisible()]
    return len(pages) == count and all(
        bar._legend.rect().contains(page) and not any(page.intersects(other) for other in pages[:number])
        for number, page in enumerate(pages)
    )


@pytest.mark.parametrize("counts", [(4, 2, 4), (2, 4), (4, 1)])
def test_the_legend_of_memory_stands_side_by_side_after_each_selection(
    fresh_theme: Theme, qtbot: QtBot, counts: tuple[int, ...]
) -> None:
    parts = [
        Part("Weights", 2_500_000_000, "accent"),
        Part("Context", 900_000_000, "good"),
        Part("Compute", 300_000_000, "caution"),
        Part("Overhead", 90_000_000, "bad"),
    ]
    host = QWidget()
    column = QVBoxLayout(host)
    bar = MemoryBar(fresh_theme)
    column.addWidget(bar)
    column.addStretch(1)
    fresh_theme.dress(host)
    host.resize(420, 300)
    host.show()
    for count in counts:
        bar.show_parts(parts[:count], used=8_000_000_000, total=24_000_000_000, sentence="It fits.")
        qtbot.waitUntil(lambda count=count: stands(bar, count + 2))
