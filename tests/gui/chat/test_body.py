"""The body of a message: streamed text looks like text shown at once, and can be selected, copied and followed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QPushButton, QScrollBar
from pytestqt.qtbot import QtBot

from slmdesk.gui.chat.body.body import MessageBody
from slmdesk.gui.chat.body.code import LaidCode
from slmdesk.gui.chat.body.direction import right_to_left
from slmdesk.gui.chat.body.selection import Spot, word_around
from slmdesk.gui.chat.body.table import LaidTable, fitted
from slmdesk.gui.chat.body.units import cut, units
from slmdesk.gui.chat.markdown.blocks import TableBlock
from slmdesk.gui.chat.markdown.parse import parse
from slmdesk.gui.chat.typesetter import Typesetter

SAMPLE = """# Title
Some **bold** words and `code` in a paragraph that is long enough to be broken into more than one line of the column.

1. first
2. second
   - inner

> quoted

```python
def size(bits: float) -> int:
    return int(bits * 8)  # 😀 a comment
```

| a | b |
|---|--:|
| one | 1 |

The [end](https://end.example/).

"""

Make = Callable[[str], MessageBody]


@pytest.fixture
def body(typesetter: Typesetter, qtbot: QtBot) -> Make:
    def make(text: str) -> MessageBody:
        made = MessageBody(typesetter.theme, typesetter.style, typesetter.highlighter)
        qtbot.addWidget(made)
        made.show_blocks(parse(text))
        made.resize(500, made.lay(500))
        made.show()
        return made

    return make


def test_4000_streamed_tokens_look_like_the_text_at_once(
    typesetter: Typesetter, body: Make, qtbot: QtBot
) -> None:
    text = SAMPLE * (16_000 // len(SAMPLE) + 1)
    tokens = [text[at : at + 4] for at in range(0, len(text), 4)]
    assert len(tokens) >= 4000
    streamed = MessageBody(typesetter.theme, typesetter.style, typesetter.highlighter)
    qtbot.addWidget(streamed)
    streamed.lay(500)
    feed = typesetter.renderer.feed(streamed)
    for number, token in enumerate(tokens):
        feed.append(token)
        if number % 9 == 0:
            feed.step()
    feed.finish()
    qtbot.waitUntil(lambda: typesetter.idle)
    whole = body(text)
    qtbot.waitUntil(lambda: typesetter.idle)
    assert streamed.blocks == whole.blocks
    assert streamed.lay(500) == whole.lay(500)
    assert [one.top for one in streamed.laid] == [one.top for one in whole.laid]
    streamed.show()
    streamed.resize(500, 3000)
    whole.resize(500, 3000)
    for one in (streamed, whole):
        one.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        one.setFocus()  # away from the first copy button
    same = streamed.grab().toImage() == whole.grab().toImage()
    assert same


def test_a_selection_goes_across_blocks_and_copies_plain_text(body: Make) -> None:
    shown = body("First paragraph\n\n- item one\n- item two\n\n```py\nx = 1\n```")
    tops = [one.top for one in shown.laid]
    QTest.mousePress(shown, Qt.MouseButton.LeftButton, pos=QPoint(0, int(tops[0]) + 5))
    release = QPoint(480, int(tops[2]) + 5)
    QTest.mouseMove(shown, release)
    drag(shown, release)
    QTest.mouseRelease(shown, Qt.MouseButton.LeftButton, pos=release)
    assert shown.selection == "First paragraph\n• item one\n• item two"
    QTest.keyClick(shown, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == shown.selection
    shown.select_all()
    assert shown.selection.endswith("x = 1")


def drag(widget: MessageBody, to: QPoint) -> None:
    """`QTest.mouseMove` carries no buttons; this does."""
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QMouseEvent

    left = Qt.MouseButton.LeftButton
    where = QPointF(to)
    event = QMouseEvent(
        QEvent.Type.MouseMove, where, widget.mapToGlobal(where), left, left, Qt.KeyboardModifier.NoModifier
    )
    widget.mouseMoveEvent(event)


def test_code_has_its_language_a_copy_button_and_colours(
    body: Make, typesetter: Typesetter, qtbot: QtBot
) -> None:
    shown = body("```python\ndef f():\n    return 'x' * 3  # done\n```")
    qtbot.waitUntil(lambda: typesetter.idle)
    code = shown.laid[0]
    assert isinstance(code, LaidCode)
    assert code.block.language == "python"
    assert code.coloured_lines == 2
    button = shown.findChild(QPushButton)
    assert button is not None
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "def f():\n    return 'x' * 3  # done"
    assert button.text() == "Copied"
    colours = {runs[0][2] for runs in code._runs}
    assert "keyword" in colours


def test_a_language_nobody_knows_stays_plain(body: Make, typesetter: Typesetter, qtbot: QtBot) -> None:
    shown = body("```no-such-language\nx\n```")
    qtbot.waitUntil(lambda: typesetter.idle)
    code = shown.laid[0]
    assert isinstance(code, LaidCode)
    assert code.coloured_lines == 0


def test_long_lines_of_code_scroll_sideways_and_prose_never_does(body: Make) -> None:
    shown = body("word" * 400 + "\n\n```\n" + "x" * 400 + "\n```")
    bars = shown.findChildren(QScrollBar)
    assert len(bars) == 1
    code = shown.laid[1]
    assert isinstance(code, LaidCode)
    assert bars[0].maximum() == code.overflow > 0
    bars[0].setValue(100)
    assert code.shift == 100
    assert shown.width() == 500


def test_a_link_is_followed_and_its_address_told(body: Make) -> None:
    shown = body("[end](https://end.example/)")
    clicked: list[str] = []
    shown.link_clicked.connect(clicked.append)
    spot = QPoint(5, int(shown.laid[0].top) + 8)
    assert shown.href_at(QPointF(spot)) == "https://end.example/"
    QTest.mouseClick(shown, Qt.MouseButton.LeftButton, pos=spot)
    assert clicked == ["https://end.example/"]
    assert shown.href_at(QPointF(400, 8)) == ""


def test_growing_code_keeps_its_widget_and_its_place(body: Make) -> None:
    shown = body("```\n" + "x" * 300 + "\n")
    code = shown.laid[0]
    assert isinstance(code, LaidCode)
    code.scroll_to(120)
    shown.show_blocks(parse("```\n" + "x" * 300 + "\nmore\n"))
    assert shown.laid[0] is code
    assert code.shift == 120
    assert len(shown.findChildren(QScrollBar)) == 1


def test_places_in_text_beyond_the_basic_plane(body: Make) -> None:
    shown = body("a😀b **c😀**")
    shown.select_all()
    assert shown.selection == "a😀b c😀"
    shown._select(Spot(0, 1), Spot(0, 3))
    assert shown.selection == "😀"
    assert units("a😀") == 3
    assert cut("a😀b", 1, 3) == "😀"
    assert word_around("one two", 5) == (4, 7)


def test_columns_of_a_table_fit_or_scroll() -> None:
    assert fitted([100, 50], 200) == [100, 50]
    assert fitted([1000, 50], 400) == [350, 50]
    assert sum(fitted([1000] * 10, 400)) > 400


def test_cells_of_a_table_are_found_and_copied(body: Make) -> None:
    shown = body("| a | b |\n|---|---|\n| one | two |")
    table = shown.laid[0]
    assert isinstance(table, LaidTable)
    assert table.text == "a\tb\none\ttwo"
    assert table.position_at(QPointF(0, 0)) == 0
    assert table.position_at(QPointF(490, table.height)) == len(table.text)


def test_another_text_size_lays_out_anew(body: Make, typesetter: Typesetter) -> None:
    shown = body(SAMPLE)
    before = shown.lay(500)
    typesetter.theme.set_text_size(18)
    try:
        shown.restyle(typesetter.style)
        assert shown.lay(500) > before
        assert shown.blocks == parse(SAMPLE)
    finally:
        typesetter.theme.set_text_size(13)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("שלום עולם", True),
        ("1. مرحبا بالعالم", True),
        ("(שלום) hello", True),
        ("hello שלום", False),
        ("123", False),
        ("日本語", False),
        ("", False),
    ],
)
def test_the_first_letter_with_a_direction_decides(text: str, expected: bool) -> None:
    assert right_to_left(text) is expected


@pytest.mark.parametrize("source", ["שלום עולם", "- שלום עולם", "1. مرحبا بالعالم"])
def test_a_text_read_from_the_right_stands_on_the_right(body: Make, source: str) -> None:
    shown = body(source)
    shown.resize(600, round(shown.lay(600)))
    picture = shown.grab().toImage()
    ground = picture.pixel(0, 0)
    inked = [
        x for x in range(600) if any(picture.pixel(x, y) != ground for y in range(0, picture.height(), 2))
    ]
    assert inked
    assert min(inked) > 300
    spot = shown.spot_at(QPointF(min(inked) - 20, picture.height() / 2))
    assert spot.position == len(shown._laid[0].text), "left of a text read from the right is its end"


RIGHT_TABLE = """| المدينة | السكان |
|---|---|
| عمّان | 4 |
| إربد | 2 |
"""


def test_a_table_read_from_the_right_stands_there_and_begins_with_its_first_column(body: Make) -> None:
    table = body(RIGHT_TABLE)._laid[0]
    assert isinstance(table, LaidTable)
    assert table.from_right
    assert table.left + table.view == 500
    assert table.left > 0
    middle = table.height - 4
    first = table.position_at(QPointF(table.left + table.view - 14, middle))
    last = table.position_at(QPointF(table.left + 14, middle))
    assert table.text[:first].count("\t") == 2, "the first column stands outermost on the right"
    assert table.text[:last].count("\t") == 3
    assert table.text.splitlines()[1] == "عمّان\t4", "copied in the order in which it is read"


def test_a_wide_table_read_from_the_right_shows_its_beginning(body: Make) -> None:
    words = "| " + " | ".join(["كلمة طويلة جدا هنا"] * 12) + " |\n"
    shown = body(words + "|---" * 12 + "|\n" + words)
    table = shown._laid[0]
    assert isinstance(table, LaidTable)
    assert table.overflow > 0
    assert table.shift == table.overflow
    assert "\t" not in table.text[: table.position_at(QPointF(490, 10))], "the first column is in sight"
    bar = shown.findChild(QScrollBar)
    assert bar is not None
    assert bar.value() == bar.maximum() == table.overflow
    bar.setValue(0)
    shown.lay(480)
    assert table.shift == 0, "who scrolled stays where he is"


def test_a_table_takes_its_side_as_soon_as_a_word_tells_it(body: Make) -> None:
    table = body("| 1 | 2 |\n|---|---|\n| 3 | 4 |\n")._laid[0]
    assert isinstance(table, LaidTable)
    assert not table.from_right
    grown = parse("| 1 | 2 |\n|---|---|\n| 3 | 4 |\n| بيت | 6 |\n")[0]
    assert isinstance(grown, TableBlock)
    assert table.grow(grown)
    table.lay(500)
    assert table.from_right
    assert table.left + table.view == 500
