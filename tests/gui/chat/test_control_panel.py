"""The panel beside a conversation: instructions, schema, a full context, the model's values, presets of both."""

from __future__ import annotations

import json
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractSpinBox, QLineEdit, QMenu, QPlainTextEdit, QPushButton, QWidget

from slmdesk.chat.presets import AnswerPreset, InstructionPreset
from slmdesk.gui.chat.control_panel import ControlPanel
from slmdesk.gui.chat.preset_row import PresetRow
from slmdesk.inference.model_settings import NOTHING, ModelSettings

from .conftest import Desk, Play, until

SCHEMA = '{"enum": ["Q4_K_M", "Q8_0"]}'


async def opened(desk: Desk) -> ControlPanel:
    """The panel, with all its rows."""
    if desk.page.panel is None:
        desk.page.toggle_panel()
    panel = desk.page.panel
    assert panel is not None
    await until(lambda: panel.model.built and panel.model.in_force, "the model's values")
    return panel


def write(area: QPlainTextEdit, text: str) -> None:
    """Type a text and go on elsewhere."""
    area.setFocus()
    area.selectAll()
    QTest.keyClick(area, Qt.Key.Key_Delete)
    area.insertPlainText(text)
    QTest.keyClick(area, Qt.Key.Key_Tab)


def pick(menu: QMenu, words: str) -> None:
    """Choose an entry of a menu."""
    next(action for action in menu.actions() if action.text() == words).trigger()
    menu.deleteLater()


def name_preset(row: PresetRow, name: str) -> None:
    pick(row.menu(), "Keep as a preset…")
    assert row.naming.field.hasFocus()
    row.naming.field.setText(name)
    QTest.keyClick(row.naming.field, Qt.Key.Key_Return)
    assert not row.naming.field.isVisible()


def toast(desk: Desk) -> Callable[[str], QPushButton | None]:
    def button(words: str) -> QPushButton | None:
        found = [
            one for one in desk.window.findChildren(QPushButton) if one.text() == words and one.isVisible()
        ]
        return found[-1] if found else None

    return button


def test_instructions_of_a_conversation_and_their_presets(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        chats, presets = desk.application.chats, desk.application.chat_presets
        panel = await opened(desk)
        # A chat that has not begun takes them along.
        write(panel.instructions, "Be brief.")
        desk.application.settings.set("chat.max_tokens", 8)
        await desk.ask("Hello")
        await desk.answered()
        first = desk.controller.current
        assert (await chats.load(first)).conversation.system_prompt == "Be brief."
        # Those of one that has begun change from the next message on, and back.
        write(panel.instructions, "Be long.")
        await until(lambda: desk.controller.tree.conversation.system_prompt == "Be long.", "the change")
        undo = toast(desk)("Undo")
        assert undo is not None
        undo.click()
        await until(lambda: desk.controller.tree.conversation.system_prompt == "Be brief.", "the undoing")
        await until(lambda: panel.instructions.toPlainText() == "Be brief.", "the old ones in their field")
        # Kept by name, taken in another conversation, deleted and brought back.
        name_preset(panel.instruction_presets, "Short & clear")
        await until(
            lambda: any(a.text() == "Short && clear" for a in panel.instruction_presets.menu().actions())
        )
        desk.page.new_chat()
        await until(lambda: desk.controller.current == 0, "a new chat")
        await until(lambda: panel.instructions.toPlainText() == "", "its instructions")
        pick(panel.instruction_presets.menu(), "Short && clear")
        assert desk.controller.new_instructions == panel.instructions.toPlainText() == "Be brief."
        below = panel.instruction_presets.menu().findChild(QMenu)
        assert below is not None
        pick(below, "Short && clear")
        await until(lambda: toast(desk)("Undo"), "the offer")
        await until(lambda: len(panel.instruction_presets.menu().actions()) == 1, "the preset to go")
        back = toast(desk)("Undo")
        assert back is not None
        back.click()
        await until(lambda: len(panel.instruction_presets.menu().actions()) > 1, "the preset to come back")
        assert await presets.instructions() == [InstructionPreset("Short & clear", "Be brief.")]
        await presets.remove_instructions("Short & clear")
        desk.application.settings.reset("chat.max_tokens")

    play(scene)


def test_a_schema_and_a_full_context(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("Hello")
        await desk.answered()
        panel = await opened(desk)
        # What is wrong is told while it is written, and not taken.
        panel.schema.setFocus()
        panel.schema.insertPlainText('{"enum": [')
        await until(lambda: "Line 1, column" in panel.schema.accessibleDescription(), "the problem")
        QTest.keyClick(panel.schema, Qt.Key.Key_Tab)
        assert desk.controller.tree.conversation.rules.schema == ""
        write(panel.schema, '{"not": {"type": "string"}}')  # only the engine knows that
        await until(lambda: "uses not" in panel.schema.accessibleDescription(), "the engine's word")
        write(panel.schema, SCHEMA)
        await until(lambda: desk.controller.tree.conversation.rules.schema == SCHEMA, "the schema")
        assert "allows" in panel.schema.accessibleDescription()
        pick(panel.ways(), "Keep both ends")
        await until(lambda: desk.controller.tree.conversation.rules.overflow == "keep_ends", "the choice")
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        assert json.loads(desk.items[-1].message.text) in {"Q4_K_M", "Q8_0"}
        # Another conversation has none of it.
        desk.page.new_chat()
        await until(lambda: panel.schema.toPlainText() == "", "the new chat's")
        await until(lambda: panel.overflow.text() == "Leave out the oldest", "the usual way")
        # The meter leads there once something was left out.
        assert not desk.composer.context_button.isVisible()
        desk.page.toggle_panel()
        desk.composer.set_stats({"trimmed_turns": 2, "overflow": "keep_ends", "context_length": 100})
        desk.composer.context_button.click()
        assert desk.page.panel is not None
        assert panel.overflow.hasFocus()

    play(scene)


def test_the_models_values_and_their_presets(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        library, presets = desk.application.library, desk.application.chat_presets
        panel = await opened(desk)
        file = panel.model.file
        assert file is not None
        row = panel.model.answers.rows["temperature"]
        assert row.foot_words == "As its publisher recommends"
        row.control.setValue(0.3)  # type: ignore[attr-defined]
        await until(lambda: library.kept.of(file).own == ModelSettings(temperature=0.3), "the value")
        await until(lambda: row.foot_words == "Kept for this model", "its origin")
        name_preset(panel.answer_presets, "Exact")
        await until(lambda: len(panel.answer_presets.menu().actions()) > 1, "the preset")
        assert await presets.answers() == [AnswerPreset("Exact", ModelSettings(temperature=0.3))]
        panel.model.controller.reset()
        await until(lambda: library.kept.of(file).own == NOTHING, "nothing to be kept")
        pick(panel.answer_presets.menu(), "Exact")
        await until(lambda: library.kept.of(file).own == ModelSettings(temperature=0.3), "the preset's value")
        panel.model.controller.reset()
        await until(lambda: library.kept.of(file).own == NOTHING, "nothing to be kept")
        await presets.remove_answers("Exact")

    play(scene)


def test_it_is_all_reached_by_keyboard_and_named_and_gives_way(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        panel = await opened(desk)
        assert panel.instructions.hasFocus()
        reached: list[QWidget] = []
        while (now := desk.window.focusWidget()) not in reached:
            reached.append(now)
            QTest.keyClick(now, Qt.Key.Key_Tab)
        controls = [
            one
            for kind in (QPlainTextEdit, QLineEdit, QAbstractSpinBox, QPushButton)
            for one in panel.findChildren(kind)
            if one.isVisible() and one.isEnabled() and one.focusPolicy() & Qt.FocusPolicy.TabFocus
        ]
        assert len(controls) > 10
        for control in controls:
            inside = [other for other in reached if other is control or control.isAncestorOf(other)]
            inside += [
                other for other in reached if other.isAncestorOf(control) and other is control.parent()
            ]
            assert inside, control
            named = control.accessibleName() or (control.text() if isinstance(control, QPushButton) else "")
            assert named or control.parent() in controls, control
        # Where there is little room it lies over the messages and nothing is cut off; Esc puts it away.
        desk.window.resize(900, 600)
        await until(lambda: panel.geometry().right() == desk.page.width() - 1, "its place")
        assert panel.geometry().left() > 0
        assert panel.geometry().bottom() == desk.page.height() - 1
        panel.instructions.setFocus()
        QTest.keyClick(panel.instructions, Qt.Key.Key_Escape)
        assert desk.page.panel is None
        assert desk.composer.field.hasFocus()
        desk.page.toggle_panel()
        QTest.mouseClick(desk.page.pane, Qt.MouseButton.LeftButton)
        assert desk.page.panel is None

    play(scene)
