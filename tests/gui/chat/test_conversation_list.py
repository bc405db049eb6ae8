"""The conversations at the left: groups, search, renaming, deleting and its undo, the narrow window."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit, QMenu, QPushButton
from pytestqt.qtbot import QtBot

from slmdesk.chat.tree import ConversationSummary
from slmdesk.gui.chat.conversation_list import ConversationList
from slmdesk.gui.chat.conversation_model import ConversationModel, Header
from slmdesk.gui.chat.dates import OLDER, TODAY, WEEK, YESTERDAY, group_of
from slmdesk.gui.chat.exporting import file_name
from slmdesk.gui.theme import Theme

from .conftest import Desk, Play, until


def summary(number: int, days: float = 0, title: str = "", snippet: str = "") -> ConversationSummary:
    moment = (datetime.now().astimezone() - timedelta(days=days)).timestamp()
    return ConversationSummary(number, title or f"Title {number}", "", moment, moment, 2, snippet)


def test_days_are_grouped_as_people_count_them() -> None:
    today = date(2026, 3, 10)

    def at(day: int, hour: int) -> float:
        return datetime(2026, 3, day, hour).astimezone().timestamp()

    assert group_of(at(10, 0), today) == TODAY
    assert group_of(at(9, 23), today) == YESTERDAY
    assert group_of(at(9, 0), today) == YESTERDAY
    assert group_of(at(8, 23), today) == WEEK
    assert group_of(at(3, 1), today) == WEEK
    assert group_of(at(2, 23), today) == OLDER


def test_rows_have_headers_and_only_conversations_can_be_chosen() -> None:
    model = ConversationModel()
    model.show_summaries([summary(1), summary(2), summary(3, 30)], grouped=True, more=False)
    rows = [model.row_at(model.index(number)) for number in range(model.rowCount())]
    assert [row.text if isinstance(row, Header) else row.id for row in rows if row] == [TODAY, 1, 2, OLDER, 3]
    assert model.flags(model.index(0)) == Qt.ItemFlag.NoItemFlags
    assert model.conversations == [1, 2, 3]
    model.set_running(frozenset({2}))
    assert model.data(model.index_of(2), Qt.ItemDataRole.AccessibleTextRole) == "Title 2, being answered"
    model.show_summaries([summary(5)], grouped=False, more=True)
    assert model.rowCount() == 1
    asked: list[bool] = []
    model.more_wanted.connect(lambda: asked.append(True))
    model.fetchMore(model.index(-1))
    model.fetchMore(model.index(-1))
    assert asked == [True]


def test_the_keyboard_opens_renames_and_deletes(theme: Theme, qtbot: QtBot) -> None:
    pane = ConversationList(theme)
    qtbot.addWidget(pane)
    pane.resize(272, 500)
    pane.show()
    pane.show_summaries([summary(1), summary(2), summary(3)], searched="", more=False)
    opened: list[int] = []
    deleted: list[int] = []
    renamed: list[tuple[int, str]] = []
    pane.opened.connect(opened.append)
    pane.deleted.connect(deleted.append)
    pane.renamed.connect(lambda *what: renamed.append(what))
    pane.search.setFocus()
    QTest.keyClick(pane.search, Qt.Key.Key_Down)
    QTest.keyClick(pane.view, Qt.Key.Key_Down)
    QTest.keyClick(pane.view, Qt.Key.Key_Return)
    assert opened == [2]
    QTest.keyClick(pane.view, Qt.Key.Key_F2)
    editor = pane.view.viewport().findChild(QLineEdit)
    assert editor is not None
    assert editor.text() == "Title 2"
    editor.setText("Better  title")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(renamed))
    assert renamed == [(2, "Better title")]
    QTest.keyClick(pane.view, Qt.Key.Key_Delete)
    assert deleted == [2]


def test_an_empty_list_says_what_to_do(theme: Theme, qtbot: QtBot) -> None:
    pane = ConversationList(theme)
    qtbot.addWidget(pane)
    pane.show_summaries([], searched="", more=False)
    assert "Ask something" in pane._empty.text()
    pane.show_summaries([], searched="tensor", more=False)
    assert "tensor" in pane._empty.text()


async def two_conversations(desk: Desk) -> tuple[int, int]:
    await desk.ask("What is Q4_K_M?")
    await desk.answered()
    first = desk.controller.current
    desk.page.new_chat()
    await until(lambda: desk.controller.current == 0)
    await desk.ask("Hello there")
    await desk.answered()
    second = desk.controller.current
    await until(lambda: desk.page.list.model.conversations == [second, first], "both in the list")
    return first, second


def test_search_rename_delete_and_undo(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        first, second = await two_conversations(desk)
        model = desk.page.list.model
        QTest.keyClicks(desk.page.list.search, "Q4_K_M")
        await until(lambda: model.conversations == [first], "the search")
        desk.page.list.search.clear()
        await until(lambda: model.conversations == [second, first], "all of them")

        desk.page.list.renamed.emit(first, "About quants")
        await until(lambda: model.data(model.index_of(first)) == "About quants", "the new title")

        desk.controller.open(first)
        await until(lambda: desk.controller.current == first)
        desk.page.delete(first)
        await until(lambda: model.conversations == [second], "the row to go")
        await until(lambda: desk.page.pane.empty, "a new chat")
        await until(lambda: desk.window.message == "Deleted “About quants”.", "the toast")
        desk.window.undo()
        await until(lambda: first in model.conversations, "the row to come back")
        await until(lambda: desk.controller.current == first and len(desk.items) == 2, "its messages")

    play(scene)


def test_drafts_belong_to_their_conversations(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        first, second = await two_conversations(desk)
        QTest.keyClicks(desk.composer.field, "half a thought")
        desk.page.open(first)
        await until(lambda: desk.controller.current == first)
        assert desk.composer.text == ""
        QTest.keyClicks(desk.composer.field, "another")
        desk.page.open(second)
        await until(lambda: desk.controller.current == second)
        assert desk.composer.text == "half a thought"
        desk.page.open(first)
        await until(lambda: desk.composer.text == "another", "the draft of the first")

    play(scene)


def test_in_a_narrow_window_the_list_lies_over_the_messages(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        page = desk.page
        assert page.list.isVisible()
        desk.window.resize(760, 560)
        await until(lambda: not page.list.isVisible(), "the list to hide")
        await until(lambda: page.pane.width() == page.width(), "the messages to take its place")
        wide = page.pane.width()
        button = next(
            b for b in desk.window.findChildren(QPushButton) if b.accessibleName() == "Show conversations"
        )
        button.click()
        assert page.list.isVisible()
        assert page.pane.width() == wide
        QTest.keyClick(page.list.search, Qt.Key.Key_Escape)
        await until(lambda: not page.list.isVisible(), "Esc to hide it")
        desk.window.resize(1280, 800)
        await until(page.list.isVisible, "the list to come back")
        await until(lambda: page.pane.width() < page.width(), "the messages to make room")

    play(scene)


def test_a_conversation_is_exported(play: Play, tmp_path: Path) -> None:
    async def scene(desk: Desk) -> None:
        await desk.ask("What is Q4_K_M?")
        await desk.answered()
        for action, name, needle in (
            ("chat.export.markdown", "talk.md", "What is Q4_K_M?"),
            ("chat.export.html", "talk.html", "<h2>You</h2>"),
            ("chat.export.sharegpt", "talk.jsonl", '"from": "human"'),
            ("chat.export.json", "talk.json", '"What is Q4_K_M?"'),
        ):
            assert desk.window.actions_known.run(action)
            await until(file_dialog, "the file dialog")
            dialog = file_dialog()
            assert dialog is not None
            dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
            field = dialog.findChild(QLineEdit, "fileNameEdit")
            assert field is not None
            field.setText(str(tmp_path / name))
            dialog.accept()
            await until((tmp_path / name).exists, "the file")
            await until(lambda name=name: name in desk.window.message, "the toast")
            assert needle in (tmp_path / name).read_text(encoding="utf-8")
        # What was written for others is brought in again, and shown; its undo takes it away.
        first = desk.controller.current
        assert desk.window.actions_known.run("chat.import")
        await until(file_dialog, "the file dialog")
        dialog = file_dialog()
        assert dialog is not None
        field = dialog.findChild(QLineEdit, "fileNameEdit")
        assert field is not None
        field.setText(str(tmp_path / "talk.jsonl"))
        dialog.accept()
        await until(lambda: desk.controller.current not in {0, first}, "the imported one")
        await until(lambda: "Imported 1 conversation from talk.jsonl" in desk.window.message, "the toast")
        assert desk.items[0].message.text == "What is Q4_K_M?"
        await until(lambda: len(desk.page.list.model.conversations) == 2, "both")
        undo = next(b for b in desk.window.findChildren(QPushButton) if b.text() == "Undo" and b.isVisible())
        undo.click()
        await until(lambda: desk.page.list.model.conversations == [first], "the first alone")

    play(scene)


def file_dialog() -> QFileDialog | None:
    return next(
        (w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog) and w.isVisible()), None
    )


def test_names_of_exported_files_suit_every_system() -> None:
    assert file_name('a/b: "c"?', ".md") == "a b c.md"
    assert file_name("...", ".json") == "Conversation.json"
    assert len(file_name("x" * 300, ".md")) < 70


def test_actions_come_and_go_with_what_is_possible(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        known = desk.window.actions_known

        def possible() -> set[str]:
            return {action.id for action in known.matching("") if action.id.startswith("chat.")}

        assert possible() == {
            "chat.new",
            "chat.model",
            "chat.search",
            "chat.guide",
            "chat.panel",
            "chat.import",
            "chat.tools",
        }
        await desk.mid_answer("What is Q4_K_M?")
        assert "chat.stop" in possible()
        assert "chat.regenerate" not in possible()
        known.run("chat.stop")
        await desk.answered()
        assert {
            "chat.regenerate",
            "chat.copy",
            "chat.delete",
            "chat.rename",
            "chat.export.json",
        } <= possible()
        known.run("chat.copy")
        assert QApplication.clipboard().text() == desk.items[-1].message.text

    play(scene)


def test_conversations_are_pinned_put_into_folders_copied_and_forked(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.application.settings.set("chat.max_tokens", 8)
        found: list[int] = []
        for question in ("What is Q4_K_M?", "Hello"):
            desk.page.new_chat()
            await until(lambda: desk.controller.current == 0, "a new chat")
            await desk.ask(question)
            await desk.answered()
            found.append(desk.controller.current)
        listed = desk.page.list
        first, second = found

        def rows() -> list[str | int]:
            model = listed.model
            every = [model.row_at(model.index(number)) for number in range(model.rowCount())]
            return [row.text if isinstance(row, Header) else row.id for row in every if row is not None]

        def pick(conversation: int, *words: str) -> None:
            menu: QMenu = listed.menu_for(conversation)
            for word in words[:-1]:
                menu = next(one for one in menu.findChildren(QMenu) if one.title() == word)
            next(action for action in menu.actions() if action.text() == words[-1]).trigger()

        await until(lambda: rows() == [TODAY, second, first], "both")
        pick(first, "Pin")
        await until(lambda: rows() == ["Pinned", first, TODAY, second], "the pinned one on top")
        pick(first, "Unpin")
        pick(first, "Move to folder", "New folder…")
        assert listed.naming.field.hasFocus()
        listed.naming.field.setText("R&D")
        QTest.keyClick(listed.naming.field, Qt.Key.Key_Return)
        await until(lambda: rows() == ["R&D", first, TODAY, second], "the folder")
        pick(second, "Move to folder", "R&&D")
        await until(lambda: rows() == ["R&D", second, first], "both in it")
        undo = next(b for b in desk.window.findChildren(QPushButton) if b.text() == "Undo" and b.isVisible())
        undo.click()
        await until(lambda: rows() == ["R&D", first, TODAY, second], "the undoing")
        pick(first, "Move to folder", "Out of the folder")
        await until(lambda: rows() == [TODAY, second, first], "no folder")
        # A copy is shown at once; its undo takes it away and leaves the original.
        pick(second, "Duplicate")
        await until(lambda: desk.controller.current not in {0, first, second}, "the copy")
        copy = desk.controller.current
        await until(lambda: rows() == [TODAY, copy, second, first], "its row")
        assert len(desk.items) == 2
        await desk.ask("More")
        await desk.answered()
        desk.controller.fork(desk.items[1].id)
        await until(lambda: desk.controller.current not in {0, copy}, "the fork")
        await until(lambda: len(desk.items) == 2, "its messages")
        assert desk.items[1].message.text
        desk.application.settings.reset("chat.max_tokens")

    play(scene)
