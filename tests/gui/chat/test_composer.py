"""The composer's keys and what it says below."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QInputMethodEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from slmdesk.gui.chat.composer import Composer
from slmdesk.gui.theme import Theme


@pytest.fixture
def composer(theme: Theme, qtbot: QtBot) -> Composer:
    made = Composer(theme)
    qtbot.addWidget(made)
    made.resize(700, 120)
    made.show()
    made.field.setFocus()
    return made


def sent_by(composer: Composer) -> list[str]:
    sent: list[str] = []
    composer.sent.connect(sent.append)
    return sent


def test_enter_sends_and_shift_enter_breaks_the_line(composer: Composer) -> None:
    sent = sent_by(composer)
    QTest.keyClicks(composer.field, "one")
    QTest.keyClick(composer.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(composer.field, "two")
    assert sent == []
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == ["one\ntwo"]
    # Kept until it is stored; pressing again sends nothing twice.
    assert composer.text == "one\ntwo"
    QTest.keyClick(composer.field, Qt.Key.Key_Enter, Qt.KeyboardModifier.KeypadModifier)
    assert sent == ["one\ntwo"]
    composer.accepted()
    assert composer.text == ""


def test_what_could_not_be_stored_stays(composer: Composer) -> None:
    sent = sent_by(composer)
    QTest.keyClicks(composer.field, "keep me")
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    composer.refused()
    assert composer.text == "keep me"
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == ["keep me", "keep me"]


def test_typing_goes_on_while_a_message_is_stored(composer: Composer) -> None:
    QTest.keyClicks(composer.field, "first")
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    QTest.keyClicks(composer.field, " more")
    composer.accepted()
    assert composer.text == " more"


def test_nothing_but_blanks_is_not_sent(composer: Composer) -> None:
    sent = sent_by(composer)
    QTest.keyClicks(composer.field, "   ")
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == []
    assert not send_button(composer).isEnabled()


def send_button(composer: Composer) -> QPushButton:
    return next(
        b for b in composer.findChildren(QPushButton) if b.accessibleName().startswith(("Send", "Stop"))
    )


def test_the_button_becomes_stop_and_esc_stops(composer: Composer) -> None:
    stops: list[bool] = []
    sent = sent_by(composer)
    composer.stop.connect(lambda: stops.append(True))
    composer.set_streaming(streaming=True)
    button = send_button(composer)
    assert button.accessibleName() == "Stop (Esc)"
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    QTest.keyClick(composer.field, Qt.Key.Key_Escape)
    assert len(stops) == 2
    QTest.keyClicks(composer.field, "next")
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == []
    assert composer.text == "next"
    composer.set_streaming(streaming=False)
    assert button.accessibleName() == "Send (Enter)"
    assert button.isEnabled()


def test_enter_belongs_to_the_input_method_while_it_composes(composer: Composer) -> None:
    sent = sent_by(composer)
    QTest.keyClicks(composer.field, "a")
    QApplication.sendEvent(composer.field, QInputMethodEvent("にほ", []))
    assert composer.field.composing
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert sent == []
    done = QInputMethodEvent("", [])
    done.setCommitString("日本")
    QApplication.sendEvent(composer.field, done)
    QTest.keyClick(composer.field, Qt.Key.Key_Return)
    assert len(sent) == 1
    assert sent[0].replace("\n", "") == "a日本"


def test_it_grows_to_eight_lines(composer: Composer) -> None:
    heights = []
    for _ in range(12):
        heights.append(composer.field.height())
        QTest.keyClick(composer.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    line = composer.field.fontMetrics().lineSpacing()
    assert heights[1] - heights[0] == line
    assert heights[7] - heights[0] == 7 * line
    assert heights[11] == heights[7]


def test_only_plain_text_is_pasted(composer: Composer) -> None:
    pasted = QMimeData()
    pasted.setHtml("<b>bold</b>\u00a0text")
    pasted.setText("bold\u00a0text\u2028line")
    composer.field.insertFromMimeData(pasted)
    assert composer.text == "bold text\nline"


def test_up_in_the_empty_field_edits_the_last_message(composer: Composer) -> None:
    edits: list[bool] = []
    composer.edit_last.connect(lambda: edits.append(True))
    QTest.keyClick(composer.field, Qt.Key.Key_Up)
    QTest.keyClicks(composer.field, "x")
    QTest.keyClick(composer.field, Qt.Key.Key_Up)
    assert edits == [True]


def test_a_draft_is_told_once_typing_rests(composer: Composer, qtbot: QtBot) -> None:
    with qtbot.waitSignal(composer.draft) as told:
        QTest.keyClicks(composer.field, "draft")
    assert told.args == ["draft"]
    composer.put("another")
    assert composer.take_draft() is None
    QTest.keyClicks(composer.field, "!")
    assert composer.take_draft() == "another!"


def test_what_the_last_answer_used(composer: Composer) -> None:
    composer.set_stats(
        {
            "usage": {"prompt_tokens": 1500, "completion_tokens": 300},
            "timings": {"tokens_per_s": 41.7},
            "context_length": 2048,
            "trimmed_turns": 2,
        }
    )
    assert composer.meter.words == "1,800 of 2,048 tokens, nearly full"
    assert composer.speed_words == "42 tokens/s"
    composer.set_stats(None)
    assert composer.speed_words == ""
    assert composer.meter.isHidden()
